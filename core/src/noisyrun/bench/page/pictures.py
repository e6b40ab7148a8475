"""The page's pictures, drawn once as SVG: learning curves, accuracy against cost, ranks, and the seeds in a table.

A picture is 560 units wide. Beyond PLOT stand names alone, which a phone leaves out to show the rest larger: there the
legend tells the methods.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from noisyrun.bench.analysis import Curve, Overall, Row
from noisyrun.bench.measures import Measure
from noisyrun.bench.page import svg
from noisyrun.bench.page.looks import Look
from noisyrun.bench.stats import Estimate
from noisyrun.report.numbers import seconds

WIDTH, HEIGHT, PLOT = 560, 330, 410
LEFT, TOP, FOOT = 52, 32, 282
#: Points of a curve that are drawn, ticks for label phases at most, and characters of a name in a picture.
POINTS, PHASES, NAME = 120, 40, 20
#: Epochs of a curve as a table.
EPOCHS = 10

Looks = Mapping[str, Look]

#: Epochs, and the means of each method at them.
CurveTable = tuple[tuple[int, ...], tuple[tuple[Look, tuple[str, ...]], ...]]

#: Left, top, right, bottom.
Box = tuple[float, float, float, float]


def curves(rows: Sequence[Row], key: str, title: str, factor: float, looks: Looks, where: str) -> Markup | None:
    """Mean by epoch with a band from the smallest to the largest seed; a tick where a label phase ran.

    None where no row has the curve.
    """
    drawn = [(row, _thinned(row.curves[key], factor)) for row in rows if row.curves.get(key) and row.curves[key].epochs]
    if not drawn:
        return None
    phases = {row.method: row.phases if len(row.phases) <= PHASES else () for row, _ in drawn}
    across = [float(epoch) for _, curve in drawn for epoch in curve.epochs]
    across += [float(epoch) for row, _ in drawn for epoch in phases[row.method]]
    x = svg.Scale(min(across), max(across), LEFT + 8, PLOT - 10)
    y = svg.around(_span([curve for _, curve in drawn]), FOOT, TOP)
    body = [_frame(x, y, "epoch", title, whole=True)]
    ends = svg.apart([y(curve.mean[-1]) for _, curve in drawn], 16, TOP + 6, FOOT - 4)
    bands, lines, tags = [], [], []
    for (row, curve), end in zip(drawn, ends):
        look = looks[row.method]
        points = [(x(epoch), y(value)) for epoch, value in zip(curve.epochs, curve.mean)]
        if any(high > low for low, high in zip(curve.low, curve.high)):
            around = [(x(epoch), y(value)) for epoch, value in zip(curve.epochs, curve.low)]
            around += [(x(epoch), y(value)) for epoch, value in zip(curve.epochs[::-1], curve.high[::-1])]
            bands.append(svg.group([svg.element("path", d=svg.path(around) + "z", cls="band")], cls=look.classes))
        parts = [svg.element("path", d=svg.path(points), stroke_dasharray=look.dash, cls="curve")] if points[1:] else []
        ticks = [(x(epoch), y(_at(curve, epoch))) for epoch in phases[row.method]]
        if ticks:
            parts.append(svg.element("path", d="".join(f"M{a:.1f} {b - 6:.1f}v12" for a, b in ticks), cls="tick"))
        last_x, last_y = points[-1]
        parts += [look.marker(last_x, last_y), svg.element("title", row.method)]
        lines.append(svg.group(parts, cls=look.classes))
        tags.append(
            svg.group(
                [
                    svg.element("path", d=f"M{last_x + 7:.1f} {last_y:.1f}L{PLOT + 8} {end:.1f}", cls="leader"),
                    svg.text(PLOT + 12, end + 4, cut(row.method), cls="tag"),
                ],
                cls=look.classes,
            )
        )
    label = f"{title} by epoch, {where}; {len(drawn)} methods. The table that follows has the numbers."
    return svg.picture(WIDTH, HEIGHT, label, [*body, window([*bands, *lines]), *tags], "plot curves")


def curve_table(rows: Sequence[Row], key: str, factor: float, looks: Looks) -> CurveTable:
    """The means of a curve in words: at most EPOCHS of the epochs, the first and the last among them."""
    drawn = [row for row in rows if row.curves.get(key) and row.curves[key].epochs]
    every = sorted({epoch for row in drawn for epoch in row.curves[key].epochs})
    last = len(every) - 1
    chosen = every if last < EPOCHS else sorted({every[round(at * last / (EPOCHS - 1))] for at in range(EPOCHS)})
    made = []
    for row in drawn:
        means = dict(zip(row.curves[key].epochs, row.curves[key].mean))
        digits = 1 if factor > 1 else 3
        told = (f"{factor * means[epoch]:.{digits}f}" if epoch in means else "–" for epoch in chosen)
        made.append((looks[row.method], tuple(told)))
    return tuple(chosen), tuple(made)


def cost(rows: Sequence[Row], measure: Measure, cap: float | None, looks: Looks, where: str) -> Markup | None:
    """The headline measure against seconds; lines span a standard deviation on either side."""
    drawn = [
        (row, row.values[measure.key], row.values["seconds.total"])
        for row in rows
        if measure.key in row.values and row.values.get("seconds.total") and row.values["seconds.total"].mean > 0
    ]
    if not drawn:
        return None
    reference = next((time.mean for row, _, time in drawn if row.reference), None)
    limit = None if cap is None or reference is None else cap * reference
    times = [time.mean for _, _, time in drawn]
    # A cap far to the right of all methods would push them into a corner.
    limit = None if limit is not None and limit > 4 * max(times) else limit
    x = svg.around([*times, *([limit] if limit else [])], LEFT + 14, WIDTH - 24, log=True)
    spread = [(one.mean + side * (one.sd or 0.0)) * measure.factor for _, one, _ in drawn for side in (-1, 1)]
    y = svg.around(spread, FOOT, TOP, room=0.1)
    body = [_frame(x, y, "seconds in all, logarithmic", heading(measure), right=WIDTH - 6)]
    if limit is not None:
        body.append(svg.element("path", d=f"M{x(limit):.1f} {TOP}V{FOOT}", cls="cap"))
        body.append(svg.text(x(limit) - 5, TOP + 10, f"cap: {cap:g} × cross entropy", "end", cls="note"))
    points = [(x(time.mean), y(one.mean * measure.factor)) for _, one, time in drawn]
    halves = [abs(y(0.0) - y((one.sd or 0.0) * measure.factor)) for _, one, _ in drawn]
    taken = [(a - 7, b - max(7, half), a + 7, b + max(7, half)) for (a, b), half in zip(points, halves)]
    if limit is not None:
        taken.append((x(limit) - 2, TOP, x(limit) + 2, FOOT))
        taken.append((x(limit) - 150, TOP - 4, x(limit), TOP + 16))
    places = _labels(points, [cut(row.method) for row, _, _ in drawn], taken)
    for (row, one, time), (a, b), half, place in zip(drawn, points, halves, places):
        look = looks[row.method]
        parts = []
        if half:
            parts.append(svg.element("path", d=f"M{a:.1f} {b - half:.1f}V{b + half:.1f}", cls="whisker"))
        parts.append(look.marker(a, b))
        if place is not None:
            parts.append(svg.text(*place[:2], cut(row.method), place[2], cls="tag"))
        told = f"{row.method}: {measure.shown(one.mean)} {measure.unit_shown} in {seconds(time.mean)}"
        body.append(svg.group([*parts, svg.element("title", told)], cls=look.classes))
    label = f"{measure.title} against seconds, {where}; {len(drawn)} methods. The table has the numbers."
    return svg.picture(WIDTH, HEIGHT, label, body, "plot cost")


def ranks(overall: Overall, looks: Looks) -> Markup | None:
    """Average ranks, best first; a bar joins methods that are not told apart."""
    names = list(overall.ranks)
    if len(names) < 2:
        return None
    step, top, left, right = 21, 46, 150, 384 - 11 * len(overall.cliques)
    foot = top + step * len(names)
    most = max(len(names), math.ceil(max(overall.ranks.values())))
    x = svg.Scale(1, most, left, right)
    body = []
    whole = range(1, most + 1, 1 if most <= 12 else 2)
    for mark in whole:
        body.append(svg.element("path", d=f"M{x(mark):.1f} {top - 6}V{foot - 4}", cls="grid"))
        body.append(svg.text(x(mark), top - 11, str(mark), "middle", cls="axis"))
    gap = overall.critical_difference
    if gap is not None:
        end = min(x(1 + gap), 392.0)
        body.append(svg.element("path", d=f"M{x(1):.1f} 8v8m0-4H{end:.1f}m0-4v8", cls="axisline"))
        body.append(svg.text(left - 12, 16, f"critical difference {gap:.2f}", "end", cls="axis"))
    levels = {name: top + step * (place + 0.5) for place, name in enumerate(names)}
    for name, level in levels.items():
        look, rank = looks[name], overall.ranks[name]
        parts = [
            svg.text(left - 12, level + 4, cut(name), "end", cls="label"),
            svg.element("path", d=f"M{x(1):.1f} {level:.1f}H{x(rank):.1f}", cls="stem"),
            look.marker(x(rank), level),
            svg.element("title", f"{name}: average rank {rank:.2f}"),
        ]
        body.append(svg.group(parts, cls=f"m c{look.colour}"))
    for at, clique in enumerate(overall.cliques):
        places = [levels[name] for name in clique if name in levels]
        if len(places) > 1:
            line = f"M{right + 14 + 11 * at} {min(places) - 6:.1f}V{max(places) + 6:.1f}"
            body.append(svg.element("path", d=line, cls="clique"))
    told = ", ".join(f"{name} {rank:.2f}" for name, rank in overall.ranks.items())
    joined = "; ".join(", ".join(clique) for clique in overall.cliques) or "none"
    label = f"Average ranks, best first: {told}. Not told apart: {joined}."
    return svg.picture(400, round(foot + 4), label, body, "plot ranks")


def strip_scale(estimates: Sequence[Estimate]) -> svg.Scale | None:
    """The common scale of the strips of a column."""
    found = [value for one in estimates for value in (*one.values.values(), one.low, one.high) if value is not None]
    return svg.around(found, 6, 114, room=0.02) if found else None


def strip(estimate: Estimate, scale: svg.Scale, look: Look, measure: Measure) -> Markup:
    """All seeds of a row on one line, with the mean and its interval."""
    parts = []
    if estimate.low is not None and estimate.high is not None:
        d = f"M{scale(estimate.low):.1f} 9H{scale(estimate.high):.1f}"
        parts.append(svg.element("path", d=d, cls="whisker"))
    parts += [svg.element("path", d=f"M{scale(value):.1f} 2v14", cls="seed") for value in estimate.values.values()]
    parts.append(look.marker(scale(estimate.mean), 9))
    told = ", ".join(f"seed {seed}: {measure.shown(value)}" for seed, value in estimate.values.items())
    return svg.element(
        "svg",
        svg.group(parts, cls=f"m c{look.colour}"),
        role="img",
        aria_label=told,
        viewBox="0 0 120 18",
        width=120,
        height=18,
    )


def heading(measure: Measure) -> str:
    """A measure as a heading, with its unit."""
    return f"{measure.title}, {measure.unit_shown}" if measure.unit_shown else measure.title


def cut(words: str, most: int = NAME) -> str:
    """A name that fits a picture; its end is kept, where variants of a method differ."""
    return words if len(words) <= most else f"{words[: most - 1 - most // 2]}…{words[-(most // 2) :]}"


def last(setting: str) -> str:
    """The last part of a dotted name."""
    return setting.rpartition(".")[2]


def window(lines: Iterable[Markup]) -> Markup:
    """Lines within the frame of a picture: what lies beyond its axis is cut off."""
    frame = {"x": LEFT, "y": TOP, "width": PLOT - LEFT, "height": FOOT - TOP}
    return svg.element("svg", *lines, viewBox=f"{LEFT} {TOP} {PLOT - LEFT} {FOOT - TOP}", **frame)


def levels(y: svg.Scale, right: float, up: str) -> Markup:
    """The upward axis: its title, a line for each round value, and the foot."""
    parts = []
    for value in y.ticks(6):
        parts.append(svg.element("path", d=f"M{LEFT} {y(value):.1f}H{right:g}", cls="grid"))
        parts.append(svg.text(LEFT - 6, y(value) + 4, f"{value:.6g}", "end", cls="axis"))
    parts.append(svg.element("path", d=f"M{LEFT} {FOOT}H{right:g}", cls="axisline"))
    parts.append(svg.text(6, 15, up, cls="axis"))
    return svg.group(parts)


def _thinned(curve: Curve, factor: float) -> Curve:
    """At most POINTS of a curve, evenly, the last among them, in the unit that is shown."""
    count = len(curve.epochs)
    kept = range(count) if count <= POINTS else [round(at * (count - 1) / (POINTS - 1)) for at in range(POINTS)]
    mean, low, high = (tuple(values[at] * factor for at in kept) for values in (curve.mean, curve.low, curve.high))
    return Curve(tuple(curve.epochs[at] for at in kept), mean, low, high)


def _span(curves: Sequence[Curve]) -> list[float]:
    """What the axis has to hold: all of the curves, unless the first third of the epochs would press the rest flat."""
    whole = [value for curve in curves for value in (*curve.low, *curve.high)]
    late = [value for one in curves for value in (*one.low[len(one.low) // 3 :], *one.high[len(one.high) // 3 :])]
    room = 0.5 * (max(late) - min(late))
    if max(whole) - min(whole) < 3 * (max(late) - min(late)):
        return whole
    return [max(min(whole), min(late) - room), min(max(whole), max(late) + room)]


def _at(curve: Curve, epoch: float) -> float:
    """The mean at an epoch, or between two."""
    before = [(e, v) for e, v in zip(curve.epochs, curve.mean) if e <= epoch][-1:]
    after = [(e, v) for e, v in zip(curve.epochs, curve.mean) if e >= epoch][:1]
    if not before or not after:
        return (before or after)[0][1]
    (e0, v0), (e1, v1) = before[0], after[0]
    return v0 if e1 == e0 else v0 + (v1 - v0) * (epoch - e0) / (e1 - e0)


def _frame(x: svg.Scale, y: svg.Scale, across: str, up: str, *, right: float = PLOT, whole: bool = False) -> Markup:
    """Grid, ticks and titles of both axes."""
    parts = [levels(y, right, up)]
    for value in x.ticks(6):
        if whole and value != round(value):
            continue
        parts.append(svg.element("path", d=f"M{x(value):.1f} {FOOT}v4", cls="axisline"))
        told = _brief(value) if x.log else f"{value:g}"
        parts.append(svg.text(x(value), FOOT + 18, told, "middle", cls="axis"))
    parts.append(svg.text((LEFT + right) / 2, HEIGHT - 10, across, "middle", cls="axis"))
    return svg.group(parts)


def _brief(value: float) -> str:
    """Seconds as a tick says them."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if value >= length and value % length == 0:
            return f"{value / length:g} {unit}"
    return f"{value:g}"


def _labels(
    points: Sequence[tuple[float, float]], names: Sequence[str], around: Sequence[Box]
) -> list[tuple[float, float, str] | None]:
    """Where names stand beside their points without lying on anything; None for one that has no room."""
    taken = list(around)
    found: list[tuple[float, float, str] | None] = []
    for (x, y), name in zip(points, names):
        wide = 7.0 * len(name)
        places = [
            (x + 10, y + 4, "start", x + 10),
            (x - 10, y + 4, "end", x - 10 - wide),
            (x, y - 11, "middle", x - wide / 2),
            (x, y + 19, "middle", x - wide / 2),
            (x + 8, y - 9, "start", x + 8),
            (x + 8, y + 17, "start", x + 8),
            (x - 8, y - 9, "end", x - 8 - wide),
            (x - 8, y + 17, "end", x - 8 - wide),
        ]
        chosen = None
        for a, b, anchor, left in places:
            box = (left, b - 11, left + wide, b + 3)
            inside = box[0] > LEFT and box[2] < WIDTH - 6 and box[1] > TOP - 8 and box[3] < FOOT
            if inside and not any(_overlap(box, other) for other in taken):
                chosen = (a, b, anchor)
                taken.append(box)
                break
        found.append(chosen)
    return found


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
