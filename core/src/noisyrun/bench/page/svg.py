"""Elements and scales of the page's pictures. Whatever is text is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Number = int | float


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """An element of SVG.

    Parameters
    ----------
    children
        Elements, or text to escape.
    attributes
        By name, with ``_`` for ``-`` and ``cls`` for ``class``; None leaves one out. Numbers are rounded to tenths of a
        unit, which are smaller than a pixel.
    """
    told = Markup("").join(
        Markup(' {}="{}"').format("class" if name == "cls" else name.replace("_", "-"), _value(value))
        for name, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(tag, told, inner)


def group(children: Iterable[object], **attributes: object) -> Markup:
    """A group of elements."""
    return element("g", *children, **attributes)


def picture(width: int, height: int, label: str, children: Iterable[object], cls: str) -> Markup:
    """A whole picture, which a screen reader knows by its label."""
    return element(
        "svg",
        *children,
        role="img",
        viewBox=f"0 0 {width} {height}",
        preserveAspectRatio="xMinYMin slice",
        aria_label=label,
        cls=cls,
    )


def text(x: float, y: float, words: str, anchor: str = "start", cls: str | None = None, **more: object) -> Markup:
    """A line of text."""
    return element("text", words, x=x, y=y, text_anchor=None if anchor == "start" else anchor, cls=cls, **more)


def path(points: Sequence[tuple[float, float]]) -> str:
    """The way through some points, in whole and half units to be short."""
    return "M" + "L".join(f"{_short(x)} {_short(y)}" for x, y in points)


def _short(value: float) -> str:
    return f"{round(value, 1):g}"


def _value(value: object) -> object:
    return _short(value) if isinstance(value, float) else value


@dataclass(frozen=True)
class Scale:
    """From values to places on the page.

    Attributes
    ----------
    low, high
        The smallest and the largest value.
    start, end
        Where they stand.
    log
        Whether equal ratios are equally far apart; all values are then above 0.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log(one) if self.log else one for one in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + (self.end - self.start) * share

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the scale, at most so many."""
        return _log_ticks(self.low, self.high, most) if self.log else _ticks(self.low, self.high, most)


def around(values: Iterable[float], start: float, end: float, *, log: bool = False, room: float = 0.06) -> Scale:
    """A scale with room around the values.

    Raises
    ------
    ValueError
        When there are none.
    """
    found = list(values)
    low, high = min(found), max(found)
    if log:
        more = max((high / low) ** room, 1.25)
        return Scale(low / more, high * more, start, end, log=True)
    more = (high - low) * room or abs(high) * 0.05 or 1.0
    return Scale(low - more, high + more, start, end)


def _ticks(low: float, high: float, most: int) -> list[float]:
    if not high > low:
        return [low]
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * times for times in (1, 2, 5, 10, 20) if unit * times >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(at * step, 12) for at in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [m * 10.0**power for power in range(first, last + 1) for m in steps]
        found = [value for value in found if low <= value <= high]
        if len(found) <= most:
            break
    # Over less than a decade round ratios are rare, and the axis is all but linear.
    return found[:: math.ceil(len(found) / most)] if len(found) > 2 else _ticks(low, high, min(most, 4))


def apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """The same places, moved as little as needed to stand at least `gap` apart between `low` and `high`.

    Where there is no room for that they are spread evenly. Their order is kept.
    """
    count = len(places)
    if count * gap > high - low + gap:
        gap = (high - low) / max(count - 1, 1)
    order = sorted(range(count), key=lambda at: places[at])
    moved = [min(max(places[at], low), high) for at in order]
    # Blocks of touching labels are moved to their mean place until none overlaps.
    blocks: list[list[int]] = [[at] for at in range(count)]
    centres = moved[:]
    at = 0
    while at + 1 < len(blocks):
        if centres[at + 1] - centres[at] < gap * (len(blocks[at]) + len(blocks[at + 1])) / 2 - 1e-9:
            joined = blocks[at] + blocks[at + 1]
            half = gap * (len(joined) - 1) / 2
            centre = sum(moved[one] for one in joined) / len(joined)
            blocks[at : at + 2] = [joined]
            centres[at : at + 2] = [min(max(centre, low + half), high - half)]
            at = max(at - 1, 0)
        else:
            at += 1
    found = [0.0] * count
    for block, centre in zip(blocks, centres):
        for place, one in enumerate(block):
            found[order[one]] = centre + gap * (place - (len(block) - 1) / 2)
    return found
