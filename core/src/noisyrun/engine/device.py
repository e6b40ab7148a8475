"""The device of a run."""

from __future__ import annotations

import torch

from noisyrun.api.errors import UserError
from noisyrun.engine.world import ALONE, World


def device_of(name: str, world: World = ALONE) -> torch.device:
    """The device of ``--device``; of several processes on a machine each has a GPU of its own.

    Raises
    ------
    UserError
        When it is not there, or is not one for each process.
    """
    device = _device_of(name)
    if world.size == 1 or device.type == "cpu":
        return device
    if device.index is not None:
        raise UserError(
            f"--device: {name} is one GPU, and there are {world.local_size} processes on this machine, "
            "each of which needs its own; leave --device out, or give cuda"
        )
    if world.local_size > torch.cuda.device_count():
        raise UserError(
            f"{world.local_size} processes on this machine, but {torch.cuda.device_count()} GPUs: "
            f"start at most torchrun --nproc-per-node {torch.cuda.device_count()}, or give --device cpu"
        )
    device = torch.device("cuda", world.local_rank)
    torch.cuda.set_device(device)
    return device


def _device_of(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device: torch.device | None = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"--device: must be auto, cpu, cuda or cuda:N (got {name!r})")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("--device: there is no GPU that torch can use here; leave --device out, or give cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device: {name} is not there ({torch.cuda.device_count()} GPUs); give a lower number")
    return device
