"""Mixed precision and determinism of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from noisyrun.api.errors import UserError


class Precision:
    """Autocast, and the scaling of gradients that float16 needs.

    Parameters
    ----------
    mode
        ``auto`` (bf16 on a GPU that has it, else off), ``off``, ``bf16`` or ``fp16``.
    """

    def __init__(self, mode: str, device: torch.device) -> None:
        if mode == "fp16" and device.type == "cpu":
            raise UserError("--train.amp: fp16 needs a GPU; use bf16 or off on the CPU")
        if mode == "auto":
            mode = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "off"
        self.device = device
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(mode)
        self._scaler = torch.amp.GradScaler(device.type) if mode == "fp16" else None

    def autocast(self) -> AbstractContextManager[Any]:
        """Around the forward pass."""
        return torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext()

    def step(
        self, loss: Tensor, optimizer: torch.optim.Optimizer, clip: float | None, parameters: list[nn.Parameter]
    ) -> None:
        """Backward pass, clipping of the gradient's norm, and the optimiser's step."""
        optimizer.zero_grad(set_to_none=True)
        if self._scaler is None:
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            return
        self._scaler.scale(loss).backward()
        if clip is not None:
            self._scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(parameters, clip)
        self._scaler.step(optimizer)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """The scale of the gradients, JSON values."""
        return {} if self._scaler is None else dict(self._scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        if self._scaler is not None and state:
            self._scaler.load_state_dict(dict(state))


@contextmanager
def deterministic(wanted: bool, device: torch.device) -> Iterator[None]:
    """Deterministic kernels within the block; the process's own choice is put back afterwards.

    The CPU's kernels are deterministic as they are, for one number of threads.
    """
    if device.type != "cuda":
        yield
        return
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
    )
    if wanted:
        # cuBLAS reads this once, when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic = wanted
    torch.backends.cudnn.benchmark = not wanted
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = before[2:]


def seed_of_process(seed: int, rank: int) -> int:
    """The seed from which a process draws what it needs in its steps: the run's own for the first."""
    return seed if rank == 0 else _mix(seed, -1 - rank)


def seed_step(seed: int, step: int) -> None:
    """Seed torch's global generators for one step.

    What dropout and its like draw in a step then depends on (seed, step) alone: a resumed run needs no generator
    state, and draws what the unbroken one drew.
    """
    torch.manual_seed(_mix(seed, step))


def seed_build(seed: int) -> None:
    """Seed torch's global generators before the network's weights are drawn."""
    torch.manual_seed(_mix(seed, -1))


def _mix(seed: int, step: int) -> int:
    """SplitMix64 of both numbers, 63 bits: neighbouring steps get unrelated seeds."""
    mask = (1 << 64) - 1
    z = ((seed << 32) ^ (step & 0xFFFFFFFFFF)) & mask
    z = (z + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) >> 1
