"""report.html: one self-contained page of what a suite found. Imports no torch."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from noisyrun.bench.analysis import Analysis
from noisyrun.bench.measures import measure
from noisyrun.bench.page import cells, pictures, views
from noisyrun.files import write_text
from noisyrun.report.numbers import seconds

#: Characters that no page may hold, escaped or not.
_NEVER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def write_page(analysis: Analysis, folder: Path, path: Path) -> None:
    """Write the page of an analysis.

    Whatever comes from data is escaped by the template; the page loads nothing from anywhere, and a content security
    policy lets no other script run.

    Parameters
    ----------
    folder
        The results folder; galleries of its cells are linked relative to the page.
    path
        The file to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page(analysis, _seen_from(path, folder)))


def page(analysis: Analysis, root: str = "") -> str:
    """The page as text.

    Parameters
    ----------
    root
        The results folder as links name it, with a slash at its end; empty where the page lies in it.
    """
    style, script = (_own(name) for name in ("page.css", "page.js"))
    known = views.methods(analysis)
    sections = [views.section(analysis, one, at, known, root) for at, one in enumerate(analysis.comparisons, 1)]
    marks = cells.notes(analysis.marks, "mark", places=len(sections))
    beside = cells.notes((mark for mark in analysis.marks if mark.method), "overall-mark", places=len(sections))
    shown = {group for section in sections for group, _, _ in section.groups}
    groups = {group: title for group, title in views.GROUPS.items() if group in shown}
    first = {row.method: row for comparison in reversed(analysis.comparisons) for row in comparison.rows}
    template = _environment().get_template("page.html")
    made = template.render(
        analysis=analysis,
        suite=analysis.suite,
        headline=analysis.headline,
        looks=known,
        sections=sections,
        groups=groups,
        first_group=analysis.headline.group if analysis.headline.group in groups else next(iter(groups), "all"),
        marks=marks,
        beside=beside,
        overall=list(views.overall(analysis, sections, known, beside)) if len(sections) > 1 else [],
        ranks=pictures.ranks(analysis.overall, known) if analysis.overall and len(sections) > 1 else None,
        lead=views.lead(analysis),
        claims=views.claims(analysis),
        rules=views.rules(analysis),
        cap=views.cap(analysis),
        machine=views.machine,
        versions=views.versions(analysis),
        methods=[(look, first[name]) for name, look in known.items()],
        has_reference=any(one.reference for one in analysis.comparisons),
        measure=measure,
        heading=pictures.heading,
        difference=cells.difference,
        seconds=seconds,
        version=_version(),
        style=Markup(style),
        script=Markup(script),
        style_hash=_digest(style),
        script_hash=_digest(script),
    )
    return _NEVER.sub("\ufffd", made)


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("noisyrun.bench", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["prose"] = prose
    return made


def prose(text: str) -> Markup:
    """Text of a suite, in which backticks enclose code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(parts)
    )


def _own(name: str) -> str:
    return files("noisyrun.bench.page").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _seen_from(page: Path, folder: Path) -> str:
    relative = Path(os.path.relpath(folder.resolve(), page.resolve().parent)).as_posix()
    return "" if relative == "." else f"{relative}/"


def _version() -> str:
    try:
        return version("noisyrun")
    except PackageNotFoundError:
        return ""
