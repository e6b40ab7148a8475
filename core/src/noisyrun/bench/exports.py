"""The tables of an analysis as CSV, Markdown and LaTeX. What breaks a rule is marked in all of them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisyrun.bench.analysis import Analysis, Comparison, Row
from noisyrun.bench.claims import PublishedRow
from noisyrun.bench.fairness import Mark, Note, notes
from noisyrun.bench.measures import Measure, measure
from noisyrun.bench.stats import Estimate
from noisyrun.files import write_text

#: Columns of the CSV; values in the units of a summary: shares in [0, 1], seconds, bytes.
COLUMNS = (
    *("comparison", "data", "noise", "method", "measure", "mean", "sd", "low", "high", "n", "seeds"),
    *("difference", "difference_low", "difference_high", "bootstrap_low", "bootstrap_high", "p", "holm", "outcome"),
    *("best", "within_noise", "rank", "cost", "marks", "breaks"),
)


def write(analysis: Analysis, folder: Path) -> list[Path]:
    """Write ``report.csv``, ``report.md`` and ``report.tex`` into a folder."""
    made = {"report.csv": to_csv, "report.md": to_markdown, "report.tex": to_latex}
    folder.mkdir(parents=True, exist_ok=True)
    for name, export in made.items():
        write_text(folder / name, export(analysis))
    return [folder / name for name in made]


def to_csv(analysis: Analysis) -> str:
    """One row a method, comparison and measure; a method without a result has a row of the headline measure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for comparison in analysis.comparisons:
        for row in comparison.rows:
            keys = [one.key for one in analysis.measures if one.key in row.values] or [analysis.headline.key]
            writer.writerows(_record(comparison, row, key, key == analysis.headline.key) for key in keys)
    return text.getvalue()


def _record(comparison: Comparison, row: Row, key: str, headline: bool) -> dict[str, Any]:
    marks = (*row.marks, *comparison.marks)
    found = {
        "comparison": comparison.name,
        "data": comparison.data,
        "noise": comparison.noise,
        "method": row.method,
        "measure": key,
        "n": 0,
        "seeds": len(row.cells),
        "marks": " ".join(dict.fromkeys(mark.sign for mark in marks)),
        "breaks": " ".join(dict.fromkeys(mark.sign for mark in marks if mark.breaks)),
    }
    if (one := row.values.get(key)) is not None:
        found |= {"mean": one.mean, "sd": one.sd, "low": one.low, "high": one.high, "n": one.n}
    if (pair := row.against.get(key)) is not None:
        found |= {"difference": pair.mean, "difference_low": pair.low, "difference_high": pair.high}
        found |= {"bootstrap_low": pair.bootstrap_low, "bootstrap_high": pair.bootstrap_high}
        found |= {"p": pair.p, "holm": pair.holm, "outcome": pair.outcome}
    if headline:
        found |= {"best": row.best, "within_noise": row.within_noise, "rank": row.rank, "cost": row.cost}
    return found


@dataclass(frozen=True)
class _Style:
    """How a format writes things."""

    escape: Callable[[str], str]
    best: Callable[[str], str]
    alike: Callable[[str], str]
    marked: Callable[[str, str], str]
    table: Callable[[str, Sequence[str], Iterable[Sequence[str]]], Iterator[str]]
    title: Callable[[str], str]
    item: Callable[[str], str]


def to_markdown(analysis: Analysis) -> str:
    """The main table, its marks, and the tables of claims and published figures, in GitHub's Markdown."""
    return "\n".join(_document(analysis, _MARKDOWN)) + "\n"


def to_latex(analysis: Analysis) -> str:
    """The same in LaTeX, to be input where booktabs is loaded."""
    return "\n".join(["% needs \\usepackage{booktabs}", *_document(analysis, _LATEX)]) + "\n"


def _document(analysis: Analysis, style: _Style) -> Iterator[str]:
    yield style.title(analysis.suite.title)
    yield style.escape(_about(analysis))
    yield ""
    yield from style.table("Results", *_results(analysis, style))
    yield from (style.item(style.escape(_note(note))) for note in notes(analysis.marks))
    if analysis.claims:
        yield ""
        rows = [(one.text, one.source, one.outcome, one.why) for one in analysis.claims]
        yield from style.table("Claims", ("claim", "source", "outcome", "measured"), _escaped(rows, style))
    if analysis.published:
        yield ""
        head = ("source", "data", "measure", "method", "published", "ours", "ours is", "what differs")
        yield from style.table("Published", head, _escaped((_beside(one) for one in analysis.published), style))


def _about(analysis: Analysis) -> str:
    """What the figures are, in one paragraph."""
    seeds = len(analysis.suite.seeds)
    unit = f" ({analysis.headline.unit_shown})" if analysis.headline.unit_shown else ""
    spread = "one seed: no spread is known" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"
    done = (
        "" if analysis.finished == analysis.cells else f" {analysis.finished} of {analysis.cells} cells have a result."
    )
    return (
        f"{analysis.headline.title}{unit}, {spread}. Best: bold. Not told apart from the best (95 % interval of the "
        f"paired difference contains 0): ≈. Letters: the marks below.{done}"
    )


