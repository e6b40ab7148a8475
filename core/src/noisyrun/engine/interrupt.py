"""Stopping a run on Ctrl-C, SIGTERM or SIGHUP without losing what it did."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

#: Ctrl-C, what a cluster's scheduler sends before it takes a machine back, and a terminal that was closed.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


#: Seconds after a signal in which more of them ask for the same: those who start processes in groups, as ``torchrun``
#: does, hand on a Ctrl-C that the terminal has sent to all of the group already.
ECHO = 1.0


class AtOnce(KeyboardInterrupt):
    """The process was asked to stop where it stands.

    Attributes
    ----------
    signal
        The signal that asked.
    """

    def __init__(self, *words: object, signal: int = signal.SIGINT) -> None:
        super().__init__(*words)
        self.signal = signal


class Interrupted(AtOnce):
    """The run was asked to stop; where it keeps checkpoints, it has saved where it stands."""


def signal_of(stop: KeyboardInterrupt) -> int:
    """The signal that stopped a run."""
    return stop.signal if isinstance(stop, AtOnce) else signal.SIGINT


class StopRequest:
    """Notes signals that ask for a stop within its block, for the loop to act on where it can.

    A second one, a while later, stops at once. Outside the main thread signals cannot be caught, and nothing is. A
    signal that the process ignores, as SIGHUP under ``nohup``, is ignored still.

    Attributes
    ----------
    alone
        Whether this process is the whole run. One of several stops at once where they have not agreed on a place: what
        each of them has would not be all of one moment.
    requested
        Whether a signal arrived.
    signal
        Which one.
    """

    def __init__(self) -> None:
        self.alone = True
        self.requested = False
        self.signal: int = signal.SIGINT
        self._before: dict[int, Any] = {}
        self._since = 0.0

    def __enter__(self) -> StopRequest:
        self._before = _caught(self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _put_back(self._before)

    def check(self) -> None:
        """Stop here where that was asked for.

        Raises
        ------
        Interrupted
            AtOnce where there are other processes.
        """
        if self.requested:
            raise (Interrupted if self.alone else AtOnce)(signal=self.signal)

    def between(self, items: Iterable[T]) -> Iterator[T]:
        """The items; before each, `check`."""
        for item in items:
            self.check()
            yield item

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.requested:
            self.requested, self.signal, self._since = True, number, now
        elif now - self._since > ECHO:
            raise AtOnce(signal=number)


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """A block that a signal ends where it stands, as Ctrl-C does by itself: nothing in it needs to be saved.

    Raises
    ------
    AtOnce
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise AtOnce(signal=number)

    before = _caught(stop)
    try:
        yield
    finally:
        _put_back(before)


def _caught(handler: Any) -> dict[int, Any]:
    """Have a function called on signals; gives what was there before, by signal."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def _put_back(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
