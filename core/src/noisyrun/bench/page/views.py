"""What the page says of an analysis: everything that its template only has to set down."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from markupsafe import Markup

from noisyrun.bench.analysis import Analysis, Comparison, Row
from noisyrun.bench.claims import Held
from noisyrun.bench.measures import Measure
from noisyrun.bench.page import cells, pictures
from noisyrun.bench.page.cells import Cell, Note
from noisyrun.bench.page.heat import Heat, heats
from noisyrun.bench.page.looks import Look, looks
from noisyrun.bench.page.sweeps import Sweep, sweeps
from noisyrun.report.numbers import size

#: Titles of the groups of measures, in the order of the page.
GROUPS = {
    "accuracy": "Accuracy",
    "calibration": "Calibration",
    "labels": "Labels",
    "detection": "Detection",
    "cost": "Cost",
    "other": "Other",
}

#: Curves of a run's history that are drawn: key, title, factor of what is shown.
CURVES = (
    ("test_accuracy", "Test accuracy, %", 100.0),
    ("val_accuracy", "Accuracy on noisy validation, %", 100.0),
    ("loss", "Training loss", 1.0),
)


@dataclass(frozen=True)
class Line:
    """A method's row in the table of a comparison."""

    row: Row
    look: Look
    notes: tuple[Note, ...]
    headline: Cell
    strip: Markup
    against: Cell
    seeds: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Standing:
    """Who stands where in a comparison, by the headline measure; all but the first two leave out cross entropy.

    Attributes
    ----------
    best, alike
        The best, several of the same mean, and those within noise of it; empty where no method has all its seeds.
    first
        The best mean, seeds missing or not.
    told_apart
        Whether anything can be said about noise.
    ahead, behind, same, unsaid
        Against plain cross entropy: beyond noise, within it, and where pairs are missing.
    partial
        Whether some methods lack seeds, so that they are no candidates for the best.
    missing
        Methods without a result.
    """

    best: tuple[Line, ...]
    first: Line | None
    alike: tuple[Line, ...]
    told_apart: bool
    ahead: tuple[Line, ...]
    behind: tuple[Line, ...]
    same: tuple[Line, ...]
    unsaid: tuple[Line, ...]
    partial: bool
    missing: tuple[Line, ...]


