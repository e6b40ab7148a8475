"""The short table of a report on a terminal, with its marks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from noisyrun.bench.analysis import Analysis, Comparison, Row
from noisyrun.bench.fairness import Mark, notes

#: Comparisons that have a column each; of more only ranks are shown, and differences over all of them.
COLUMNS = 4


def short(analysis: Analysis) -> Iterator[RenderableType]:
    """The headline measure of every method, the best first, and what a reader must know of the rows."""
    headline, overall = analysis.headline, analysis.overall
    unit = f", {headline.unit_shown}" if headline.unit_shown else ""
    yield Text(f"{analysis.suite.title}: {headline.title}{unit}", style="bold")
    compared = analysis.comparisons if len(analysis.comparisons) <= COLUMNS else ()
    ranks = overall.ranks if overall and len(analysis.comparisons) > 1 else {}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method")
    for one in compared:
        table.add_column(Text(one.name) + _signs(one.marks), justify="right")
    if ranks:
        table.add_column("average rank", justify="right")
    if overall and not compared:
        table.add_column("against cross entropy", justify="right")
    for method in _ordered(analysis, ranks):
        cells = [Text(method) + _signs(mark for mark in analysis.marks if mark.method == method)]
        cells += [_cell(analysis, one, method) for one in compared]
        if ranks:
            cells.append(Text(f"{ranks[method]:.2f}" if method in ranks else "–"))
        if overall and not compared:
            paired = overall.paired.get(method)
            told = f"{headline.shown(paired.mean, sign=True)} ({paired.outcome})" if paired else "–"
            cells.append(Text(told))
        table.add_row(*cells)
    yield table
    yield Text("bold: best mean; ≈: within noise of the best", style="dim")
    yield from _notes(analysis)
    if analysis.unfinished:
        yield Text(f"{len(analysis.unfinished)} of {analysis.cells} cells have no result", style="yellow")


def _notes(analysis: Analysis) -> Iterator[Text]:
    """The marks, a line each; methods of the same mark in the same comparisons share one."""
    shared: dict[tuple[str, str, bool, tuple[str, ...]], list[str]] = {}
    for note in notes(analysis.marks):
        shared.setdefault((note.sign, note.text, note.breaks, note.comparisons), []).append(note.method or "all")
    for (sign, text, breaks, comparisons), methods in shared.items():
        where = f" ({'; '.join(comparisons)})" if 0 < len(comparisons) < len(analysis.comparisons) else ""
        rule = "breaks a rule: " if breaks else ""
        yield Text(f"{sign}  {rule}{'; '.join(methods)}{where}: {text}")


def _ordered(analysis: Analysis, ranks: Mapping[str, float]) -> list[str]:
    """Methods by average rank, or by the headline measure of the first comparison."""
    methods = list(dict.fromkeys(row.method for one in analysis.comparisons for row in one.rows))
    if ranks:
        return sorted(methods, key=lambda name: ranks.get(name, float("inf")))
    first = {row.method: row for row in analysis.comparisons[0].rows} if analysis.comparisons else {}

    def place(name: str) -> float:
        found = first[name].values.get(analysis.headline.key) if name in first else None
        down = 1 if analysis.headline.higher is False else -1
        return float("inf") if found is None else down * found.mean

    return sorted(methods, key=place)


def _cell(analysis: Analysis, comparison: Comparison, method: str) -> Text:
    row: Row | None = next((row for row in comparison.rows if row.method == method), None)
    estimate = row.values.get(analysis.headline.key) if row else None
    if row is None or estimate is None:
        return Text("–")
    sd = "" if estimate.sd is None else f" ± {analysis.headline.shown(estimate.sd)}"
    near = "≈ " if row.within_noise and not row.best else ""
    return Text(near + analysis.headline.shown(estimate.mean) + sd, style="bold" if row.best else "")


def _signs(marks: Iterable[Mark]) -> Text:
    signs = list(dict.fromkeys(mark.sign for mark in marks))
    return Text(f" {' '.join(signs)}" if signs else "", style="yellow")
