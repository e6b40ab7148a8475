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
from noisyrun.engine.world import ALONE, World
from noisyrun.files import Fault, WriteError, reserve, sync
from noisyrun.report.numbers import size


class Writer:
    """Takes the features of N samples in order, and gives the store that holds them.

    With several processes, all of them are given all blocks: each keeps what it holds itself, and the first of each
    machine writes the file that the others there map.

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
        Leave the file; by default it has no name from the moment it is whole and mapped, and is gone with the last
        process that reads it, however that one ends.
    world
        The processes that each want the store.

    Raises
    ------
    UserError
        When there is no room for the file, in all processes.
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
        world: World = ALONE,
    ) -> None:
        self.index = index
        self.keep = keep
        self.world = world
        shape = (len(index), dim)
        self._tensor: Tensor | None = None
        self._values: np.ndarray | None = None
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
        if self._values is not None:
            self._values[start : start + len(half)] = half.numpy()

    def finish(self) -> Store:
        """The store; a file takes its name only now that it is whole."""
        if self._tensor is not None:
            return TensorStore(self._tensor)
        if self._values is not None:
            self._values = None
            if self.keep:
                sync(self._temporary)
            os.replace(self._temporary, self.path)
        self.world.wait()
        store = FileStore(self.path)
        self.world.wait()
        if self.world.first_here and not self.keep:
            self.path.unlink()
        return store

    def abandon(self) -> None:
        """Leave nothing behind, after an error."""
        if self._tensor is None and self.world.first_here:
            self._temporary.unlink(missing_ok=True)

    def _open(self, shape: tuple[int, int], folder: Path) -> None:
        # A fresh name each: the bank of the last label phase may still be open when the next is written. Machines may
        # share the folder, so that each has a name of its own.
        token = self.world.broadcast(secrets.token_hex(4))
        machine = self.world.rank - self.world.local_rank
        name = f"features-{token}-{machine}.npy" if self.world.size > 1 else f"features-{token}.npy"
        self.path = folder / name
        self._temporary = folder / f".{name}.tmp"
        problem = None
        if self.world.first_here:
            try:
                if not self.world.first:  # the run's folder may stand on the first machine alone
                    folder.mkdir(parents=True, exist_ok=True)
                self._values = _room_for(shape, self._temporary)
            except OSError as error:
                problem = (
                    f"no room for a feature bank of {size(2 * shape[0] * shape[1])}: {WriteError(self.path, error)}"
                )
        problem = next((found for found in self.world.collect(problem) if found is not None), None)
        if problem is not None:
            self.abandon()
            raise Fault(f"{problem}; --bank.memory above that size keeps it in memory")


def _room_for(shape: tuple[int, int], path: Path) -> np.ndarray:
    """A mapped file of float16 zeros that the disk has room for: a full one would else kill who writes to it."""
    values = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    with path.open("r+b") as file:
        reserve(file.fileno(), path.stat().st_size)
    return values


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
