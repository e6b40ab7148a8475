"""Filling a store block by block."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from noisyrun.api.errors import UserError
from noisyrun.bank.sizes import Residence
from noisyrun.bank.stores import FileStore, Store, TensorStore
from noisyrun.files import sync


class Writer:
    """Takes the features of N samples in order, and gives the store that holds them.

    Parameters
    ----------
    index
        int64 [N]: stable index of each row, for errors.
    dim
        D.
    residence
        Where they go: a tensor on `device`, one in memory, or a file.
    folder
        Where the file goes; None: the system's folder for temporary files.
    keep
        Leave the file when the store is closed.
    """

    def __init__(
        self,
        index: Tensor,
        dim: int,
        residence: Residence,
        device: torch.device,
        folder: Path | None = None,
        *,
        keep: bool = False,
    ) -> None:
        self.index = index
        self.keep = keep
        shape = (len(index), dim)
        self._tensor: Tensor | None = None
        if residence == "disk":
            self._open(shape, Path(tempfile.gettempdir()) if folder is None else folder)
        else:
            self._tensor = torch.empty(shape, device=device if residence == "gpu" else torch.device("cpu"))

    def write(self, start: int, features: Tensor) -> None:
        """Put a block [R, D] in its place.

        Raises
        ------
        UserError
            When a value is not finite, or too large for half precision on disk.
        """
        check_finite(self.index, start, features)
        if self._tensor is not None:
            self._tensor[start : start + len(features)] = features
            return
        half = features.detach().cpu().half()
        check_finite(
            self.index, start, half, "too large for a bank on disk, which is in half precision (65504 at most)"
        )
        self._values[start : start + len(half)] = half.numpy()

    def finish(self) -> Store:
        """The store; a file takes its name only now that it is whole."""
        if self._tensor is not None:
            return TensorStore(self._tensor)
        self._values.flush()
        del self._values
        sync(self._temporary)
        os.replace(self._temporary, self.path)
        return FileStore(self.path, keep=self.keep)

    def abandon(self) -> None:
        """Leave nothing behind, after an error."""
        if self._tensor is None:
            self._temporary.unlink(missing_ok=True)

    def _open(self, shape: tuple[int, int], folder: Path) -> None:
        # A fresh name each: the bank of the last label phase may still be open when the next is written.
        name = f"features-{secrets.token_hex(4)}.npy"
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / name
        self._temporary = folder / f".{name}.tmp"
        self._values = np.lib.format.open_memmap(self._temporary, mode="w+", dtype=np.float16, shape=shape)


def check_finite(index: Tensor, start: int, features: Tensor, problem: str = "not finite") -> None:
    """Refuse a block of features with values that are not finite.

    Parameters
    ----------
    index
        int64 [N]: stable index of each row.
    start
        Row at which the block [R, D] begins.

    Raises
    ------
    UserError
        Naming the first sample at fault.
    """
    bad = ~torch.isfinite(features).all(1)
    if bool(bad.any()):
        sample = int(index[start + int(bad.nonzero()[0, 0])])
        raise UserError(f"features: sample {sample} has a value that is {problem}; check where the features come from")