def _results(analysis: Analysis, style: _Style) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the main table: a method a row, a comparison a column, then cost and average rank."""
    ranks = analysis.overall.ranks if analysis.overall and len(analysis.overall.comparisons) > 1 else {}
    costs = any(row.cost is not None for comparison in analysis.comparisons for row in comparison.rows)
    head = ["method", *(_marked(style.escape(one.name), one.marks, style) for one in analysis.comparisons)]
    head += [style.escape("× time")] * costs + ["average rank"] * bool(ranks)
    rows = []
    for number, first in enumerate(analysis.comparisons[0].rows if analysis.comparisons else ()):
        found = [comparison.rows[number] for comparison in analysis.comparisons]
        cells = [style.escape(first.method), *(_cell(analysis.headline, row, style) for row in found)]
        if costs:
            cells.append(style.escape(_span([row.cost for row in found if row.cost is not None])))
        if ranks:
            cells.append(f"{ranks[first.method]:.2f}" if first.method in ranks else style.escape("–"))
        rows.append(cells)
    return head, rows


def _cell(headline: Measure, row: Row, style: _Style) -> str:
    text = style.escape(figure(headline, row.values.get(headline.key)))
    if row.best:
        text = style.best(text)
    elif row.within_noise:
        text = style.alike(text)
    return _marked(text, row.marks, style)


def _marked(text: str, marks: Iterable[Mark], style: _Style) -> str:
    signs = ",".join(dict.fromkeys(mark.sign for mark in marks))
    return style.marked(text, signs) if signs else text


def figure(of: Measure, estimate: Estimate | None) -> str:
    """``86.30 ± 1.30``; without a spread where there is one seed, a dash where there is none."""
    if estimate is None:
        return "–"
    spread = f" ± {of.shown(estimate.sd)}" if estimate.sd is not None else ""
    return f"{of.shown(estimate.mean)}{spread}"


def _span(values: Sequence[float]) -> str:
    """One value, or the least and the most."""
    if not values:
        return "–"
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low}–{high}"


def _note(note: Note) -> str:
    who = ", ".join(part for part in (note.method, "; ".join(note.comparisons)) if part)
    permitted = "" if note.breaks else " (the suite permits it)"
    return f"{note.sign}: {who + ': ' if who else ''}{note.text}{permitted}"


def _beside(row: PublishedRow) -> tuple[str, ...]:
    own = measure(row.key)
    ours = figure(own, row.ours) if row.where else "not in the suite"
    where = f"{own.title}, {row.where}" if row.where else ""
    return row.source, row.data, row.measure, row.method, row.shown, ours, where, "; ".join(row.differs)


def _escaped(rows: Iterable[Sequence[str]], style: _Style) -> Iterator[list[str]]:
    return ([style.escape(cell) for cell in row] for row in rows)


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#~$])", r"\\\1", " ".join(text.split()))


def _markdown_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"**{caption}**"
    yield ""
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


#: What LaTeX reads otherwise, or has no letter for in its default fonts.
_LATEX_CHARACTERS = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "\\": "\\textbackslash{}",
    "[": "{[}",  # at the head of a row: how far to the one above
    "*": "{*}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "|": "\\textbar{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "–": "--",
    "…": "\\dots{}",
    "±": "$\\pm$",
    "×": "$\\times$",
    "≈": "$\\approx$",
    "≥": "$\\geq$",
    "≤": "$\\leq$",
    "−": "$-$",
    "·": "$\\cdot$",
    "→": "$\\to$",
    "α": "$\\alpha$",
    "η": "$\\eta$",
    "λ": "$\\lambda$",
    "σ": "$\\sigma$",
    "τ": "$\\tau$",
}


def _latex_text(text: str) -> str:
    return "".join(_LATEX_CHARACTERS.get(letter, letter) for letter in " ".join(text.split()))


def _latex_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "\\begin{table}"
    yield f"\\caption{{{caption}}}"
    yield f"\\begin{{tabular}}{{{'l' * len(head)}}}"
    yield "\\toprule"
    yield f"{' & '.join(head)} \\\\"
    yield "\\midrule"
    yield from (f"{' & '.join(row)} \\\\" for row in rows)
    yield "\\bottomrule"
    yield "\\end{tabular}"
    yield "\\end{table}"


_MARKDOWN = _Style(
    escape=_markdown_text,
    best=lambda text: f"**{text}**",
    alike=lambda text: f"{text} ≈",
    marked=lambda text, signs: f"{text} ({signs})",
    table=_markdown_table,
    title=lambda text: f"# {_markdown_text(text)}\n",
    item=lambda text: f"- {text}",
)

_LATEX = _Style(
    escape=_latex_text,
    best=lambda text: f"\\textbf{{{text}}}",
    alike=lambda text: f"{text} $\\approx$",
    marked=lambda text, signs: f"{text}$^{{\\mathrm{{{signs}}}}}$",
    table=_latex_table,
    title=lambda text: f"% {' '.join(text.split())}",
    item=lambda text: f"\\par\\noindent\\footnotesize {text}",
)
