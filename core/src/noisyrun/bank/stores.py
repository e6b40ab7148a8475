"""Where features lie: on a device, in memory, or in a memory-mapped file. All give float32 blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from noisyrun.api.bank import is_run


class Store(ABC):
    """N features of width D, read by rows.

    Attributes
    ----------
    shape
        N and D.
    converts
        Whether neighbouring rows are new memory each time they are read, not a view.
    """

    shape: tuple[int, int]
    converts: bool

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
        self.converts = features.dtype != torch.float32

    def slice(self, start: int, stop: int, device: torch.device) -> Tensor:
        return self.features[start:stop].to(device).float()

    def gather(self, rows: Tensor, device: torch.device) -> Tensor:
        # Converted after the move: half the bytes cross to a GPU when the tensor is float16.
        picked = self.features.index_select(0, rows.to(self.features.device))
        return picked.to(device).float()

    def close(self) -> None:
        self.features = self.features[:0].clone()


class FileStore(TensorStore):
    """Features in a half-precision ``.npy`` file that is mapped into memory: its header gives shape and dtype.

    Parameters
    ----------
    path
        The file. Its name may go once it is mapped: the space is free again when the last store of it is closed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # What is written to a mapping of this mode would stay in memory: torch wants to be able to, nobody does.
        super().__init__(torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False)))

    def gather(self, rows: Tensor, device: torch.device) -> Tensor:
        if bool((rows[1:] >= rows[:-1]).all()):
            return super().gather(rows, device)
        # In the order of the file, so that a disk reads forwards; then back in the order asked for.
        order = torch.argsort(rows)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        return super().gather(rows[order], device)[back.to(device)]
