"""Options of exports of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from noisyrun.api.errors import UserError

Given = Mapping[str, str | bool]
_SHARED = ("labels", "drop", "min-weight", "dataset", "data.root", "data.test")


@dataclass(frozen=True)
class Choice:
    """Which labels, and which samples.

    Attributes
    ----------
    labels
        Which become ``label``, the column that is trained on.
    drop_wrong
        Leave out labels that the run calls wrong, where they are exported as they were observed.
    min_weight
        Leave out those of a smaller weight as well.
    dataset, root, test
        Where the data is now; None: where it was.
    """

    labels: Literal["corrected", "observed"] = "corrected"
    drop_wrong: bool = False
    min_weight: float | None = None
    dataset: str | None = None
    root: str | None = None
    test: str | None = None

    @classmethod
    def of(cls, given: Given, beside: tuple[str, ...] = ()) -> Choice:
        """The choice that options make; `beside` names those that a format has of its own.

        Raises
        ------
        UserError
            For an option that is none, or a value that does not fit.
        """
        from noisyrun.suggest import did_you_mean

        known = (*_SHARED, *beside)
        for name in given:
            if name not in known:
                raise UserError(f"--{name}: no such option here{did_you_mean(name, known, '--')}")
        labels = one_of(given, "labels", ("corrected", "observed")) or "corrected"
        drop = one_of(given, "drop", ("wrong",))
        return cls(
            "observed" if labels == "observed" else "corrected",
            drop is not None,
            _weight(text(given, "min-weight")),
            *(text(given, name) for name in ("dataset", "data.root", "data.test")),
        )

    def as_dict(self) -> dict[str, str | float | bool | None]:
        """JSON values that say what was chosen."""
        return {"labels": self.labels, "drop": "wrong" if self.drop_wrong else None, "min_weight": self.min_weight}


def text(given: Given, name: str) -> str | None:
    """The value of an option, or None."""
    value = given.get(name)
    if isinstance(value, bool):
        raise UserError(f"--{name}: needs a value")
    return value


def one_of(given: Given, name: str, values: tuple[str, ...]) -> str | None:
    """The value of an option that has few, or None."""
    value = text(given, name)
    if value is not None and value not in values:
        raise UserError(f"--{name}: must be {' or '.join(values)} (got {value!r})")
    return value


def _weight(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not 0 < number < float("inf"):
        raise UserError(f"--min-weight: must be a number above 0 (got {value!r})")
    return number
