"""How a part of the contract is deprecated: it goes on working, and says what takes its place and when it goes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def deprecated(instead: str, gone: str = "2.0") -> Callable[[F], F]:
    """Mark a function or a method: whoever calls it gets a `DeprecationWarning`.

    Parameters
    ----------
    instead
        What takes its place.
    gone
        The version of the contract in which it goes.

    Examples
    --------
    >>> @deprecated("ops.unit")
    ... def normalised(vectors):
    ...     return vectors
    >>> with warnings.catch_warnings(record=True) as said:
    ...     warnings.simplefilter("always")
    ...     normalised([1.0])
    [1.0]
    >>> str(said[0].message)
    'normalised is deprecated and goes with contract 2.0; use ops.unit'
    """

    def mark(function: F) -> F:
        @wraps(function)
        def warned(*args: Any, **kwargs: Any) -> Any:
            say_deprecated(function.__qualname__, instead, gone)
            return function(*args, **kwargs)

        return warned  # type: ignore[return-value]  # wraps keeps the signature

    return mark


def say_deprecated(old: str, instead: str, gone: str = "2.0", *, stacklevel: int = 2) -> None:
    """Warn of an argument, a field or a name, from where it is read.

    Parameters
    ----------
    stacklevel
        Whose line the warning names: 2 is the caller of the function that calls this one.
    """
    text = f"{old} is deprecated and goes with contract {gone}; use {instead}"
    warnings.warn(text, DeprecationWarning, stacklevel=stacklevel + 1)