@dataclass(frozen=True)
class Curves:
    """A figure of the history of all methods, drawn, and as a table of some epochs."""

    title: str
    drawn: Markup
    epochs: tuple[int, ...]
    rows: tuple[tuple[Look, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Section:
    """A comparison on the page."""

    id: str
    comparison: Comparison
    lines: tuple[Line, ...]
    columns: tuple[Measure, ...]
    groups: tuple[tuple[str, str, int], ...]
    notes: tuple[Note, ...]
    whole: tuple[Note, ...]
    standing: Standing
    smallest_p: float | None
    curves: tuple[Curves, ...]
    crowded: tuple[str, ...]
    cost: Markup | None
    sweeps: tuple[Sweep, ...]
    drawn: tuple[Look, ...]
    heats: tuple[Heat, ...]
    several: bool
    facts: tuple[tuple[str, str], ...]
    digests: tuple[tuple[str, str], ...]
    galleries: tuple[tuple[Look, tuple[tuple[int, str], ...]], ...]


@dataclass(frozen=True)
class OverallLine:
    """A method's row in the table of all comparisons; with each value, whether it is within noise of the best."""

    look: Look
    notes: tuple[Note, ...]
    rank: float | None
    why: str
    against: Cell
    cells: tuple[tuple[Cell, bool], ...]


def section(analysis: Analysis, comparison: Comparison, at: int, known: Mapping[str, Look], root: str) -> Section:
    """A comparison on the page.

    Parameters
    ----------
    at
        Its number.
    root
        The results folder as seen from the page: links to galleries start there.
    """
    headline, rows = analysis.headline, comparison.rows
    measured = {key for row in rows for key in row.values} - {headline.key}
    columns = tuple(one for group in GROUPS for one in analysis.measures if one.group == group and one.key in measured)
    notes = cells.notes([*comparison.marks, *(mark for row in rows for mark in row.marks)], f"comparison-{at}-mark")
    lines = _lines(analysis, comparison, columns, notes, known)
    finished = [line.row for line in lines if line.row.values]
    pairs = [row.against[headline.key].smallest_p for row in rows if headline.key in row.against]
    counted = ((group, title, sum(one.group == group for one in columns)) for group, title in GROUPS.items())
    return Section(
        id=f"comparison-{at}",
        comparison=comparison,
        lines=lines,
        columns=columns,
        groups=tuple(one for one in counted if one[2]),
        notes=notes,
        whole=cells.of(comparison.marks, notes),
        standing=_standing(lines),
        smallest_p=min(pairs, default=None),
        curves=tuple(_curves(finished, comparison.name, known)),
        crowded=tuple(row.method for row in finished if len(row.phases) > pictures.PHASES),
        cost=pictures.cost(finished, headline, cap(analysis), known, comparison.name),
        sweeps=tuple(sweeps(analysis.suite, rows, headline, comparison.name)),
        drawn=tuple(known[row.method] for row in rows if row.values),
        heats=tuple(heats(finished, known)),
        several=comparison.facts.get("labels a sample", "one") != "one",
        facts=tuple(one for one in comparison.facts.items() if "digest" not in one[0]),
        digests=tuple(one for one in comparison.facts.items() if "digest" in one[0]),
        galleries=tuple(
            (line.look, tuple((seed, root + place) for seed, place in sorted(line.row.galleries.items())))
            for line in lines
            if line.row.galleries
        ),
    )


def _curves(rows: Sequence[Row], where: str, known: Mapping[str, Look]) -> Iterator[Curves]:
    for key, title, factor in CURVES:
        drawn = pictures.curves(rows, key, title, factor, known, where)
        if drawn is not None:
            yield Curves(title, drawn, *pictures.curve_table(rows, key, factor, known))


def _lines(
    analysis: Analysis,
    comparison: Comparison,
    columns: Sequence[Measure],
    notes: Sequence[Note],
    known: Mapping[str, Look],
) -> tuple[Line, ...]:
    """Rows of a comparison's table, the best first and those not measured last."""
    headline, rows = analysis.headline, comparison.rows
    estimates = [row.values[headline.key] for row in rows if headline.key in row.values]
    scale = pictures.strip_scale(estimates)
    best = {one.key: cells.best(rows, one) for one in columns}
    lines = []
    for row in rows:
        look, estimate = known[row.method], row.values.get(headline.key)
        lines.append(
            Line(
                row=row,
                look=look,
                notes=cells.of(row.marks, notes),
                headline=cells.value(row, headline, row.best),
                strip=pictures.strip(estimate, scale, look, headline) if estimate and scale else Markup(),
                against=cells.against(row.against.get(headline.key), headline),
                seeds=_seeds(row),
                cells=tuple(cells.value(row, one, row.method in best[one.key]) for one in columns),
            )
        )
    down = 1 if headline.higher is False else -1
    return tuple(sorted(lines, key=lambda one: (one.headline.sort is None, down * (one.headline.sort or 0.0))))


def _seeds(row: Row) -> str:
    total = len({*row.cells, *row.unfinished})
    return f"{total - len(row.unfinished)} of {total}" if row.unfinished else str(total)


def _standing(lines: Sequence[Line]) -> Standing:
    measured = [line for line in lines if line.headline.sort is not None]
    best = tuple(line for line in measured if line.row.best)
    others = [line for line in measured if not line.row.reference]
    outcomes = ("better", "worse", "within noise")
    ahead, behind, same = (tuple(one for one in others if one.against.outcome == outcome) for outcome in outcomes)
    return Standing(
        best=best,
        first=measured[0] if measured else None,
        alike=tuple(one for one in measured if not one.row.best and one.row.within_noise),
        told_apart=any(one.row.within_noise is not None for one in measured if not one.row.best),
        ahead=ahead,
        behind=behind,
        same=same,
        unsaid=tuple(one for one in others if one.against.outcome not in outcomes),
        partial=any(one.row.unfinished for one in measured),
        missing=tuple(one for one in lines if one.headline.sort is None),
    )


def overall(
    analysis: Analysis, sections: Sequence[Section], known: Mapping[str, Look], marks: Sequence[Note]
) -> Iterator[OverallLine]:
    """Rows of the table of all comparisons: by average rank, then methods without one."""
    found = analysis.overall
    ranks = found.ranks if found else {}
    for method in sorted(known, key=lambda name: (name not in ranks, ranks.get(name, 0.0))):
        lines = [next((one for one in part.lines if one.row.method == method), None) for part in sections]
        yield OverallLine(
            look=known[method],
            notes=cells.of((mark for mark in analysis.marks if mark.method == method), marks),
            rank=ranks.get(method),
            why=found.left_out.get(method, "") if found else "",
            against=cells.against(found.paired.get(method) if found else None, analysis.headline),
            cells=tuple(
                (line.headline, bool(line.row.within_noise and not line.row.best)) if line else (Cell(), False)
                for line in lines
            ),
        )


def lead(analysis: Analysis) -> str:
    """What there is to say of all comparisons together, in one sentence; empty where nothing is ranked."""
    found = analysis.overall
    if found is None or not found.ranks or len(found.comparisons) < 2:
        return ""
    first, rank = next(iter(found.ranks.items()))
    told = f"Over {len(found.comparisons)} comparisons {first} has the best average rank, {rank:.2f}"
    if found.critical_difference is None:
        return f"{told}."
    alike = [name for name in next((clique for clique in found.cliques if first in clique), ()) if name != first]
    if alike:
        return f"{told}; at 5 % it is not told apart from {_listed(alike)}."
    return f"{told}, and at 5 % it is told apart from all others."


def claims(analysis: Analysis) -> str:
    """How many claims came out how; empty without any."""
    counts = ((held, sum(one.outcome == held for one in analysis.claims)) for held in get_args(Held))
    return ", ".join(f"{held} {count}" for held, count in counts if count)


def rules(analysis: Analysis) -> list[str]:
    """The rules of the suite, a sentence each."""
    fair = analysis.suite.fairness
    train = analysis.suite.task == "train"
    told = ["All methods of a comparison have the same data, noise, seeds and validation labels."]
    if train:
        told.append("Epochs are selected on noisy validation.")
    told.append("One setting a method across noise rates." if fair.one_setting else "Settings may differ by noise.")
    if (most := cap(analysis)) is not None:
        told.append(f"A method may take {most:g} × the seconds of plain cross entropy.")
    for allowed, what in (
        (fair.clean_labels, "Trusted labels"),
        (fair.verification, "Verification labels"),
        (fair.pretrained, "Pre-trained weights"),
    ):
        told.append(f"{what} are {'allowed' if allowed else 'not allowed'}.")
    return told


def machine(facts: Mapping[str, str]) -> str:
    """A machine in one line."""
    told = {what: size(int(one)) if what == "memory" and one.isdigit() else one for what, one in facts.items()}
    return "; ".join(f"{what} {one}" for what, one in told.items())


def versions(analysis: Analysis) -> dict[str, dict[str, str]]:
    """Versions that occur, by what they are of: packages, chosen plugins, digests of the code."""
    found: dict[str, dict[str, str]] = {"versions": {}, "plugins": {}, "code": {}}
    for what, told in analysis.versions.items():
        kind = "code" if what.startswith("code of ") else "plugins" if "." in what else "versions"
        found[kind][what.removeprefix("code of ")] = " and ".join(told)
    return {kind: told for kind, told in found.items() if told}


def cap(analysis: Analysis) -> float | None:
    """Seconds that a method may take, as a multiple of plain cross entropy's; None without a limit."""
    given = analysis.suite.fairness.cap
    return given if given is not None and math.isfinite(given) else None


def methods(analysis: Analysis) -> dict[str, Look]:
    """A look for every method of the page."""
    rows = [row for comparison in analysis.comparisons for row in comparison.rows]
    reference = next((row.method for row in rows if row.reference), None)
    return looks(dict.fromkeys(row.method for row in rows), reference)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
