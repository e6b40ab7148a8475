"""The results folder: one folder a cell, one file of what came of it. Imports no torch.

DIR/suite.json           the suite as it was expanded last: title, rules, claims, positions with their cells
DIR/cells/ID/cell.json   what the cell is: identity and configuration
DIR/cells/ID/run/        the run's own folder
DIR/cells/ID/result.json what came of it; there once the cell has ended
DIR/results.csv          one row a position, in the suite's order
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from noisyrun.api.errors import UserError
from noisyrun.bench.suite import Suite
from noisyrun.files import write_text

M = TypeVar("M", bound=BaseModel)

SUITE, CELLS, CELL, RESULT, RUN, TABLE = "suite.json", "cells", "cell.json", "result.json", "run", "results.csv"


class Place(BaseModel):
    """A position of the table and the cell that fills it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field(description="Method.")
    data: str = Field(description="Data set.")
    noise: str = Field(description="Noise that was injected; none.")
    seed: int = Field(description="Seed.")
    cell: str = Field(description="Cell.")
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
    places: tuple[Place, ...] = Field(description="Its positions, in the order of the table.")


class Result(BaseModel):
    """What came of a cell, as ``result.json`` keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["noisyrun-cell/1"] = Field("noisyrun-cell/1", description="Name and version of this schema.")
    cell: str = Field(description="Cell.")
    status: Literal["finished", "failed", "refused", "timeout"] = Field(
        description="failed: an error nobody foresaw; refused: the run said in one line why it cannot be."
    )
    error: str = Field("", description="Why it did not finish, in one line.")
    measures: dict[str, float] = Field(default_factory=dict, description="Every number of the summary, by key path.")
    machine: dict[str, Any] = Field(default_factory=dict, description="Where it ran: host, processor, device, memory.")
    started: str = Field("", description="ISO 8601, UTC.")
    ended: str = Field("", description="ISO 8601, UTC.")


@dataclass(frozen=True)
class Results:
    """A results folder."""

    path: Path

    def save_suite(self, expanded: Expanded) -> None:
        """Keep a suite and its positions."""
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
        file = self.cell(cell) / RUN / "summary.json"
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def identity(self, cell: str) -> dict[str, Any]:
        """What a cell is; empty where that is not kept."""
        try:
            content = json.loads((self.cell(cell) / CELL).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


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
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield prefix, float(value)


def _read(path: Path, model: type[M]) -> M:
    try:
        return model.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read ({first})") from None
