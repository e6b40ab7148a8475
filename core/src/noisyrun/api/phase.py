"""Where a run stands when a method is called, and what it may use."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from noisyrun.api.labels import PAD

if TYPE_CHECKING:
    from noisyrun.api.prototypes import Prototypes

T = TypeVar("T")


@dataclass(frozen=True)
class Exhibit:
    """Samples that a method wants looked at: G rows of images, each image with a number.

    CleanNet shows so which reference images of a class got the most attention, and which the least.

    Attributes
    ----------
    name
        Short, in the manner of a file name: ``attention``. A later exhibit of the same name takes its place.
    caption
        One line on what is seen.
    titles
        G titles, such as names of classes.
    rows
        int64 [G, n]: rows of the bank; `PAD` where a group has fewer.
    values
        float32 [G, n]: the number below each image.

    Raises
    ------
    ValueError
        When names or shapes do not fit each other.
    """

    name: str
    caption: str
    titles: tuple[str, ...]
    rows: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        if not re.match(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z", self.name):
            raise ValueError(f"name: must be lower-case words joined by hyphens (got {self.name!r})")
        if self.rows.dim() != 2 or self.rows.shape != self.values.shape or len(self.titles) != len(self.rows):
            raise ValueError(
                "rows and values: must both have shape [G, n] for G titles "
                f"(got {list(self.rows.shape)}, {list(self.values.shape)} and {len(self.titles)} titles)"
            )
        if self.rows.dtype != torch.int64 or (self.rows.numel() and int(self.rows.min()) < PAD):
            raise ValueError("rows: must be int64 rows of the bank, or PAD")


def _no_log(name: str, value: float) -> None:
    return None


def _no_show(exhibit: Exhibit) -> None:
    return None


def _no_progress(items: Iterable[T], total: int | None = None, what: str = "") -> Iterator[T]:
    return iter(items)


@dataclass(frozen=True)
class Phase:
    """Where a run stands when a method is called, and what the method may use.

    Attributes
    ----------
    seed
        The run's seed.
    method
        The method being called, as ``weighter.sinet``.
    stage
        Name of the stage whose label phase this is.
    round
        How many label phases ran before this one.
    epoch
        Epochs finished so far, over all stages.
    epochs
        Epochs of the whole run, so that a method can place its own start.
    device
        Where to compute.
    memory
        Bytes a method may take for temporary storage.
    previous
        Prototypes of the round before, or None.
    log
        ``log(name, value)`` records a number with the run.
    progress
        ``progress(items, total, what)`` yields the items and shows how far along they are.
    show
        ``show(exhibit)`` has samples drawn as a picture of the run.
    """

    seed: int = 0
    method: str = ""
    stage: str = "main"
    round: int = 0
    epoch: int = 0
    epochs: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    memory: int = 1 << 30
    previous: Prototypes | None = None
    log: Callable[[str, float], None] = _no_log
    progress: Callable[..., Iterator[Any]] = _no_progress
    show: Callable[[Exhibit], None] = _no_show

    def of(self, method: str) -> Phase:
        """The same phase for another method."""
        return replace(self, method=method)

    def generator(self, *key: int | str) -> torch.Generator:
        """A CPU generator that depends on (run, method, round, key) alone.

        Draw everything random from it: with a class as key, the draw is the same whichever process does it.
        """
        words = ":".join(str(part) for part in (self.seed, self.method, self.round, *key))
        digest = hashlib.sha256(words.encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
