"""Tables of classes and methods, in which a stronger colour is a higher value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from noisyrun.bench.analysis import ClassRow, Row
from noisyrun.bench.page.cells import NONE
from noisyrun.bench.page.looks import Look

#: Steps of the heat in the style sheet; classes that a table shows.
STEPS, CLASSES = 7, 100

KINDS = (
    (
        "accuracy",
        "Accuracy by class",
        "Share of the test samples of a class that is recognised, in percent (average precision with several labels a "
        "sample), after the last epoch; mean over the seeds. The stronger the colour, the higher.",
    ),
    (
        "called_wrong",
        "Labels called wrong, by class",
        "Share of a class's training labels that the method calls wrong, in percent, beside the true share where that "
        "is known; mean over the seeds. The stronger the colour, the higher.",
    ),
)


@dataclass(frozen=True)
class Shown:
    """A figure, what it is sorted by (None where it was not measured), and its step of heat."""

    shown: str = NONE
    sort: float | None = None
    step: int = 0


@dataclass(frozen=True)
class Heat:
    """A table of classes (down) and methods (across); `left_out` classes had no room."""

    title: str
    about: str
    methods: tuple[Look, ...]
    rows: tuple[tuple[str, Shown, Shown, tuple[Shown, ...]], ...]
    left_out: int


def heats(rows: Sequence[Row], looks: Mapping[str, Look]) -> Iterator[Heat]:
    """A table of each kind for which something was measured."""
    for key, title, about in KINDS:
        drawn = [row for row in rows if any(getattr(one, key) is not None for one in row.classes)]
        if drawn:
            yield _heat(drawn, key, title, about, looks)


def _heat(drawn: Sequence[Row], key: str, title: str, about: str, looks: Mapping[str, Look]) -> Heat:
    by_method = [{one.name: one for one in row.classes} for row in drawn]
    names = list(dict.fromkeys(name for classes in by_method for name in classes))
    table = {name: [_get(classes.get(name), key) for classes in by_method] for name in names}
    known = [value for values in table.values() for value in values if value is not None]
    low, high = min(known), max(known)
    chosen = names
    if len(names) > CLASSES:
        most = set(sorted(names, key=lambda name: _spread(table[name]), reverse=True)[:CLASSES])
        chosen = [name for name in names if name in most]
    rows = []
    for name in chosen:
        observed = next((c[name].observed for c in by_method if name in c and c[name].observed is not None), None)
        wrong = next((c[name].wrong for c in by_method if name in c and c[name].wrong is not None), None)
        count = Shown() if observed is None else Shown(f"{observed:.0f}", observed)
        rows.append((name, count, _share(wrong), tuple(_share(value, low, high) for value in table[name])))
    return Heat(title, about, tuple(looks[row.method] for row in drawn), tuple(rows), len(names) - len(chosen))


def _get(row: ClassRow | None, key: str) -> float | None:
    found: float | None = getattr(row, key, None)
    return found


def _share(value: float | None, low: float = 0.0, high: float = 0.0) -> Shown:
    if value is None:
        return Shown()
    step = 0 if high <= low else min(int((value - low) / (high - low) * STEPS), STEPS - 1)
    return Shown(f"{100 * value:.1f}", value, step)


def _spread(values: Sequence[float | None]) -> float:
    found = [value for value in values if value is not None]
    return max(found) - min(found) if found else 0.0
