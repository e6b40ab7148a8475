"""Statistics of a comparison over few seeds, on scipy. Pure functions; imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np
from scipy import stats

#: Confidence of every interval, and 1 - the level of every test.
CONFIDENCE = 0.95

#: Resamples of the bootstrap.
RESAMPLES = 9999

#: What pairs two values: a seed, or (comparison, seed).
Pair = TypeVar("Pair")

Outcome = Literal["better", "worse", "within noise", "unknown"]


@dataclass(frozen=True)
class Estimate:
    """A measure of one method over its seeds.

    Attributes
    ----------
    mean
        Mean over the seeds.
    sd
        Standard deviation of a sample (n − 1); None with one seed.
    low, high
        95 % confidence interval of the mean (Student's t); None with one seed.
    values
        By seed.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    values: Mapping[int, float]

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.values)


@dataclass(frozen=True)
class Paired:
    """One method against another over the pairs that both have: the same seed of the same comparison.

    Attributes
    ----------
    n
        Number of pairs.
    mean
        Mean of (method − other), in the unit of the measure.
    low, high
        95 % confidence interval of it (Student's t); None with one pair.
    bootstrap_low, bootstrap_high
        The same from the bootstrap over pairs (BCa); None with one pair.
    p
        Wilcoxon's signed-rank test, two-sided, exact up to 50 pairs; None with one pair or where all differences are 0.
    holm
        The same, corrected (Holm) for the number of methods compared at once.
    smallest_p
        The smallest p that so many pairs can give at all: 0.25 with 3.
    outcome
        better or worse: the t interval does not contain 0; within noise: it does; unknown: one pair.
    above, below
        Pairs whose difference is above 0, and below.
    """

    n: int
    mean: float
    low: float | None
    high: float | None
    bootstrap_low: float | None
    bootstrap_high: float | None
    p: float | None
    holm: float | None
    smallest_p: float
    outcome: Outcome
    above: int = 0
    below: int = 0


def estimate(values: Mapping[int, float]) -> Estimate:
    """Mean, standard deviation and interval of a measure over its seeds.

    Parameters
    ----------
    values
        By seed; at least one.
    """
    numbers = list(values.values())
    low, high = t_interval(numbers)
    sd = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
    return Estimate(float(np.mean(numbers)), sd, low, high, dict(values))


def t_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Confidence interval of the mean by Student's t; (None, None) of fewer than two values."""
    if len(values) < 2:
        return None, None
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    reach = _t_quantile(len(values) - 1) * error
    return mean - reach, mean + reach


@lru_cache(maxsize=64)
def _t_quantile(freedom: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))


def bootstrap_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Confidence interval of the mean by the bias-corrected and accelerated bootstrap, the same on every call.

    Of few values it is too narrow: n of them have few distinct resamples. The t interval decides, this one is shown.
    """
    if len(values) < 2:
        return None, None
    if np.ptp(values) <= 1e-12 * max(1.0, float(np.max(np.abs(values)))):
        return float(np.mean(values)), float(np.mean(values))
    found = stats.bootstrap(
        (np.asarray(values, dtype=float),),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def wilcoxon(differences: Sequence[float]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test; pairs without a difference are left out.

    Exact up to 50 pairs where no two differences are of one size, else exact by all sign flips up to 12 pairs.
    """
    moved = np.asarray([one for one in differences if one != 0])
    if len(differences) < 2 or not len(moved):
        return None
    return _of_ranks(tuple(sorted(np.sign(moved) * stats.rankdata(np.abs(moved)))))


@lru_cache(maxsize=4096)
def _of_ranks(signed: tuple[float, ...]) -> float:
    """The p of signed ranks, on which alone the test rests; of few pairs there are few."""
    if len(signed) == 1:
        return 1.0
    tied = len({abs(rank) for rank in signed}) < len(signed)
    method: object = "auto"
    if tied:
        method = stats.PermutationMethod(n_resamples=np.inf) if len(signed) <= 12 else "approx"
    return min(1.0, float(stats.wilcoxon(signed, method=method).pvalue))


