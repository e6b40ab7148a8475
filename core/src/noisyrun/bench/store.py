"""The results folder: one folder a cell, one file of what came of it. Imports no torch.

DIR/suite.json           the suite as it was expanded last: title, rules, claims, positions with their cells
DIR/cells/ID/cell.json   what the cell is: identity and configuration
DIR/cells/ID/run/        the run's own folder
DIR/cells/ID/result.json what came of it; there once the cell has ended
DIR/cells/ID/log.txt     what it said
DIR/results.csv          one row a position, in the suite's order

Several processes may write at once: a cell is claimed by a lock in its folder, which the system frees with the process
that holds it, and every file takes its place whole.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from noisyrun.api.errors import UserError
from noisyrun.bench.suite import Suite
from noisyrun.files import atomic, take_lock, write_text

M = TypeVar("M", bound=BaseModel)

#: A cell's name is that of its folder, and leads nowhere else.
CellName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]

#: No measure is larger: its square is still a number.
LARGEST = 1e100
Number = Annotated[float, Field(allow_inf_nan=False, ge=-LARGEST, le=LARGEST)]

SUITE, CELLS, CELL, RESULT, RUN, TABLE = "suite.json", "cells", "cell.json", "result.json", "run", "results.csv"
LOG, CLAIM = "log.txt", ".claim"

#: Columns of ``results.csv`` that differ from one run of the same cell to the next, or the heads of their names:
#: times, memory, energy, dates and the machine. All others are the same whenever and wherever a cell runs.
VOLATILE = ("seconds", "samples_per_second", "peak_memory", "energy", "started", "ended", "machine")


class Place(BaseModel):
    """A position of the table and the cell that fills it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field(description="Method.")
    data: str = Field(description="Data set.")
    noise: str = Field(description="Noise that was injected; none.")
    seed: int = Field(description="Seed.")
    cell: CellName = Field(description="Cell.")
    tuned: bool = Field(False, description="Whether the suite gives the method settings for this data or noise apart.")
    swept: dict[str, Any] = Field(default_factory=dict, description="Settings that a sweep chose.")

    @property
    def comparison(self) -> str:
        """What it is compared within: the data and the noise."""
        return self.data if self.noise == "none" else f"{self.data}, {self.noise}"


class Expanded(BaseModel):
    """A suite and its positions, as ``suite.json`` keeps them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["noisyrun-suite/1"] = Field("noisyrun-suite/1", description="Name and version of this schema.")
    suite: Suite = Field(description="The suite.")
    command: str = Field("", description="The command that ran it last.")
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="Settings that the command laid over all cells."
    )
    places: tuple[Place, ...] = Field(description="Its positions, in the order of the table.")


class Result(BaseModel):
    """What came of a cell, as ``result.json`` keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["noisyrun-cell/1"] = Field("noisyrun-cell/1", description="Name and version of this schema.")
    cell: CellName = Field(description="Cell.")
    status: Literal["finished", "failed", "refused", "timeout"] = Field(
        description="failed: an error nobody foresaw; refused: the run said in one line why it cannot be."
    )
    error: str = Field("", description="Why it did not finish, in one line.")
    measures: dict[str, Number] = Field(default_factory=dict, description="Every number of the summary, by key path.")
    machine: dict[str, Any] = Field(default_factory=dict, description="Where it ran: host, processor, device, memory.")
    started: str = Field("", description="ISO 8601, UTC.")
    ended: str = Field("", description="ISO 8601, UTC.")


