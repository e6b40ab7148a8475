"""A results folder as a reader should see it: rows, statistics, marks, verdicts. Plain data; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from noisyrun.bench import claims, fairness, measures, stats
from noisyrun.bench.claims import PublishedRow, Verdict
from noisyrun.bench.evidence import Evidence, Table, read
from noisyrun.bench.fairness import Mark
from noisyrun.bench.measures import Measure
from noisyrun.bench.rows import ClassRow, Curve, Row, row
from noisyrun.bench.stats import Paired
from noisyrun.bench.store import Result, Results
from noisyrun.bench.suite import Suite

__all__ = ["Analysis", "ClassRow", "Comparison", "Curve", "Machine", "Overall", "Row", "analyse"]


@dataclass(frozen=True)
class Comparison:
    """What is compared: all methods on the same data with the same noise.

    Attributes
    ----------
    name
        Of the comparison: data and noise.
    data, noise, note
        The data set, the injected noise (none), and what a reader must know of the data.
    rows
        In the order of the suite; plain cross entropy among them.
    facts
        Of the data, by heading: classes, training samples, validation, test, share of wrong labels, digests.
    marks
        Those of the whole comparison.
    """

    name: str
    data: str
    noise: str
    note: str
    rows: tuple[Row, ...]
    facts: Mapping[str, str]
    marks: tuple[Mark, ...]

    @property
    def reference(self) -> Row | None:
        """The row of plain cross entropy."""
        return next((row for row in self.rows if row.reference), None)

    @property
    def best(self) -> Row | None:
        """The row of the best mean by the headline measure."""
        return next((row for row in self.rows if row.best), None)


@dataclass(frozen=True)
class Overall:
    """All comparisons together, by the headline measure.

    Attributes
    ----------
    comparisons
        Names of those that count: all methods of `ranks` have all their seeds there.
    ranks
        Average rank by method, best first; 1 is the best. Methods that lack a result somewhere are in `left_out`.
    left_out
        Methods without a rank, and why.
    friedman_p
        Friedman's test that all methods are alike; None with fewer than 3 methods or 2 comparisons.
    critical_difference
        Nemenyi's, at 5 %: average ranks closer than this are not told apart; None with fewer than 2 comparisons.
    cliques
        Largest groups of methods not told apart, best first; of two methods or more.
    paired
        Against plain cross entropy over all pairs of (comparison, seed), by method. Seeds of one comparison share its
        data, so these intervals speak of these data sets, not of others.
    """

    comparisons: tuple[str, ...]
    ranks: Mapping[str, float]
    left_out: Mapping[str, str]
    friedman_p: float | None
    critical_difference: float | None
    cliques: tuple[tuple[str, ...], ...]
    paired: Mapping[str, Paired]


@dataclass(frozen=True)
class Machine:
    """A machine that ran cells: what it is, by heading, and how many it ran."""

    facts: Mapping[str, str]
    cells: int


@dataclass(frozen=True)
class Analysis:
    """A results folder as a reader should see it.

    Attributes
    ----------
    suite
        The suite, with title, about, seeds, rules and what differs from the published protocol.
    command
        The command that ran it last.
    headline
        The measure by which methods are ranked.
    measures
        All measures that some cell has, the headline first, else in the order of the registry.
    comparisons
        In the order of the suite.
    overall
        All comparisons together; None where there is nothing to rank.
    claims, published
        Verdicts on claims; published figures beside ours. Empty where the suite names none.
    marks
        Every mark, of rows and comparisons too, each once.
    machines, versions
        What ran the cells: machines; every package with all its versions that occur.
    started, ended
        Of the first and the last cell, ISO 8601, UTC; empty while there is none.
    cells, finished
        Number of cells, and of those with a result.
    unfinished
        Cells without a result, as (method, comparison, seed, why).
    seconds
        Sum of all cells' seconds, each once.
    frame
        One row a position (method, data, noise, comparison, seed, cell, status, error) with a column for every measure.
    """

    suite: Suite
    command: str
    headline: Measure
    measures: tuple[Measure, ...]
    comparisons: tuple[Comparison, ...]
    overall: Overall | None
    claims: tuple[Verdict, ...]
    published: tuple[PublishedRow, ...]
    marks: tuple[Mark, ...]
    machines: tuple[Machine, ...]
    versions: Mapping[str, tuple[str, ...]]
    started: str
    ended: str
    cells: int
    finished: int
    unfinished: tuple[tuple[str, str, int, str], ...]
    seconds: float
    frame: pd.DataFrame = field(repr=False, compare=False, default_factory=pd.DataFrame)

    def measure(self, key: str) -> Measure:
        """The measure of a key that some cell has."""
        return next(one for one in self.measures if one.key == key)


def analyse(results: Results) -> Analysis:
    """Read a results folder and compare what it holds.

    Raises
    ------
    UserError
        When it is no results folder.
    """
    expanded = results.suite()
    table = read(results, expanded)
    headline = measures.measure(expanded.suite.headline)
    marks = fairness.marks(table, headline)
    everything = [one for _, _, found in table.rows() for one in found]
    cells = {one.place.cell: one for one in everything}
    ended = [one.result for one in cells.values() if one.result is not None]
    keys = {key for one in everything for key in one.measures}
    return Analysis(
        suite=expanded.suite,
        command=expanded.command,
        headline=headline,
        measures=tuple(measures.measure(key) for key in measures.order(keys, headline.key)),
        comparisons=tuple(_comparison(table, name, headline, marks, results) for name in table.evidence),
        overall=_overall(table, headline),
        claims=claims.verdicts(table),
        published=claims.published(table),
        marks=marks,
        machines=_machines(ended),
        versions=_versions(list(cells.values())),
        started=min((one.started for one in ended), default=""),
        ended=max((one.ended for one in ended), default=""),
        cells=len(cells),
        finished=sum(one.finished for one in cells.values()),
        unfinished=tuple(
            (one.place.method, one.place.comparison, one.place.seed, one.problem)
            for one in everything
            if not one.finished
        ),
        seconds=sum(one.measures.get("seconds.total", 0.0) for one in ended),
        frame=_frame(everything),
    )


def _comparison(table: Table, name: str, headline: Measure, marks: Sequence[Mark], results: Results) -> Comparison:
    found = table.evidence[name]
    place = next(iter(found.values()))[0].place
    whole = {
        method: stats.estimate(table.values(name, method, headline.key)).mean
        for method in found
        if table.whole(name, method, headline.key)
    }
    higher = headline.higher is not False
    ranks = stats.ranks(whole, higher) if whole else {}
    best = min(ranks, key=lambda method: ranks[method]) if ranks else None
    against = _against(table, name)
    rows = tuple(
        row(
            table,
            results,
            found[method],
            marks=tuple(mark for mark in marks if mark.method == method and mark.comparison in (None, name)),
            against=against.get(method, {}),
            rank=ranks.get(method),
            best=best is not None and ranks.get(method) == ranks[best],
            within_noise=_within_noise(table, name, method, best, headline),
        )
        for method in found
    )
    entry = next(one for one in table.suite.data if one.name == place.data)
    return Comparison(
        name=name,
        data=place.data,
        noise=place.noise,
        note=entry.note,
        rows=rows,
        facts=_facts([one for group in found.values() for one in group]),
        marks=tuple(mark for mark in marks if mark.method is None and mark.comparison in (None, name)),
    )


def _within_noise(table: Table, name: str, method: str, best: str | None, headline: Measure) -> bool | None:
    """Whether a method is not told apart from the best; None where that cannot be said."""
    if best is None or method == best:
        return None if best is None else True
    found = table.compare(method, best, headline, (name,))
    return None if found is None or found.outcome == "unknown" else found.outcome == "within noise"


def _against(table: Table, name: str) -> dict[str, dict[str, Paired]]:
    """Every method against plain cross entropy by every measure, p corrected for the number of methods."""
    reference = table.reference
    if reference is None:
        return {}
    methods = [method for method in table.evidence[name] if method != reference]
    found: dict[str, dict[str, Paired]] = {}
    for key in sorted({key for one in table.finished(name, reference) for key in one.measures}):
        measure = measures.measure(key)
        if measure.higher is None:
            continue
        pairs = {method: table.compare(method, reference, measure, (name,)) for method in methods}
        for method, one in stats.holm({of: pair for of, pair in pairs.items() if pair is not None}).items():
            found.setdefault(method, {})[key] = one
    return found


def _facts(found: Sequence[Evidence]) -> dict[str, str]:
    """What the first finished run says of the data."""
    first = next((one for one in found if one.finished and one.data), None)
    if first is None:
        return {}
    data, facts = first.data, dict[str, str]()
    for name, heading in (
        ("classes", "classes"),
        ("train", "training samples"),
        ("val", "noisy validation"),
        ("test", "test samples"),
    ):
        if data.get(name) is not None:
            facts[heading] = f"{data[name]:,}"
    if data.get("labels"):
        facts["labels a sample"] = "one" if data["labels"] == "single" else "any number"
    wrong = [one.measures["label_accuracy.before"] for one in found if "label_accuracy.before" in one.measures]
    if wrong and data.get("labels") == "single":
        facts["wrong labels"] = f"{100 - 100 * float(np.mean(wrong)):.1f} %"
    for name, digest in (data.get("digests") or {}).items():
        facts[f"digest of {name}, seed {first.place.seed}"] = str(digest)[:16]
    return facts


def _overall(table: Table, headline: Measure) -> Overall | None:
    names = list(dict.fromkeys(method for _, method, _ in table.rows()))
    whole = {
        comparison: [method for method in names if table.whole(comparison, method, headline.key)]
        for comparison in table.evidence
    }
    # A comparison that is barely begun would leave most methods without a rank.
    counted = [comparison for comparison, have in whole.items() if len(have) > 1 and 2 * len(have) >= len(names)]
    if not counted:
        return None
    ranked = [method for method in names if all(method in whole[comparison] for comparison in counted)]
    left_out = {
        method: f"seeds are missing on {', '.join(one for one in counted if method not in whole[one])}"
        for method in names
        if method not in ranked
    }
    if len(ranked) < 2:
        return None
    higher = headline.higher is not False
    means = [
        {method: stats.estimate(table.values(one, method, headline.key)).mean for method in ranked} for one in counted
    ]
    ranks = [stats.ranks(row, higher) for row in means]
    average = {method: float(np.mean([row[method] for row in ranks])) for method in ranked}
    average = dict(sorted(average.items(), key=lambda pair: pair[1]))
    difference = stats.critical_difference(len(ranked), len(counted))
    paired = {}
    if table.reference is not None:
        for method in names:
            found = table.compare(method, table.reference, headline, counted)
            if method != table.reference and found is not None:
                paired[method] = found
    return Overall(
        comparisons=tuple(counted),
        ranks=average,
        left_out=left_out,
        friedman_p=stats.friedman(means),
        critical_difference=difference,
        cliques=stats.cliques(average, difference),
        paired=stats.holm(paired),
    )


def _machines(ended: Sequence[Result]) -> tuple[Machine, ...]:
    found: dict[tuple[tuple[str, str], ...], int] = {}
    for one in ended:
        facts = tuple((name, _machine_fact(name, value)) for name, value in one.machine.items())
        found[facts] = found.get(facts, 0) + 1
    return tuple(Machine(dict(facts), cells) for facts, cells in found.items())


def _machine_fact(name: str, value: Any) -> str:
    return f"{value / 2**30:.0f} GiB" if name == "memory" and isinstance(value, int | float) else str(value)


def _versions(cells: Sequence[Evidence]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for one in cells:
        for name, of in (one.packages | (one.summary.get("versions") or {})).items() if one.finished else ():
            found.setdefault(name, {})[str(of)] = None
    return {name: tuple(values) for name, values in sorted(found.items())}


def _frame(everything: Sequence[Evidence]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": one.place.method,
            "data": one.place.data,
            "noise": one.place.noise,
            "comparison": one.place.comparison,
            "seed": one.place.seed,
            "cell": one.place.cell,
            "status": one.result.status if one.result else "pending",
            "error": one.result.error if one.result else "",
            **one.measures,
        }
        for one in everything
    )
