"""What a paper says of its methods, held against what was measured; and its figures beside ours. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np

from noisyrun.bench import measures, stats
from noisyrun.bench.evidence import Table
from noisyrun.bench.measures import Measure
from noisyrun.bench.stats import Estimate, Paired
from noisyrun.bench.suite import Claim, Published

Held = Literal["agrees", "disagrees", "within noise", "not measured"]

#: Values by pair: (comparison, seed).
Values = Mapping[tuple[str, int], float]


@dataclass(frozen=True)
class Part:
    """A claim in one comparison."""

    comparison: str
    outcome: Held
    paired: Paired | None


@dataclass(frozen=True)
class Verdict:
    """What came of a claim.

    Attributes
    ----------
    text, source
        The claim in words, and where it stands.
    measure
        Key of the measure it is about.
    outcome
        agrees: measured as claimed, beyond noise; disagrees: the contrary beyond noise; within noise: no difference
        beyond noise where one was claimed; not measured: seeds or methods are missing.
    why
        One line: the difference and its interval.
    paired
        The difference that decides, over all pairs of the claim's comparisons; None where not measured.
    parts
        The same in each comparison.
    """

    text: str
    source: str
    measure: str
    outcome: Held
    why: str
    paired: Paired | None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class PublishedRow:
    """A published figure beside ours.

    Attributes
    ----------
    source, data, measure
        Where it stands, the data set and the measure as the paper has them.
    method
        As the suite names it.
    figure
        In percent.
    key
        Key of our measure.
    where
        Our comparisons, as one text; empty for a method that the suite does not have.
    ours
        Our estimate, as a share; over several comparisons the mean of them by seed; None where not measured.
    differs
        What differs in the protocol, a line each.
    """

    source: str
    data: str
    measure: str
    method: str
    figure: float
    key: str
    where: str
    ours: Estimate | None
    differs: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The published figure in the unit of our measure: 93.6 beside per cent, 0.936 beside a score."""
        return f"{self.figure / 100 if measures.measure(self.key).unit == 'score' else self.figure:g}"


def verdicts(table: Table) -> tuple[Verdict, ...]:
    """What came of every claim of a suite."""
    return tuple(_verdict(table, claim) for claim in table.suite.claim)


def _verdict(table: Table, claim: Claim) -> Verdict:
    measure = measures.measure(claim.measure or table.suite.headline)
    where = _comparisons(table, claim.data, claim.noise)
    judge = _of_sweep if claim.of_sweep else _of_two
    outcome, why, paired = judge(table, claim, measure, where)
    parts = tuple(Part(name, found[0], found[2]) for name in where if (found := judge(table, claim, measure, (name,))))
    lacking = [part.comparison for part in parts if part.outcome == "not measured"]
    if outcome != "not measured" and lacking:
        why += f"; not measured on {', '.join(lacking)}"
    return Verdict(claim.text, claim.source, measure.key, outcome, why, paired, parts)


def _comparisons(table: Table, data: str, noise: str) -> tuple[str, ...]:
    """Comparisons that two patterns fit, in the order of the suite."""
    found = (next(iter(rows.values()))[0].place for rows in table.evidence.values())
    return tuple(
        place.comparison for place in found if fnmatchcase(place.data, data) and fnmatchcase(place.noise, noise)
    )


Judged = tuple[Held, str, Paired | None]


def _of_two(table: Table, claim: Claim, measure: Measure, where: Sequence[str]) -> Judged:
    """One method against another."""
    found = table.compare(claim.better, claim.worse, measure, where)
    if found is None:
        return "not measured", "no seed has both", None
    return _held(claim.relation, found), _why(found, measure), found


def _held(relation: str, found: Paired) -> Held:
    if found.outcome == "unknown":
        return "not measured"
    if relation in ("alike", "plateau"):
        return "agrees" if found.outcome == "within noise" else "disagrees"
    outcomes: dict[str, Held] = {"better": "agrees", "worse": "disagrees", "within noise": "within noise"}
    return outcomes[found.outcome]


def _why(found: Paired, measure: Measure, head: str = "") -> str:
    """The difference and its interval in one line."""
    unit = " points" if measure.unit == "percent" else f" {measure.unit_shown}".rstrip()
    text = f"{head}{measure.shown(found.mean, sign=True)}{unit}"
    if found.low is None:
        return f"{text} in the one pair there is: noise cannot be told"
    interval = f"{measure.shown(found.low, sign=True)} to {measure.shown(found.high, sign=True)}"
    # One pair far out widens the interval; that none lies on the other side is then worth knowing.
    alone = found.outcome == "within noise" and found.n in (found.above, found.below)
    side = f", all {'above' if found.above else 'below'} 0" if alone else ""
    return f"{text}, 95 % interval {interval}, over {found.n} pairs{side}"


