"""What the machine can do at best, measured and not looked up: the floor that every figure stands beside."""

from __future__ import annotations

import math
import os
import platform
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

Clock = Callable[[], float]

#: float32 numbers that are read to measure memory: more than a processor's own cache holds.
_NUMBERS = 1 << 26
#: Side of the square matrices that are multiplied.
_SIDE = 1024
_TRIES = 3


@dataclass(frozen=True)
class Pass:
    """One of several passes over the same points: bytes that are read again, and operations in float32."""

    reads: float
    single: float


@dataclass(frozen=True)
class Machine:
    """Rates, with the threads that torch uses.

    Attributes
    ----------
    bandwidth
        Bytes a second read from memory.
    single, double
        Floating-point operations a second of a matrix product, float32 and float64.
    """

    bandwidth: float
    single: float
    double: float

    def floor(self, reads: float, single: float = 0.0, double: float = 0.0, passes: Sequence[Pass] = ()) -> float:
        """Seconds that work needs at best: to read its bytes, or to multiply its matrices, whichever is longer.

        Of passes, which follow one another, each takes the longer of the two.
        """
        again = sum(
            max(one.reads * min(again_seconds(one.reads), 1 / self.bandwidth), one.single / self.single)
            for one in passes
        )
        return max(reads / self.bandwidth, single / self.single + double / self.double, again)

    def best(self, other: Machine) -> Machine:
        """The higher of each rate."""
        return Machine(
            max(self.bandwidth, other.bandwidth), max(self.single, other.single), max(self.double, other.double)
        )

    def __str__(self) -> str:
        return (
            f"{self.bandwidth / 1e9:.1f} GB/s read from memory, matrix products {self.single / 1e9:.0f} GFLOP/s in "
            f"float32 and {self.double / 1e9:.0f} in float64"
        )


def cpu_seconds() -> float:
    """Seconds of CPU time of this process and of its children that have ended: what other work hardly changes."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def timed(work: Callable[[], object], clock: Clock, device: torch.device) -> float:
    """Seconds of some work; a GPU is waited for before and after."""
    wait(device)
    start = clock()
    work()
    wait(device)
    return clock() - start


def wait(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(device: torch.device, clock: Clock) -> Machine:
    """The rates as they are now: a tenth of a second on one core."""
    block, single, double = _operands(device)
    least = [
        min(timed(work, clock, device) for _ in range(_TRIES))
        for work in (block.sum, lambda: single @ single, lambda: double @ double)
    ]
    products = 2 * _side(device) ** 3
    return Machine(block.nbytes / least[0], products / least[1], products / least[2])


def again_seconds(size: float) -> float:
    """Seconds a byte of reading so many bytes not for the first time: of small blocks a cache is read, not memory."""
    return _again(1 << max(14, min(28, round(math.log2(size)))))


@cache
def _again(size: int) -> float:
    block = torch.ones(size // 4)
    times = max(1, (1 << 24) // size)
    spent = [
        timed(lambda: [block.sum() for _ in range(times)], cpu_seconds, torch.device("cpu")) for _ in range(_TRIES)
    ]
    return min(spent) / times / size


@cache
def _operands(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    numbers = torch.ones(_NUMBERS * (8 if device.type == "cuda" else 1), device=device)
    single = torch.rand(_side(device), _side(device), device=device)
    return numbers, single, single.double()


def forget_operands() -> None:
    """Give back the memory that `measure` read, where memory is looked at next."""
    _operands.cache_clear()


def _side(device: torch.device) -> int:
    return 8 * _SIDE if device.type == "cuda" else _SIDE


def about(device: torch.device) -> str:
    """Date, versions and machine in a line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return (
        f"{date.today()}; {name}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s) in use; "
        f"Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}"
    )


def processor() -> str:
    """Name of the processor, as the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
