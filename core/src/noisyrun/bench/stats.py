"""Statistics of a comparison over few seeds, on scipy. Pure functions; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

#: Confidence of every interval.
CONFIDENCE = 0.95

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
        The same from the bootstrap over pairs; None with one pair.
    p
        Wilcoxon's signed-rank test, two-sided; None with one pair or where all differences are 0.
    holm
        The same, corrected (Holm) for the number of methods compared at once.
    smallest_p
        The smallest p that so many pairs can give at all: 0.25 with 3.
    outcome
        better or worse: the interval does not contain 0; within noise: it does; unknown: one pair.
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
