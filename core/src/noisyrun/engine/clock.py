"""Wall seconds by phase, and peak memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_FORGET = Path("/proc/self/clear_refs")


class Stopwatch:
    """Adds up wall seconds by name. What is timed within what is timed counts once, under the inner name.

    Attributes
    ----------
    seconds
        What was measured so far.
    """

    def __init__(self, seconds: dict[str, float] | None = None) -> None:
        self.seconds = {} if seconds is None else seconds
        self._within: list[float] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        self._within.append(0.0)
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent - self._within.pop()
            if self._within:
                self._within[-1] += spent


def forget_peak_memory(device: torch.device) -> None:
    """Count peak memory from now on: of this run, not of what the process did before it."""
    # Only Linux lets a process do so, and not everywhere; the count then covers the life of the process.
    with suppress(OSError):
        _FORGET.write_text("5")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> dict[str, int]:
    """Bytes: peak resident memory of this process, and peak memory allocated on the GPU where one is used."""
    found = {"process": _high_water_mark() or _max_resident()}
    if device.type == "cuda":
        found["gpu"] = torch.cuda.max_memory_allocated(device)
    return found


def _high_water_mark() -> int | None:
    """Peak resident memory as Linux tells it of this process alone."""
    with suppress(OSError, ValueError, IndexError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def _max_resident() -> int:
    # A child that was started by another program inherits that one's peak here, hence second choice.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts kibibytes, macOS bytes.
    return peak if sys.platform == "darwin" else peak * 1024
