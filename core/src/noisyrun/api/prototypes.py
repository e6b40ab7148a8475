"""Prototypes of the classes, and the socket that builds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from noisyrun.api.errors import MethodError
from noisyrun.api.labels import PAD
from noisyrun.api.method import C, Method, check

if TYPE_CHECKING:
    from noisyrun.api.bank import FeatureBank
    from noisyrun.api.phase import Phase
    from noisyrun.api.side_info import SideInfo

Reduce = Literal["mean", "nearest"]


@dataclass(frozen=True)
class Prototypes:
    """Up to P vectors that stand for each class.

    Attributes
    ----------
    vectors
        float32 [C, P, E]; 0 where masked.
    mask
        bool [C, P]: which of them exist. A class with none is masked whole: its samples weigh 1 and keep their label.
    weights
        float32 [C, P]: how much each counts in a mean; 0 where masked.
    rows
        int64 [C, P]: rows of the bank they are, where they are samples; `PAD` elsewhere. None: they are no samples.
    project
        A module, features [B, D] → [B, E], for prototypes that live in a learned space; None: E = D and the space is
        the bank's own. Whoever compares with `vectors` compares ``prototypes.embed(features)``.
    """

    vectors: Tensor
    mask: Tensor
    weights: Tensor
    rows: Tensor | None = None
    project: nn.Module | None = None

    @classmethod
    def of(
        cls,
        vectors: Tensor,
        mask: Tensor | None = None,
        weights: Tensor | None = None,
        rows: Tensor | None = None,
        project: nn.Module | None = None,
    ) -> Prototypes:
        """Prototypes from vectors [C, E] or [C, P, E]; mask defaults to all, weights to equal ones."""
        if vectors.dim() == 2:
            vectors = vectors.unsqueeze(1)
        if mask is None:
            mask = torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)
        elif mask.dim() == 1:
            mask = mask.unsqueeze(1)
        if weights is None:
            weights = mask.float()
        return cls(vectors * mask.unsqueeze(-1), mask, weights * mask, rows, project)

    @classmethod
    def stack(cls, classes: Sequence[Prototypes]) -> Prototypes:
        """One from the prototypes [1, P_c, E] of each class, padded to the largest P."""
        width = max(one.vectors.shape[1] for one in classes)
        space = max((one.vectors.shape[2] for one in classes if one.mask.any()), default=classes[0].vectors.shape[2])
        # A class without samples knows nothing of the space that a projection opened for the others.
        classes = [
            one if one.mask.any() else replace(one, vectors=one.vectors.new_zeros(*one.mask.shape, space))
            for one in classes
        ]
        project = next((one.project for one in classes if one.project is not None), None)

        def wide(tensor: Tensor, fill: float | int | bool) -> Tensor:
            gap = width - tensor.shape[1]
            if gap == 0:
                return tensor
            return torch.cat([tensor, tensor.new_full((tensor.shape[0], gap, *tensor.shape[2:]), fill)], dim=1)

        with_rows = all(one.rows is not None for one in classes)
        return cls(
            torch.cat([wide(one.vectors, 0.0) for one in classes]),
            torch.cat([wide(one.mask, False) for one in classes]),
            torch.cat([wide(one.weights, 0.0) for one in classes]),
            torch.cat([wide(one.rows, PAD) for one in classes if one.rows is not None]) if with_rows else None,
            project,
        )

    @property
    def present(self) -> Tensor:
        """bool [C]: classes that have at least one prototype."""
        return self.mask.any(1)

    def embed(self, features: Tensor) -> Tensor:
        """Features [R, D] in the space of the prototypes, [R, E]."""
        if self.project is None:
            return features
        with torch.no_grad():
            embedded: Tensor = self.project(features)
        return embedded

    def to(self, device: torch.device | str) -> Prototypes:
        """The same prototypes on a device."""
        return replace(
            self,
            vectors=self.vectors.to(device),
            mask=self.mask.to(device),
            weights=self.weights.to(device),
            rows=None if self.rows is None else self.rows.to(device),
            project=None if self.project is None else self.project.to(device),
        )


class PrototypeBuilder(Method[C]):
    """Builds the prototypes of a label phase.

    Write one of two methods. `build_class` is the simpler, and is shared out over processes by class: what it keeps in
    the method, it keeps on one of them alone. `build` sees the whole bank and runs on one process.
    """

    def __call__(self, bank: FeatureBank, side: SideInfo, phase: Phase) -> Prototypes:
        """Build, and hold the answer against the contract. The host calls this."""
        return self.checked(self.build(bank, side, phase), bank)

    @property
    def by_class(self) -> bool:
        """Whether classes can be built apart from each other, on different processes."""
        return type(self).build is PrototypeBuilder.build

    def build(self, bank: FeatureBank, side: SideInfo, phase: Phase) -> Prototypes:
        """Build the prototypes of all classes.

        Parameters
        ----------
        bank
            Features and labels of the training samples.
        side
            What the side-info encoders gave; any field may be absent.
        phase
            Where the run stands.

        Returns
        -------
        Prototypes
            Vectors [C, P, E]; a class without samples masked.
        """
        built = self.build_classes(range(bank.num_classes), bank, side, phase)
        return Prototypes.stack(built)

    def build_classes(
        self, classes: Sequence[int], bank: FeatureBank, side: SideInfo, phase: Phase
    ) -> list[Prototypes]:
        """The prototypes [1, P, E] of each of some classes, by `build_class`. The host calls this to share out work."""
        built = []
        for c in classes:
            rows = bank.of_class(c)
            if len(rows) == 0:
                nothing = torch.zeros(1, 1, bank.dim, device=bank.device)
                off = torch.zeros(1, 1, dtype=torch.bool, device=bank.device)
                built.append(Prototypes(nothing, off, off.float(), torch.full_like(off, PAD, dtype=torch.int64)))
            else:
                built.append(self.build_class(c, bank, rows, side, phase))
        return built

    def build_class(self, c: int, bank: FeatureBank, rows: Tensor, side: SideInfo, phase: Phase) -> Prototypes:
        """Build the prototypes [1, P, E] of one class.

        Parameters
        ----------
        c
            The class.
        bank
            Read features with ``bank.take(rows)`` or, for a large class, ``bank.blocks(rows)``.
        rows
            int64 [n], n ≥ 1: rows whose observed label is, or includes, c.
        """
        raise MethodError(self.key, "must define build or build_class")

    def projection(self) -> nn.Module | None:
        """The module that prototypes restored from a checkpoint take as `project`, after `load_state_dict`.

        Only for builders whose prototypes carry one; without it a resumed run's `phase.previous` is None, and several
        processes cannot share the prototypes.
        """
        return None

    def checked(self, made: Prototypes, bank: FeatureBank) -> Prototypes:
        """Hold prototypes against the contract.

        Raises
        ------
        MethodError
            Naming this method and what is wrong.
        """
        if not isinstance(made, Prototypes):
            raise MethodError(self.key, f"must return Prototypes (got {type(made).__name__})")
        made = made.to(bank.device)
        classes = bank.num_classes
        width = bank.dim if made.project is None else None
        check(self.key, "prototypes.vectors", made.vectors, (classes, None, width), torch.float32)
        per = (classes, made.vectors.shape[1])
        check(self.key, "prototypes.mask", made.mask, per, torch.bool)
        check(self.key, "prototypes.weights", made.weights, per, torch.float32, low=0.0)
        if made.rows is not None:
            check(self.key, "prototypes.rows", made.rows, per, torch.int64, low=PAD, high=len(bank) - 1)
        return made
