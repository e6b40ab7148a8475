"""A results folder as a reader should see it: rows, statistics, marks, verdicts. Plain data; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from noisyrun.bench.claims import PublishedRow, Verdict
from noisyrun.bench.fairness import Mark
from noisyrun.bench.measures import Measure
from noisyrun.bench.stats import Estimate, Paired
from noisyrun.bench.store import Results
from noisyrun.bench.suite import Suite


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
    raise NotImplementedError