@dataclass(frozen=True)
class Results:
    """A results folder."""

    path: Path

    def save_suite(self, expanded: Expanded) -> None:
        """Keep a suite and its positions."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.path / SUITE, expanded.model_dump_json(indent=1) + "\n")

    def suite(self) -> Expanded:
        """The suite that was run here last.

        Raises
        ------
        UserError
            When this is no results folder.
        """
        file = self.path / SUITE
        if not file.is_file():
            raise UserError(f"{self.path}: holds no results of a suite ({SUITE} is missing)")
        return _read(file, Expanded)

    def cell(self, cell: str) -> Path:
        """The folder of a cell."""
        return self.path / CELLS / cell

    def result(self, cell: str) -> Result | None:
        """What came of a cell; None while it has not ended."""
        file = self.cell(cell) / RESULT
        return _read(file, Result) if file.is_file() else None

    def results(self, places: Sequence[Place]) -> Iterator[tuple[Place, Result | None]]:
        """Positions with what came of their cells; every file is read once."""
        known: dict[str, Result | None] = {}
        for place in places:
            if place.cell not in known:
                known[place.cell] = self.result(place.cell)
            yield place, known[place.cell]

    def summary(self, cell: str) -> dict[str, Any]:
        """The run's own ``summary.json``; empty where there is none."""
        return _object(self.cell(cell) / RUN / "summary.json")

    def identity(self, cell: str) -> dict[str, Any]:
        """What a cell is; empty where that is not kept."""
        return _object(self.cell(cell) / CELL)

    def log(self, cell: str) -> Path:
        """The file that holds what a cell said."""
        return self.cell(cell) / LOG

    def last_words(self, cell: str) -> str:
        """The last line of what a cell said."""
        try:
            lines = self.log(cell).read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            lines = []
        return next((line for line in reversed(lines) if line.strip()), "the disk took no more")

    def run(self, cell: str) -> Path:
        """The folder of a cell's run."""
        return self.cell(cell) / RUN

    def describe(self, cell: str, what: Mapping[str, Any]) -> None:
        """Keep what a cell is."""
        self.cell(cell).mkdir(parents=True, exist_ok=True)
        write_text(self.cell(cell) / CELL, json.dumps(what, indent=1, ensure_ascii=False) + "\n")

    def keep(self, result: Result) -> None:
        """Keep what came of a cell."""
        self.cell(result.cell).mkdir(parents=True, exist_ok=True)
        write_text(self.cell(result.cell) / RESULT, result.model_dump_json(indent=1) + "\n")

    def forget(self, cell: str) -> None:
        """Drop what came of a cell, so that it runs again; what its run had saved stays."""
        (self.cell(cell) / RESULT).unlink(missing_ok=True)

    @contextmanager
    def claim(self, cell: str) -> Iterator[bool]:
        """Keep every other process from a cell; False when one has it. Freed when the process ends, however it ends."""
        folder = self.cell(cell)
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / CLAIM, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # Where a file system has no locks, two sweeps may both run a cell; they come to the same.
            yield take_lock(handle) is not False
        finally:
            os.close(handle)

    def claimed(self, cell: str) -> bool:
        """Whether a process is at work on a cell."""
        if not (self.cell(cell) / CLAIM).exists():
            return False
        with self.claim(cell) as free:
            return not free

    def write_table(self, places: Sequence[Place]) -> None:
        """Write ``results.csv`` anew from what has ended."""
        # Two processes at once: whoever writes last has read last.
        with locked(self.path / ".table.lock"):
            rows = [row(place, result) for place, result in self.results(places)]
            with atomic(self.path / TABLE) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
                writer = csv.DictWriter(handle, columns(rows), restval="", lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


def row(place: Place, result: Result | None) -> dict[str, Any]:
    """A row of ``results.csv``."""
    found: dict[str, Any] = {name: getattr(place, name) for name in ("method", "data", "noise", "seed", "cell")}
    found |= {"status": "missing" if result is None else result.status, "error": result.error if result else ""}
    found |= {f"sweep.{name}": value for name, value in place.swept.items()}
    if result is not None:
        found |= result.measures
        found |= {"started": result.started, "ended": result.ended}
        found |= {f"machine.{name}": value for name, value in result.machine.items()}
    return found


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns of rows: where they stand, what was swept, measures by name, and last what is volatile."""
    names = list(dict.fromkeys(name for one in rows for name in one))
    first = [name for name in names if name in _FIRST]
    swept = [name for name in names if name.startswith("sweep.")]
    rest = sorted(name for name in names if name not in first and name not in swept)
    return [*first, *swept, *sorted(rest, key=is_volatile)]


_FIRST = ("method", "data", "noise", "seed", "cell", "status", "error")


def is_volatile(column: str) -> bool:
    """Whether a column of ``results.csv`` holds a time, memory, energy, a date or the machine."""
    return column.partition(".")[0] in VOLATILE


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for a lock and hold it; freed by the system when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        take_lock(handle.fileno(), wait=True)
        yield


def measures(summary: Mapping[str, Any]) -> dict[str, float]:
    """Every number of a summary's parts by its key path: ``accuracy.last``, ``seconds.total``.

    Lists (epochs, label phases), the configuration and what describes the data are left out.
    """
    aside = ("config", "history", "rounds", "data", "versions", "files", "tracking", "baseline")
    return dict(_numbers("", {key: value for key, value in summary.items() if key not in aside}))


def _numbers(prefix: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST:  # which no NaN is
        yield prefix, float(value)


def _object(path: Path) -> dict[str, Any]:
    """What a JSON file holds; empty where it is not there, or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _read(path: Path, model: type[M]) -> M:
    try:
        return model.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise unreadable(path, error) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None


def unreadable(path: Path, error: ValidationError) -> UserError:
    """What to raise where a file does not hold what it should."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return UserError(f"{path}: cannot be read ({where + ': ' if where else ''}{first['msg']})")
