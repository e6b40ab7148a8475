"""Where features lie: on a device, in memory, or in a memory-mapped file. All give float32 blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Store(ABC):
    """N features of width D, read by rows.

    Attributes
    ----------
    shape
        N and D.
    """

    shape: tuple[int, int]

    @abstractmethod
    def slice(self, start: int, stop: int, device: torch.device) -> Tensor:
        """float32 [stop − start, D] of neighbouring rows, on `device`; may be a view, so never write to it."""

    @abstractmethod
    def gather(self, rows: Tensor, device: torch.device) -> Tensor:
        """float32 [R, D] of any rows, int64 [R] on the CPU, in that order, on `device`."""

    def read(self, rows: Tensor, device: torch.device) -> Tensor:
        """float32 [R, D] of any rows; neighbouring ones are read as one piece, without a gather."""
        if len(rows) and is_run(rows):
            first = int(rows[0])
            return self.slice(first, first + len(rows), device)
        return self.gather(rows, device)

    @abstractmethod
    def close(self) -> None:
        """Give back what the store holds; it is of no use afterwards."""


class TensorStore(Store):
    """Features in one tensor, float32 or float16, on the CPU or a GPU."""

    def __init__(self, features: Tensor) -> None:
        self.features = features
        self.shape = (features.shape[0], features.shape[1])

    def slice(self, start: int, stop: int, device: torch.device) -> Tensor:
        return self.features[start:stop].to(device).float()

    def gather(self, rows: Tensor, device: torch.device) -> Tensor:
        # Converted after the move: half the bytes cross to a GPU when the tensor is float16.
        picked = self.features.index_select(0, rows.to(self.features.device))
        return picked.to(device).float()

    def close(self) -> None:
        self.features = self.features[:0].clone()


def is_run(rows: Tensor) -> bool:
    """Whether int64 [R], R ≥ 1, is first, first + 1, first + 2, …"""
    if int(rows[-1]) - int(rows[0]) != len(rows) - 1:
        return False
    return bool((rows[1:] - rows[:-1] == 1).all())
