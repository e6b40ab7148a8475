"""What all methods share: a configuration, needs, and state that is tensors and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from noisyrun.api.config import PluginConfig
from noisyrun.api.errors import MethodError
from noisyrun.api.needs import Needs

#: State of a method: tensors, and values that JSON can hold, by name.
State = dict[str, Any]

C = TypeVar("C", bound=PluginConfig)


class Method(Generic[C]):
    """Base of the five sockets' base classes.

    Attributes
    ----------
    key
        Set by the host before anything else is called: ``weighter.sinet``. Errors and seeds use it.
    config
        The validated configuration.
    """

    key: str = "?"

    def __init__(self, config: C) -> None:
        self.config = config

    @property
    def needs(self) -> Needs:
        """What the data and the run must offer; may depend on the configuration."""
        return Needs()

    def preflight(self) -> None:
        """Look, before any training, for what only the configuration names: files, models, word lists.

        Optional and quick. `noisyrun plan` calls it, too.

        Raises
        ------
        UserError
            One line that says what is missing and how to give it.
        """

    def state_dict(self) -> State:
        """All that was learned, as tensors and JSON values; empty when nothing was."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave, without training."""
        if state:
            raise MethodError(self.key, f"has no state to restore, but a checkpoint holds {sorted(state)}")


def check(
    method: str,
    name: str,
    value: object,
    shape: tuple[int | None, ...],
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    low: float | None = None,
    high: float | None = None,
) -> Tensor:
    """Hold what a method returned against the contract.

    Parameters
    ----------
    shape
        Expected sizes; None where any will do.
    dtype
        Expected dtype; None for any floating dtype.
    low, high
        Bounds of the values.

    Raises
    ------
    MethodError
        Naming the method, the value and what is wrong.
    """
    if not isinstance(value, Tensor):
        raise MethodError(method, f"{name} must be a tensor (got {type(value).__name__})")
    if value.dim() != len(shape) or any(want is not None and got != want for got, want in zip(value.shape, shape)):
        want = ", ".join("any" if size is None else str(size) for size in shape)
        raise MethodError(method, f"{name} must have shape [{want}] (got {list(value.shape)})")
    if dtype is None and not value.is_floating_point():
        raise MethodError(method, f"{name} must be floating point (got {value.dtype})")
    if dtype is not None and value.dtype != dtype:
        raise MethodError(method, f"{name} must be {dtype} (got {value.dtype})")
    if device is not None and value.device.type != device.type:
        raise MethodError(method, f"{name} must be on {device} (got {value.device})")
    if value.numel() and value.is_floating_point() and not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        raise MethodError(method, f"{name} has {bad} values that are not finite")
    if value.numel() and low is not None and float(value.min()) < low:
        raise MethodError(method, f"{name} must be at least {low:g} (lowest is {float(value.min()):g})")
    if value.numel() and high is not None and float(value.max()) > high:
        raise MethodError(method, f"{name} must be at most {high:g} (highest is {float(value.max()):g})")
    return value