def smallest_p(pairs: int) -> float:
    """The smallest two-sided p that Wilcoxon's test can give of so many pairs."""
    return min(1.0, 2.0 ** (1 - pairs))


def paired(method: Mapping[Pair, float], other: Mapping[Pair, float], higher: bool = True) -> Paired | None:
    """One method against another over the pairs that both have; None where there is none.

    Parameters
    ----------
    method, other
        Values by pair: a seed, or (comparison, seed).
    higher
        Whether more is better.
    """
    # Rounded, so that differences of one size are of one size in binary too, and Wilcoxon's test sees the tie.
    differences = [round(value - other[pair], 12) for pair, value in method.items() if pair in other]
    if not differences:
        return None
    low, high = t_interval(differences)
    p = wilcoxon(differences)
    return Paired(
        n=len(differences),
        mean=float(np.mean(differences)),
        low=low,
        high=high,
        bootstrap_low=(boot := bootstrap_interval(differences))[0],
        bootstrap_high=boot[1],
        p=p,
        holm=p,
        smallest_p=smallest_p(len(differences)),
        outcome=_outcome(low, high, higher),
        above=sum(one > 0 for one in differences),
        below=sum(one < 0 for one in differences),
    )


def _outcome(low: float | None, high: float | None, higher: bool) -> Outcome:
    if low is None or high is None:
        return "unknown"
    if low <= 0 <= high:
        return "within noise"
    return "better" if (low > 0) == higher else "worse"


def holm(tests: Mapping[str, Paired]) -> dict[str, Paired]:
    """The same tests with p corrected for their number (Holm 1979); those without p do not count."""
    ranked = sorted((one.p, name) for name, one in tests.items() if one.p is not None)
    corrected, above = {}, 0.0
    for place, (p, name) in enumerate(ranked):
        above = max(above, min(1.0, p * (len(ranked) - place)))
        corrected[name] = above
    return {name: replace(one, holm=corrected.get(name)) for name, one in tests.items()}


def ranks(means: Mapping[str, float], higher: bool = True) -> dict[str, float]:
    """Rank by name, 1 the best, ties averaged."""
    sign = -1 if higher else 1
    found = stats.rankdata([sign * mean for mean in means.values()])
    return {name: float(rank) for name, rank in zip(means, found)}


def friedman(table: Sequence[Mapping[str, float]]) -> float | None:
    """p of Friedman's test that all methods are alike.

    Parameters
    ----------
    table
        For every comparison, a value of each method; the same methods in all.

    Returns
    -------
    float or None
        None with fewer than 3 methods or 2 comparisons, or where all values of each comparison are equal.
    """
    if len(table) < 2 or len(table[0]) < 3:
        return None
    columns = [[row[name] for row in table] for name in table[0]]
    if all(len(set(row.values())) == 1 for row in table):
        return None
    p = float(stats.friedmanchisquare(*columns).pvalue)
    return p if math.isfinite(p) else None


def critical_difference(methods: int, comparisons: int) -> float | None:
    """Nemenyi's critical difference of average ranks (Demšar 2006); None with fewer than 2 of either."""
    if methods < 2 or comparisons < 2:
        return None
    studentized = float(stats.studentized_range.ppf(CONFIDENCE, methods, np.inf))
    return studentized / math.sqrt(2) * math.sqrt(methods * (methods + 1) / (6 * comparisons))


def cliques(average: Mapping[str, float], difference: float | None) -> tuple[tuple[str, ...], ...]:
    """Largest groups of methods whose average ranks are not further apart than the critical difference, best first."""
    if difference is None:
        return ()
    names = sorted(average, key=lambda name: average[name])
    found: list[tuple[str, ...]] = []
    for first, name in enumerate(names):
        group = tuple(one for one in names[first:] if average[one] - average[name] <= difference)
        if len(group) > 1 and not (found and found[-1][-1] == group[-1]):
            found.append(group)
    return tuple(found)
