"""The socket that corrects labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from noisyrun.api.errors import MethodError
from noisyrun.api.labels import PAD, Targets
from noisyrun.api.method import C, Method, check

if TYPE_CHECKING:
    from noisyrun.api.bank import Block, FeatureBank
    from noisyrun.api.phase import Phase
    from noisyrun.api.prototypes import Prototypes
    from noisyrun.api.side_info import SideInfo


class LabelCorrector(Method[C]):
    """Gives each sample a corrected label. Several correctors follow each other."""

    def __call__(self, block: Block, targets: Targets, prototypes: Prototypes | None, side: SideInfo) -> Targets:
        """Correct, and hold the answer against the contract. The host calls this.

        When the method needs prototypes, a sample whose observed class has none keeps its target: nothing speaks for
        that class, so that every other one would look better. (Multi-label: when none of its classes has any.)
        """
        made = self.correct(block, targets, prototypes, side)
        if not isinstance(made, Targets):
            raise MethodError(self.key, f"must return Targets (got {type(made).__name__})")
        rows, device = len(block), block.bank.device
        high = block.bank.num_classes - 1
        classes = check(self.key, "targets.classes", made.classes, (rows, None), torch.int64, device, PAD, high)
        shape = (rows, classes.shape[1])
        values = check(self.key, "targets.values", made.values, shape, torch.float32, device, 0.0, 1.0 + 1e-5)
        check(self.key, "targets.alpha", made.alpha, (rows,), torch.float32, device, 0.0, 1.0)
        if made.confidence is not None:
            check(self.key, "targets.confidence", made.confidence, (rows,), torch.float32, device)
        if bool((values[classes == PAD] != 0).any()):
            raise MethodError(self.key, "targets.values must be 0 where targets.classes is padding")
        if not block.bank.task.multi:
            self._check_simplex(values, made.alpha)
        if prototypes is None or not self.needs.prototypes:
            return made
        observed = block.labels.classes
        present = prototypes.present.to(device)[observed.clamp(min=0)] & (observed != PAD)
        absent = (observed != PAD).any(1) & ~present.any(1)
        return made.where(~absent, targets) if bool(absent.any()) else made

    def _check_simplex(self, values: Tensor, alpha: Tensor) -> None:
        off = ((values.sum(1) - 1).abs() > 1e-3) & (alpha > 0)
        if bool(off.any()):
            worst = float(values.sum(1)[off][0])
            raise MethodError(
                self.key, f"targets.values must sum to 1 over a row ({int(off.sum())} do not; one: {worst:g})"
            )

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        """Learn what `correct` uses: optional; once a label phase, on one process, before any block is corrected."""

    def correct(self, block: Block, targets: Targets, prototypes: Prototypes | None, side: SideInfo) -> Targets:
        """Correct the labels of a block.

        Parameters
        ----------
        block
            R rows of the bank.
        targets
            What the correctors before this one made of them; the observed labels with alpha 0 for the first.
        prototypes
            Prototypes of this label phase; None when no builder was chosen.
        side
            What the side-info encoders gave.

        Returns
        -------
        Targets
            k classes and values a sample, and the share alpha of the corrected label in the loss.
        """
        return targets