def _of_sweep(table: Table, claim: Claim, measure: Measure, where: Sequence[str]) -> Judged:
    """A swept setting."""
    entry = next(one for one in table.suite.method if one.name == claim.sweep)
    setting = claim.setting or next(iter(entry.sweep))
    variants = list(entry.variants())
    measured = table.pairs([variant.name for variant, _ in variants], measure.key, where)
    if not measured[0]:
        return "not measured", "no seed has all values of the setting", None
    values: dict[Any, Values] = {}
    for value in entry.sweep[setting]:
        # Over the sweep's other settings the mean counts.
        own = [found for found, (_, swept) in zip(measured, variants) if swept[setting] == value]
        values[_key(value)] = {pair: float(np.mean([one[pair] for one in own])) for pair in own[0]}
    return {"rises": _trend, "falls": _trend, "best": _best, "plateau": _plateau}[claim.relation](
        claim, measure, values
    )


Swept = Mapping[Any, Values]


def _key(value: Any) -> Any:
    """A setting's value as a key."""
    return tuple(value) if isinstance(value, list) else value


def _trend(claim: Claim, measure: Measure, values: Swept) -> Judged:
    """Slope of the measure over the values in their order, from the first to the last, pair by pair."""
    ordered = sorted(values)
    steps = np.linspace(-0.5, 0.5, len(ordered))
    slopes = {
        pair: float(np.dot(steps, [values[one][pair] for one in ordered]) / np.dot(steps, steps))
        for pair in values[ordered[0]]
    }
    found = stats.paired(slopes, dict.fromkeys(slopes, 0.0), claim.relation == "rises")
    assert found is not None  # there are pairs
    head = f"straight line from {ordered[0]} to {ordered[-1]}: "
    return _held("better", found), _why(found, measure, head), found


def _best(claim: Claim, measure: Measure, values: Swept) -> Judged:
    """The best of the values said to be best, against the best of the others."""
    said_best = [_key(value) for value in claim.at]
    said = _extreme(measure, values, lambda value: value in said_best)
    other = _extreme(measure, values, lambda value: value not in said_best)
    found = stats.paired(values[said], values[other], measure.higher is not False)
    assert found is not None
    return _held("better", found), _why(found, measure, f"{said} against {other}, the best of the others: "), found


def _plateau(claim: Claim, measure: Measure, values: Swept) -> Judged:
    """The best of the values said to be alike, against the worst of them."""
    alike = [_key(value) for value in claim.at] or list(values)
    within = {value: of for value, of in values.items() if value in alike}
    best = _extreme(measure, within, lambda _: True)
    worst = _extreme(measure, within, lambda value: value != best, worst=True)
    found = stats.paired(within[best], within[worst], measure.higher is not False)
    assert found is not None
    return _held("plateau", found), _why(found, measure, f"{best}, the best, against {worst}, the worst: "), found


def _extreme(measure: Measure, values: Swept, among: Callable[[Any], bool], worst: bool = False) -> Any:
    """The value of the best mean, or of the worst."""
    sign = 1 if (measure.higher is not False) != worst else -1
    return max((one for one in values if among(one)), key=lambda one: sign * float(np.mean(list(values[one].values()))))


def published(table: Table) -> tuple[PublishedRow, ...]:
    """Every published figure of a suite beside ours."""
    return tuple(row for entry in table.suite.published for row in _published(table, entry))


def _published(table: Table, entry: Published) -> Iterator[PublishedRow]:
    measure = measures.measure(entry.ours or table.suite.headline)
    where = _comparisons(table, entry.on or "*", entry.noise)
    differs = tuple(one for one in (entry.differs, table.suite.differs) if one)
    for method, figure in (*entry.figures.items(), *entry.others.items()):
        known = method in entry.figures
        by_seed: dict[int, list[float]] = {}
        for comparison in where if known else ():
            for seed, value in table.values(comparison, method, measure.key).items():
                by_seed.setdefault(seed, []).append(value)
        whole = {seed: float(np.mean(found)) for seed, found in by_seed.items() if len(found) == len(where)}
        yield PublishedRow(
            source=entry.source,
            data=entry.data,
            measure=entry.measure,
            method=method,
            figure=figure,
            key=measure.key,
            where="; ".join(where) if known else "",
            ours=stats.estimate(whole) if whole else None,
            differs=differs,
        )
