"""The measures of a comparison: what each is called, its unit, and which way is better. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["percent", "score", "seconds", "bytes", "joules", "count"]
Group = Literal["accuracy", "calibration", "labels", "detection", "cost", "other"]


@dataclass(frozen=True)
class Measure:
    """A measure.

    Attributes
    ----------
    key
        Key path in a run's summary: ``accuracy.last``.
    title, short
        As a heading, and as the head of a narrow column.
    unit
        percent: kept as a share in [0, 1], shown times 100; bytes are shown in MB.
    higher
        Whether more is better; None where neither is (the true share of wrong labels).
    decimals
        Digits after the point, as shown.
    description
        One sentence.
    group
        What it is about.
    oracle
        Whether it takes the clean labels to choose an epoch or a threshold: an upper bound, no honest result.
    """

    key: str
    title: str
    short: str
    unit: Unit
    higher: bool | None
    decimals: int
    description: str
    group: Group
    oracle: bool = False

    @property
    def factor(self) -> float:
        """From the value kept to the value shown."""
        return {"percent": 100.0, "bytes": 1e-6}.get(self.unit, 1.0)

    @property
    def unit_shown(self) -> str:
        """The unit as it stands in a heading; empty for scores and counts."""
        return {"percent": "%", "bytes": "MB", "seconds": "s", "joules": "J"}.get(self.unit, "")

    def shown(self, value: float | None, sign: bool = False) -> str:
        """A value in the unit and decimals of the measure, without the unit; a dash for None."""
        if value is None:
            return "–"
        return f"{value * self.factor:{'+' if sign else ''}.{self.decimals}f}"
