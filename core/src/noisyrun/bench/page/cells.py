"""Values, differences and marks as a table shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from noisyrun.bench.analysis import Row
from noisyrun.bench.fairness import Mark
from noisyrun.bench.measures import Measure
from noisyrun.bench.stats import Estimate, Paired

NONE = "–"


@dataclass(frozen=True)
class Cell:
    """A value in a table.

    Attributes
    ----------
    shown, sd, interval, difference
        Mean, standard deviation, interval of the mean, difference from plain cross entropy; empty where there is none.
    p
        The corrected p of a difference.
    side
        Of a difference within noise, on which side of 0 all its pairs lie, where they do.
    outcome
        Of a difference: better, worse, within noise, unknown.
    sort
        What its column is sorted by; None where nothing was measured.
    best
        Whether it is the best of its column.
    """

    shown: str = NONE
    sd: str = ""
    interval: str = ""
    difference: str = ""
    p: str = ""
    side: str = ""
    outcome: str = ""
    sort: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Note:
    """A mark under a table: its sign, what it says, and of which methods."""

    id: str
    sign: str
    text: str
    breaks: bool
    methods: tuple[str, ...]


def value(row: Row, measure: Measure, best: bool) -> Cell:
    """A measure of a row."""
    estimate = row.values.get(measure.key)
    if estimate is None:
        return Cell()
    against = row.against.get(measure.key)
    return Cell(
        shown=shown(measure, estimate.mean),
        sd="" if estimate.sd is None else f"± {measure.shown(estimate.sd)}",
        interval=interval(estimate, measure),
        difference="" if against is None else difference(against, measure),
        sort=estimate.mean,
        best=best,
    )


def against(paired: Paired | None, measure: Measure) -> Cell:
    """A difference as the content of a cell of its own."""
    if paired is None:
        return Cell()
    alone = paired.outcome == "within noise" and paired.n in (paired.above, paired.below)
    side = f"all {paired.n} pairs {'above' if paired.above else 'below'} 0" if alone else ""
    p = "" if paired.holm is None else "p < 0.001" if paired.holm < 0.001 else f"p = {paired.holm:.2g}"
    return Cell(
        shown=shown(measure, paired.mean, sign=True),
        interval=_between(paired, measure),
        p=p,
        side=side,
        outcome=paired.outcome,
        sort=paired.mean,
    )


def interval(estimate: Estimate, measure: Measure) -> str:
    """The interval of a mean; empty with one seed."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{shown(measure, estimate.low)} to {shown(measure, estimate.high)}"


def difference(paired: Paired, measure: Measure) -> str:
    """A difference with its interval, in one line."""
    between = _between(paired, measure)
    return shown(measure, paired.mean, sign=True) + (f" ({between})" if between else "")


def _between(paired: Paired, measure: Measure) -> str:
    if paired.low is None or paired.high is None:
        return ""
    return f"{shown(measure, paired.low, sign=True)} to {shown(measure, paired.high, sign=True)}"


def shown(measure: Measure, value: float, sign: bool = False) -> str:
    """A value in the unit and decimals of its measure, with a minus sign where it has one."""
    return measure.shown(value, sign=sign).replace("-", "\u2212")


def best(rows: Sequence[Row], measure: Measure) -> set[str]:
    """Methods of the best mean as it is shown, of those with all seeds.

    None where neither way is better, or all are alike.
    """
    whole = [row for row in rows if measure.key in row.values and not row.unfinished]
    found = {row.method: measure.shown(row.values[measure.key].mean) for row in whole}
    if measure.higher is None or len(set(found.values())) < 2:
        return set()
    top = max(found.values(), key=float) if measure.higher else min(found.values(), key=float)
    return {method for method, shown in found.items() if shown == top}


def notes(marks: Iterable[Mark], prefix: str, *, places: int = 0) -> tuple[Note, ...]:
    """Marks as notes: those of the same sign and text are one, and those that break a rule come first.

    Parameters
    ----------
    prefix
        Of the notes' anchors.
    places
        Number of comparisons, where they are to be named: of a mark that holds in all of them none is.
    """
    grouped: dict[tuple[str, str, bool], dict[str, list[str]]] = {}
    for mark in marks:
        who = grouped.setdefault((mark.sign, mark.text, mark.breaks), {})
        where = who.setdefault(mark.method or "", [])
        if mark.comparison and mark.comparison not in where:
            where.append(mark.comparison)
    ordered = sorted(grouped.items(), key=lambda item: not item[0][2])
    found = []
    for at, ((sign, text, breaks), who) in enumerate(ordered, 1):
        told = (_told(method, where, places) for method, where in who.items())
        found.append(Note(f"{prefix}-{at}", sign, text, breaks, tuple(one for one in told if one)))
    return tuple(found)


def _told(method: str, where: Sequence[str], places: int) -> str:
    """A method and where its mark holds, unless that is everywhere."""
    if not method:
        return "; ".join(where) if places else ""
    return f"{method} ({'; '.join(where)})" if 0 < len(where) < places else method


def of(marks: Iterable[Mark], known: Sequence[Note]) -> tuple[Note, ...]:
    """The notes of some marks."""
    here = {(mark.sign, mark.text) for mark in marks}
    return tuple(note for note in known if (note.sign, note.text) in here)
