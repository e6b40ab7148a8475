"""Images that turn out to be unreadable while they stream."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from noisyrun.api import UserError

#: Unreadable images that are put up with whatever share they are: a small data set is no wrong folder for one of them.
_FEW = 10
#: Names that a message gives before it counts the rest.
_NAMED = 5


class Unreadable:
    """Images of one source that could not be decoded, by stable index; threads may share it.

    Parameters
    ----------
    where
        The source, for messages.
    images
        How many images it has.
    share
        The run stops when more than this share of them, and more than ten, cannot be decoded.
    """

    def __init__(self, where: str, images: int, share: float) -> None:
        self.where = where
        self.images = images
        self.allowed = max(_FEW, int(share * images))
        self._lines: dict[int, str] = {}
        self._known = torch.empty(0, dtype=torch.int64)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, index: int) -> bool:
        return index in self._lines

    def add(self, index: int, line: str) -> None:
        """Note an image and the line that names it.

        Raises
        ------
        UserError
            When they are too many.
        """
        with self._lock:
            self._lines[index] = line
            if len(self._lines) > self.allowed:
                raise UserError(
                    f"{len(self._lines):,} of {self.images:,} images of {self.where} cannot be decoded, more than "
                    f"--data.bad-images allows: {line}"
                )

    def share(self, collect: Callable[[dict[str, str]], list[dict[str, str]]]) -> None:
        """Know those that other processes met, too.

        Parameters
        ----------
        collect
            What gives every process's mapping to all, such as `World.collect`; all processes call it.

        Raises
        ------
        UserError
            As for `add`, in all processes.
        """
        for lines in collect({str(index): line for index, line in self.lines.items()}):
            for index, line in lines.items():
                if int(index) not in self:
                    self.add(int(index), line)

    @property
    def lines(self) -> dict[int, str]:
        """The line that names each image, by stable index, ascending."""
        with self._lock:
            return dict(sorted(self._lines.items()))

    def known(self) -> Tensor:
        """int64 [n]: stable index of those that are known by now."""
        if len(self._known) != len(self._lines):
            self._known = torch.tensor(list(self.lines))
        return self._known

    def among(self, index: Tensor) -> Tensor | None:
        """bool [R]: which of some samples, int64 [R] stable index, are known to be unreadable; None where none is."""
        found = torch.isin(index, self.known().to(index.device)) if self._lines else torch.zeros(0)
        return found if bool(found.any()) else None

    def named(self) -> str:
        """How many there are, and the first few by name."""
        lines = list(self.lines.values())
        more = f" and {len(lines) - _NAMED:,} more" if len(lines) > _NAMED else ""
        return f"{len(lines):,} images could not be decoded, and count nowhere: {'; '.join(lines[:_NAMED])}{more}"
