"""A suite expanded to cells: which there are, how each stands, which are this process's to run. Imports no torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

from noisyrun.api.errors import UserError
from noisyrun.bench.identity import cell_id, identity
from noisyrun.bench.positions import Position, positions
from noisyrun.bench.store import CELLS, Expanded, Place, Results
from noisyrun.bench.suite import Suite
from noisyrun.config import noise
from noisyrun.config.resolve import RunConfig
from noisyrun.registry import Registry

State = Literal["finished", "failed", "refused", "timeout", "running", "missing"]

#: States of a cell that ended without a result.
ENDED_BADLY = ("failed", "refused", "timeout")


@dataclass(frozen=True)
class Cell:
    """A cell and where it stands first.

    Attributes
    ----------
    id
        Its name.
    place
        The first position that it fills.
    config
        Its resolved configuration.
    what
        Its identity.
    """

    id: str
    place: Place
    config: RunConfig = field(repr=False)
    what: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.place.method} · {self.place.comparison} · seed {self.place.seed}"


@dataclass(frozen=True)
class Plan:
    """A suite, its positions and its cells.

    Attributes
    ----------
    suite
        The suite.
    places
        All positions, in the order of the table.
    cells
        Each cell once, by name, in the order in which they run: seed by seed, so that comparisons fill up evenly.
    overrides
        Settings laid over all cells.
    """

    suite: Suite
    places: tuple[Place, ...]
    cells: Mapping[str, Cell]
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def expanded(self, command: str) -> Expanded:
        """What ``suite.json`` keeps."""
        return Expanded(suite=self.suite, command=command, overrides=dict(self.overrides), places=self.places)

    def states(self, results: Results) -> dict[str, State]:
        """How every cell stands."""
        return {name: state(results, name) for name in self.cells}


def expand(suite: Suite, registry: Registry | None = None, overrides: Mapping[str, Any] | None = None) -> Plan:
    """Resolve every position and give it its cell.

    Parameters
    ----------
    overrides
        Settings laid over all cells, by dotted name.

    Raises
    ------
    UserError
        One line for everything that is wrong with any position: nothing runs before all of them are right.
    """
    found: list[tuple[Position, Cell]] = []
    errors: list[str] = []
    for position in positions(suite):
        if overrides:
            position = replace(position, layers=(*position.layers, ("--set", overrides)))
        try:
            config = position.config(registry)
            noise.parse(config.settings.noise)
            what = identity(config, suite.task)
        except UserError as error:
            errors += [_named(position, line) for line in str(error).splitlines()]
            continue
        place = Place(
            method=position.method,
            data=position.data,
            noise=position.noise,
            seed=position.seed,
            cell=cell_id(what),
            tuned=position.tuned,
            swept=dict(position.swept),
        )
        found.append((position, Cell(place.cell, place, config, what)))
    if errors:
        raise UserError("\n".join(dict.fromkeys(errors)))
    by_seed = sorted(found, key=lambda pair: suite.seeds.index(pair[0].seed))
    cells: dict[str, Cell] = {}
    for _, cell in by_seed:
        cells.setdefault(cell.id, cell)
    return Plan(suite, tuple(cell.place for _, cell in found), cells, dict(overrides or {}))


def accept(plan: Plan, results: Results) -> Plan:
    """The same plan, in which results that other code, or other versions, made stand for cells that have none.

    A comparison of code that differs is marked in its report.
    """
    made: dict[str, tuple[str, str]] = {}
    for folder in sorted((results.path / CELLS).glob("*")):
        what, result = results.identity(folder.name), results.result(folder.name)
        if result is not None and result.status == "finished":
            key = _apart_from_code(what)
            made[key] = max(made.get(key, ("", "")), (result.ended, folder.name))
    stands = {
        cell.id: made[key][1]
        for cell in plan.cells.values()
        if results.result(cell.id) is None and (key := _apart_from_code(cell.what)) in made
    }

    def renamed(place: Place) -> Place:
        return place.model_copy(update={"cell": stands.get(place.cell, place.cell)})

    cells = (replace(cell, id=stands.get(cell.id, cell.id), place=renamed(cell.place)) for cell in plan.cells.values())
    return replace(plan, places=tuple(map(renamed, plan.places)), cells={cell.id: cell for cell in cells})


def _apart_from_code(what: Mapping[str, Any]) -> str:
    return json.dumps([what.get(name) for name in ("task", "data", "config")], sort_keys=True)


def _named(position: Position, line: str) -> str:
    """What is wrong, with whose fault it is: that of the data, or of the method."""
    head = f"data {position.data}: " if line.startswith(("--data", "--noise")) else f"{position.method}: "
    return line if line.startswith(f"{position.method}: ") else head + line


def state(results: Results, cell: str) -> State:
    """How a cell stands."""
    result = results.result(cell)
    if result is not None:
        return result.status
    return "running" if results.claimed(cell) else "missing"


def share(cells: Sequence[Cell], index: int, count: int) -> list[Cell]:
    """The cells of one of several machines: the same on all of them, without asking each other.

    Each cell in turn goes to whoever has the fewest like it (of its method on its data, then of its method or its data,
    then at all), so that every machine has its part of what takes long.

    Parameters
    ----------
    index
        From 0.
    count
        How many machines there are.
    """
    same: Counter[tuple[int, str, str]] = Counter()
    alike: Counter[tuple[int, str]] = Counter()
    total: Counter[int] = Counter()
    mine = []
    for cell in cells:
        method, data = f"method {cell.place.method}", f"data {cell.place.comparison}"

        def load(one: int, method: str = method, data: str = data) -> tuple[int, ...]:
            return same[one, method, data], alike[one, method] + alike[one, data], total[one], one

        chosen = min(range(count), key=load)
        same[chosen, method, data] += 1
        alike[chosen, method] += 1
        alike[chosen, data] += 1
        total[chosen] += 1
        if chosen == index:
            mine.append(cell)
    return mine


def select(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """The cells that a word names: a method, or METHOD/DATA, METHOD/DATA/NOISE; ``*`` and ``?`` match.

    Raises
    ------
    UserError
        When a word names none.
    """
    if not only:
        return list(cells)
    chosen: set[str] = set()
    for word in only:
        found = {cell.id for cell in cells if _matches(cell.place, word)}
        if not found:
            from noisyrun.suggest import did_you_mean

            methods = list(dict.fromkeys(cell.place.method for cell in cells))
            near = did_you_mean(word.partition("/")[0], methods)
            raise UserError(f"--only: no cell is called {word!r}{near}; methods: {', '.join(methods)}")
        chosen |= found
    return [cell for cell in cells if cell.id in chosen]


def _matches(place: Place, word: str) -> bool:
    named = (place.method, place.data, place.noise)
    if word == place.method or word == "/".join(named):  # names may hold slashes and brackets themselves
        return True
    parts = word.split("/")
    return len(parts) <= len(named) and all(fnmatchcase(name, part) for name, part in zip(named, parts))
