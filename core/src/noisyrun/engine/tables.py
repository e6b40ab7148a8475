"""Labels, targets and weights of all training samples on the device, gathered by position for each step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisyrun.api.online import Batch
from noisyrun.api.stage import Stage
from noisyrun.data.samples import Samples
from noisyrun.engine.label_state import LabelState
from noisyrun.engine.network import Step


@dataclass
class LabelTables:
    """What the steps of a stage learn from.

    Tables that would change nothing (α = 0 everywhere, weights of 1) are left out, so that plain training costs what
    plain training costs.
    """

    samples: Samples
    state: LabelState
    stage: Stage
    device: torch.device

    def __post_init__(self) -> None:
        samples, state, device = self.samples, self.state, self.device
        on_trusted = self.stage.targets == "trusted"
        self.labels = (samples.trusted if on_trusted else samples.labels).to(device)
        corrected = self.stage.targets == "corrected" and bool((state.targets.alpha > 0).any())
        self.targets = state.targets.to(device) if corrected else None
        weighted = self.stage.weighted and not on_trusted
        self.weights = _unless_ones(state.weights, device) if weighted else None
        self.target_weights = _unless_ones(state.target_weights, device) if weighted and corrected else None
        # What online parts see is looked up only where there are some.
        self._index: Tensor | None = None

    def step(self, positions: Tensor, mask: Tensor, bags: Tensor | None, *, for_parts: bool) -> Step:
        """What the loss of a step needs.

        Parameters
        ----------
        positions
            int64 [B], on the device.
        mask
            bool [B], False for padding.
        for_parts
            Whether online parts will look at the batch.
        """
        return Step(
            labels=self.labels.take(positions),
            mask=mask,
            targets=None if self.targets is None else self.targets.take(positions),
            weights=None if self.weights is None else self.weights[positions],
            target_weights=None if self.target_weights is None else self.target_weights[positions],
            batch=self._batch(positions, mask, bags) if for_parts else None,
        )

    def _batch(self, positions: Tensor, mask: Tensor, bags: Tensor | None) -> Batch:
        if self._index is None:
            self._index = self.samples.index.to(self.device)
            self._observed = self.samples.labels.to(self.device)
            self._trusted = self.samples.trusted.to(self.device)
            self._clean = self.samples.clean.to(self.device)
            self._all_targets = self.state.targets.to(self.device)
            self._all_weights = self.state.weights.to(self.device)
        return Batch(
            index=self._index[positions],
            labels=self._observed.take(positions),
            targets=self._all_targets.take(positions),
            weights=self._all_weights[positions],
            clean=self._clean[positions],
            trusted=self._trusted.take(positions),
            mask=mask,
            bags=bags,
        )


def _unless_ones(weights: Tensor, device: torch.device) -> Tensor | None:
    return None if bool((weights == 1).all()) else weights.to(device)
