"""A method in a comparison: its estimates, curves, classes and marks. Plain data; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from noisyrun.bench import stats
from noisyrun.bench.evidence import Evidence, Table, flat
from noisyrun.bench.fairness import Mark
from noisyrun.bench.stats import Estimate, Paired
from noisyrun.bench.store import Results
from noisyrun.run_folder import PAGE


@dataclass(frozen=True)
class Curve:
    """A figure of a run's history over its epochs: mean, smallest and largest over the seeds.

    All four have the same length. Epochs that not every finished seed has are left out.
    """

    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class ClassRow:
    """One class, averaged over the seeds; shares in [0, 1], None where not measured."""

    name: str
    accuracy: float | None
    observed: float | None
    called_wrong: float | None
    wrong: float | None


@dataclass(frozen=True)
class Row:
    """A method in a comparison.

    Attributes
    ----------
    method, note
        Its name, and what a reader must know of it.
    reference
        Whether it is plain cross entropy.
    settings
        What the suite sets for it, by dotted name, as text; sockets among them.
    marks
        Those of the method here. Those of the whole comparison stand there.
    cells
        Its cells by seed.
    unfinished
        By seed, what came of those that have no result: ``pending``, or why they failed, were refused or ran out of
        time.
    values
        By key of the measure; only what was measured.
    against
        Against plain cross entropy, by key of the measure; empty for the reference, and where pairs are missing.
    rank
        Rank of its mean by the headline measure among the rows of the comparison, 1 the best, ties averaged; None where
        it was not measured, or not for all seeds.
    best
        Whether its mean is the best.
    within_noise
        Whether it is not told apart from the best (paired interval contains 0); None where that cannot be said.
    cost
        Total seconds as a multiple of plain cross entropy's on the same machine; None where that is not known.
    curves
        By key of the run's history: test_accuracy, val_accuracy, train_loss and whatever else a number is.
    classes
        One record a class; empty where there are none.
    galleries
        By seed, the gallery of the run relative to the results folder (``cells/ID/run/gallery.html``).
    phases
        Epochs before which a label phase ran, of the first finished seed.
    """

    method: str
    note: str
    reference: bool
    settings: Mapping[str, str]
    marks: tuple[Mark, ...]
    cells: Mapping[int, str]
    unfinished: Mapping[int, str]
    values: Mapping[str, Estimate]
    against: Mapping[str, Paired]
    rank: float | None
    best: bool
    within_noise: bool | None
    cost: float | None
    curves: Mapping[str, Curve]
    classes: tuple[ClassRow, ...]
    galleries: Mapping[int, str]
    phases: tuple[int, ...] = ()


def row(
    table: Table,
    results: Results,
    found: Sequence[Evidence],
    *,
    marks: tuple[Mark, ...],
    against: Mapping[str, Paired],
    rank: float | None,
    best: bool,
    within_noise: bool | None,
) -> Row:
    """The row of a method, from what is there of every seed."""
    place = found[0].place
    entry = next(entry for entry, _ in table.suite.methods if entry.name == place.method)
    ended = [one for one in found if one.finished]
    keys = dict.fromkeys(key for one in ended for key in one.measures)
    pages = {one.place.seed: results.run(one.place.cell) / PAGE for one in ended}
    return Row(
        method=place.method,
        note=entry.note,
        reference=place.method == table.reference,
        settings={name: str(value) for name, value in {**flat(entry.settings), **place.swept}.items()},
        marks=marks,
        cells={one.place.seed: one.place.cell for one in found},
        unfinished={one.place.seed: one.problem for one in found if not one.finished},
        values={key: stats.estimate(table.values(place.comparison, place.method, key)) for key in keys},
        against=against,
        rank=rank,
        best=best,
        within_noise=within_noise,
        cost=table.cost(place.comparison, place.method),
        curves=_curves(ended),
        classes=_classes(ended),
        galleries={seed: page.relative_to(results.path).as_posix() for seed, page in pages.items() if page.is_file()},
        phases=tuple(int(one["epoch"]) + 1 for one in (ended[0].summary.get("rounds") or ())) if ended else (),
    )


def _curves(ended: Sequence[Evidence]) -> dict[str, Curve]:
    """Figures of the histories, over the epochs that every finished seed has."""
    by_seed = [{int(record["epoch"]): record for record in one.summary.get("history") or ()} for one in ended]
    names = dict.fromkeys(name for records in by_seed for record in records.values() for name in record)
    found = {}
    for name in names:
        if name in ("epoch", "step", "stage"):
            continue
        series = [
            {epoch: float(record[name]) for epoch, record in records.items() if _is_number(record.get(name))}
            for records in by_seed
        ]
        epochs = sorted(set.intersection(*(set(one) for one in series)))
        if epochs:
            values = np.array([[one[epoch] for epoch in epochs] for one in series])
            mean, low, high = (tuple(map(float, of(values, axis=0))) for of in (np.mean, np.min, np.max))
            found[name] = Curve(tuple(epochs), mean, low, high)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_OF_CLASS = ("accuracy", "observed", "called_wrong", "wrong")


def _classes(ended: Sequence[Evidence]) -> tuple[ClassRow, ...]:
    tables = [one.summary.get("per_class") or () for one in ended]
    if not tables or len({tuple(record["name"] for record in records) for records in tables}) > 1:
        return ()
    return tuple(
        ClassRow(
            records[0]["name"], *(_mean(records, key) for key in ("accuracy", "observed", "called_wrong", "wrong"))
        )
        for records in zip(*tables)
    )


def _mean(records: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [record[key] for record in records if record.get(key) is not None]
    return float(np.mean(values)) if values else None
