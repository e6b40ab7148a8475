"""What the cells of a suite will take: as cells like them took, else from a few measured steps. Imports no torch."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from noisyrun.bench.plan import Cell, Plan
from noisyrun.bench.store import Results
from noisyrun.files import write_text

COST = "cost.json"

#: Gives seconds of a plain training on a cell's data; None where that cannot be told.
Price = Callable[[Cell], float | None]


@dataclass(frozen=True)
class Costs:
    """Seconds by cell.

    Attributes
    ----------
    seconds
        By cell; cells of which nothing is known are absent.
    measured
        Cells whose seconds are those of cells of the same method on the same data.
    plain
        Cells counted as plain training, since nothing like them has run.
    """

    seconds: Mapping[str, float]
    measured: frozenset[str]
    plain: frozenset[str]

    def total(self, cells: Iterable[Cell]) -> float:
        """Seconds of some cells, those unknown left out."""
        return sum(self.seconds.get(cell.id, 0.0) for cell in cells)

    def describe(self, cells: Sequence[Cell]) -> str:
        """Where the seconds of some cells come from, in words."""
        names = {cell.id for cell in cells}
        unknown = len(names - set(self.seconds))
        parts = [
            (len(names & self.measured), "as cells like them took"),
            (len(names & self.plain), "as plain training, whatever the method adds"),
            (len(names & set(self.seconds) - self.measured - self.plain), "by the method's multiple of plain training"),
            (unknown, "unknown until one like them has run"),
        ]
        return "; ".join(f"{count} {words}" for count, words in parts if count)


def costs(results: Results, plan: Plan, price: Price | None) -> Costs:
    """What the cells of a plan will take; those that have ended tell of the others.

    Parameters
    ----------
    price
        Measures plain training, where no cell of the data has ended; None does without.
    """
    cells = list(plan.cells.values())
    took = _took(results, cells)
    reference = [cell for cell in cells if cell.place.method == plan.suite.reference]
    plain = _plain(results, reference, took, price)
    times = _multiples(took, plain)
    seconds, measured, guessed = {}, set(), set()
    for cell in cells:
        method, data = cell.place.method, cell.place.data
        if (method, data) in took:
            seconds[cell.id] = took[method, data]
            measured.add(cell.id)
        elif data in plain:
            seconds[cell.id] = plain[data] * times.get(method, 1.0)
            if method not in times:
                guessed.add(cell.id)
    return Costs(seconds, frozenset(measured), frozenset(guessed))


def _took(results: Results, cells: Sequence[Cell]) -> dict[tuple[str, str], float]:
    """Median seconds of finished cells by method and data."""
    found: dict[tuple[str, str], list[float]] = {}
    for cell in cells:
        result = results.result(cell.id)
        if result is not None and (spent := result.measures.get("seconds.total")) is not None:
            found.setdefault((cell.place.method, cell.place.data), []).append(spent)
    return {key: statistics.median(values) for key, values in found.items()}


def _plain(
    results: Results, cells: Sequence[Cell], took: Mapping[tuple[str, str], float], price: Price | None
) -> dict[str, float]:
    """Seconds of plain training by data: as its cells took, as was measured before, or as is measured now."""
    found: dict[str, float] = {}
    kept = _kept(results.path)
    before = len(kept)
    first = {cell.place.data: cell for cell in reversed(cells)}
    for data, cell in first.items():
        key = f"{cell.id} on {platform.node()}"
        spent = took.get((cell.place.method, data), kept.get(key))
        if spent is None and price is not None and (spent := price(cell)) is not None:
            kept[key] = spent
        if spent is not None:
            found[data] = spent
    if len(kept) > before and results.path.is_dir():
        write_text(results.path / COST, json.dumps(kept, indent=1) + "\n")
    return found


def _multiples(took: Mapping[tuple[str, str], float], plain: Mapping[str, float]) -> dict[str, float]:
    """How many times plain training a method took, by method: the median over data."""
    ratios: dict[str, list[float]] = {}
    for (method, data), spent in took.items():
        if plain.get(data):
            ratios.setdefault(method, []).append(spent / plain[data])
    return {method: statistics.median(values) for method, values in ratios.items()}


def _kept(folder: Path) -> dict[str, float]:
    """Seconds of plain training that were measured before."""
    try:
        content = json.loads((folder / COST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {str(key): float(value) for key, value in content.items() if isinstance(value, int | float)}
