"""Where a run stands when a method is called, and what it may use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from noisyrun.api.prototypes import Prototypes

T = TypeVar("T")


def _no_log(name: str, value: float) -> None:
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
