"""What a run told its observers, kept in its folder: a tracker that failed can be told again. Imports no torch."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from noisyrun.api.errors import UserError
from noisyrun.api.hooks import EpochResult, LabelPhaseResult, RunInfo, RunResult
from noisyrun.api.plugin import hookimpl

#: In the run's folder: one JSON object an event.
EVENTS = "events.jsonl"


class Journal:
    """Notes every event, with its time. What finds no room on the disk waits for the next."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._waiting: list[str] = []

    @hookimpl
    def noisyrun_run_start(self, run: RunInfo) -> None:
        self._path = run.out / EVENTS
        self._note(
            "start",
            run=run.run_id,
            parameters=dict(run.parameters),
            tags=dict(run.tags),
            dataset=dict(run.dataset),
        )

    @hookimpl
    def noisyrun_label_phase_end(self, result: LabelPhaseResult) -> None:
        self._note("label_phase", **vars(result))

    @hookimpl
    def noisyrun_epoch_end(self, result: EpochResult) -> None:
        self._note("epoch", **vars(result))

    @hookimpl
    def noisyrun_run_end(self, result: RunResult) -> None:
        self._note("end", status=result.status, files=[path.name for path in result.artifacts])

    def _note(self, what: str, **facts: Any) -> None:
        self._waiting.append(json.dumps({"what": what, "time": time.time(), **facts}, default=str))
        if self._path is None:
            return
        # The run itself says when the disk is full, in one line, where it cannot write what it needs.
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            # Each event begins a line: a kill, or a full disk, may have cut the one before it.
            file.write("".join(f"\n{line}" for line in self._waiting))
            file.flush()
            self._waiting = []


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """The events of a run, in order; a line that was cut is left out.

    Raises
    ------
    UserError
        When the folder holds none.
    """
    path = folder / EVENTS
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise UserError(f"{folder}: holds no {EVENTS}, in which a run keeps what there is to record") from None
    for line in text.splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and isinstance(event.get("what"), str):
                yield event
