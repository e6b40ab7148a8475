"""Values of samples that are kept, and found again, by stable index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from noisyrun.api import FeatureBank, State


class ByIndex:
    """One value a sample.

    Parameters
    ----------
    index
        int64 [N], ascending.
    values
        float32 [N].
    missing
        Value of a sample that is not among them.
    """

    def __init__(self, index: Tensor, values: Tensor, missing: float = 1.0) -> None:
        self.index = index
        self.values = values
        self.missing = missing

    @classmethod
    def of(cls, bank: FeatureBank, values: Tensor, missing: float = 1.0) -> ByIndex:
        """From values by row of a bank."""
        order = bank.index.argsort()
        return cls(bank.index[order], values[order], missing)

    def take(self, index: Tensor) -> Tensor:
        """float32 [R] of some samples, int64 [R] stable indices, on their device."""
        if len(self.index) == 0:
            return torch.full(index.shape, self.missing, device=index.device)
        wanted = index.cpu()
        at = torch.searchsorted(self.index, wanted).clamp_(max=len(self.index) - 1)
        found = torch.where(self.index[at] == wanted, self.values[at], self.missing)
        return found.to(index.device)

    def state_dict(self) -> State:
        """Tensors and a number."""
        return {"index": self.index, "values": self.values, "missing": self.missing}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> ByIndex | None:
        """From what `state_dict` gave; None from nothing."""
        return cls(state["index"], state["values"], float(state["missing"])) if state else None
