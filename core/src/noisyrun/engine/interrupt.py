"""Stopping a run on Ctrl-C or SIGTERM without losing what it did."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop; where it keeps checkpoints, it has saved where it stands."""


class StopRequest:
    """Notes Ctrl-C and SIGTERM within its block, for the loop to act on between two steps.

    A second Ctrl-C stops at once. Outside the main thread signals cannot be caught, and nothing is.

    Attributes
    ----------
    requested
        Whether a signal arrived.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
