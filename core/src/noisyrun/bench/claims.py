"""What a paper says of its methods, held against what was measured; and its figures beside ours. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from noisyrun.bench.stats import Estimate, Paired

Held = Literal["agrees", "disagrees", "within noise", "not measured"]


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
        The two methods over all pairs of the claim's comparisons; None for claims over a sweep, or where not measured.
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
        Our comparisons, as one text.
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
