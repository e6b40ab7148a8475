"""Pictures of swept settings: the headline measure by value, a line for each family of methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from markupsafe import Markup

from noisyrun.bench.measures import Measure
from noisyrun.bench.page import pictures, svg
from noisyrun.bench.page.looks import Look, looks
from noisyrun.bench.page.pictures import FOOT, HEIGHT, LEFT, PLOT, TOP, WIDTH
from noisyrun.bench.rows import Row
from noisyrun.bench.stats import Estimate
from noisyrun.bench.suite import Suite

#: Values that make a picture: with two, the table says it all.
FEWEST = 3


@dataclass(frozen=True)
class Sweep:
    """A swept setting as drawn, with a look for each line."""

    setting: str
    drawn: Markup
    lines: tuple[Look, ...]


def sweeps(suite: Suite, rows: Sequence[Row], measure: Measure, where: str) -> Iterator[Sweep]:
    """A picture of each setting that some method sweeps over enough values, of which enough were measured."""
    measured = {row.method: row.values[measure.key] for row in rows if measure.key in row.values}
    reference = next((measured[row.method] for row in rows if row.reference and row.method in measured), None)
    for setting in dict.fromkeys(name for entry in suite.method for name in entry.sweep):
        families = _families(suite, setting, measured)
        values = _ordered({value for points in families.values() for value in points})
        if len(values) >= FEWEST:
            known = looks(families, None)
            drawn = _drawn(setting, values, families, known, measure, reference, where)
            yield Sweep(setting, drawn, tuple(known.values()))


def _families(suite: Suite, setting: str, measured: Mapping[str, Estimate]) -> dict[str, dict[Any, Estimate]]:
    """By name of a line, the estimates by value; a method that sweeps other settings too has several lines."""
    found: dict[str, dict[Any, Estimate]] = {}
    for entry in suite.method:
        if setting not in entry.sweep:
            continue
        for variant, swept in entry.variants():
            others = ", ".join(f"{pictures.last(key)}={value}" for key, value in swept.items() if key != setting)
            name = f"{entry.name} ({others})" if others else entry.name
            if variant.name in measured:
                found.setdefault(name, {})[swept[setting]] = measured[variant.name]
    return found


def _ordered(values: set[Any]) -> list[Any]:
    """By size where all are numbers, else as text."""
    if all(isinstance(value, int | float) for value in values):
        return sorted(values)
    return sorted(values, key=str)


def _drawn(
    setting: str,
    values: Sequence[Any],
    families: Mapping[str, Mapping[Any, Estimate]],
    known: Mapping[str, Look],
    measure: Measure,
    reference: Estimate | None,
    where: str,
) -> Markup:
    x = svg.Scale(0, len(values) - 1, LEFT + 18, PLOT - 18)
    estimates = [one for points in families.values() for one in points.values()]
    y = svg.around(_span([*estimates, *([reference] if reference else [])], measure.factor), FOOT, TOP, room=0.05)
    body = [_frame(y, values, x, f"{pictures.last(setting)} (equal steps)", pictures.heading(measure))]
    names = [*families, *(["cross entropy"] if reference else [])]
    lines, lasts = [], []
    for name, points in families.items():
        shown = [(x(place), points[value]) for place, value in enumerate(values) if value in points]
        through = [(at, y(one.mean * measure.factor)) for at, one in shown]
        look = known[name]
        parts = [svg.element("path", d=svg.path(through), stroke_dasharray=look.dash, cls="curve")] if shown[1:] else []
        for at, one in shown:
            if one.low is not None and one.high is not None:
                low, high = y(one.low * measure.factor), y(one.high * measure.factor)
                parts.append(svg.element("path", d=f"M{at:.1f} {low:.1f}V{high:.1f}", cls="whisker"))
        parts += [look.marker(*point) for point in through]
        lines.append(svg.group([*parts, svg.element("title", name)], cls=f"m c{look.colour}"))
        lasts.append(through[-1])
    if reference:
        level = y(reference.mean * measure.factor)
        d = f"M{LEFT} {level:.1f}H{PLOT}"
        lines.append(svg.group([svg.element("path", d=d, stroke_dasharray="2 3", cls="curve")], cls="m c0"))
        lasts.append((PLOT - 8, level))
    ends = svg.apart([at for _, at in lasts], 16, TOP + 6, FOOT - 4)
    tags = [
        svg.group(
            [
                svg.element("path", d=f"M{a + 8:.1f} {b:.1f}L{PLOT + 8} {end:.1f}", cls="leader"),
                svg.text(PLOT + 12, end + 4, pictures.cut(name), cls="tag"),
            ],
            cls=f"m c{known[name].colour if name in known else 0}",
        )
        for name, (a, b), end in zip(names, lasts, ends)
    ]
    label = f"{measure.title} by {setting}, {where}. The table has the numbers."
    return svg.picture(WIDTH, HEIGHT, label, [*body, pictures.window(lines), *tags], "plot curves sweep")


def _span(estimates: Sequence[Estimate], factor: float) -> list[float]:
    """What the axis has to hold: all means, and of the intervals what does not press the means flat."""
    means = [one.mean * factor for one in estimates]
    halves = [(one.high - one.mean) * factor for one in estimates if one.high is not None]
    room = max(0.35 * (max(means) - min(means)), 1.5 * median(halves) if halves else 0.0)
    lows = [one.low * factor for one in estimates if one.low is not None] or means
    highs = [one.high * factor for one in estimates if one.high is not None] or means
    return [*means, max(min(lows), min(means) - room), min(max(highs), max(means) + room)]


def _frame(y: svg.Scale, values: Sequence[Any], x: svg.Scale, across: str, up: str) -> Markup:
    every = -(-len(values) // 12)
    parts = [pictures.levels(y, PLOT, up)]
    for place, value in enumerate(values):
        parts.append(svg.element("path", d=f"M{x(place):.1f} {FOOT}v4", cls="axisline"))
        if place % every == 0:
            parts.append(svg.text(x(place), FOOT + 18, pictures.cut(f"{value}", 8), "middle", cls="axis"))
    parts.append(svg.text((LEFT + PLOT) / 2, HEIGHT - 10, across, "middle", cls="axis"))
    return svg.group(parts)
