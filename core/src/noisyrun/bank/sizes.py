"""How much memory there is, and where features of a given size may live."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

import torch

from noisyrun.api.errors import UserError
from noisyrun.engine.world import ALONE, World

Residence = Literal["gpu", "memory", "disk"]

#: From the quickest to the roomiest.
_RESIDENCES: tuple[Residence, ...] = ("gpu", "memory", "disk")

_UNITS = {"K": 1, "M": 2, "G": 3, "T": 4}


def parse_memory(text: str) -> int:
    """Bytes of a size such as ``2GB`` (powers of 1000) or ``2GiB`` (powers of 1024).

    Raises
    ------
    UserError
        When it is no size, or less than one mebibyte.

    Examples
    --------
    >>> parse_memory("1.5GB"), parse_memory("2MiB")
    (1500000000, 2097152)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B", text.strip())
    if found is None:
        raise UserError(f"--bank.memory: {text!r} is not a size; write for example 2GB or 512MiB")
    number, unit, binary = found.groups()
    size = int(float(number) * (1024 if binary else 1000) ** _UNITS.get(unit, 0))
    if size < 1 << 20:
        raise UserError(f"--bank.memory: {text!r} is too small to work with; give at least 2MB")
    return size


def budget(text: str, world: World = ALONE) -> int:
    """Bytes that a process may take of what ``--bank.memory`` gives a machine: the processes on it have equal parts."""
    return parse_memory(text) // world.local_size


def free_memory() -> int:
    """Bytes of main memory that can be had without pushing anything out; a guess where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 4 << 30


def choose_residence(
    wanted: Literal["auto", "gpu", "memory", "disk"],
    size: int,
    device: torch.device,
    memory: int,
    world: World = ALONE,
) -> Residence:
    """Where features of `size` bytes live, the same in all processes.

    Parameters
    ----------
    wanted
        ``auto`` takes the GPU while half of what is free there holds them, then main memory while they take no more
        than half of `memory` and of what is free, then the disk.
    memory
        Bytes that a label phase may take in a process, features and temporary storage together.
    world
        The processes that each hold the features; on disk, those of a machine share a file.

    Raises
    ------
    UserError
        When the GPU is asked for and there is none.
    """
    if wanted == "gpu" and device.type != "cuda":
        raise UserError(f"--bank.residence: gpu needs a GPU, but the run is on {device}; use auto, memory or disk")
    if wanted != "auto":
        return wanted
    found: Residence = "disk"
    if device.type == "cuda" and size <= torch.cuda.mem_get_info(device)[0] // 2:
        found = "gpu"
    elif size <= min(memory, free_memory() // world.local_size) // 2:
        found = "memory"
    # Where there is room for them in all processes.
    return _RESIDENCES[int(world.gather(torch.tensor([_RESIDENCES.index(found)])).max())]
