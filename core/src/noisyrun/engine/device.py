"""The device of a run."""

from __future__ import annotations

import torch

from noisyrun.api.errors import UserError


def device_of(name: str) -> torch.device:
    """The device of ``--device``."""
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
