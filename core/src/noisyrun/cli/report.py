"""``noisyrun report``: the page and the tables of a suite's results."""

from __future__ import annotations

import sys
from pathlib import Path

from noisyrun.api.errors import UserError
from noisyrun.cli.common import nothing_left, wants_help
from noisyrun.config import flags

USAGE = """\
noisyrun report DIR [--out FILE]

Compare what the results folder DIR holds, finished or not: a page of tables and pictures that opens offline in any
browser, and the same tables as CSV, Markdown and LaTeX beside it. Nothing is run.

  --out FILE   the page; DIR/report.html by default

  noisyrun report results"""


def main(words: list[str]) -> int:
    """Write the report of a results folder."""
    if wants_help(words):
        print(USAGE)
        return 0
    if not words or words[0].startswith("-"):
        raise UserError("report: name the results folder first: noisyrun report DIR")
    folder = Path(words[0])
    if not folder.is_dir():
        raise UserError(f"report: no folder {folder}")
    given = flags.parse(words[1:])
    page = Path(flags.take(given, "out") or folder / "report.html")
    nothing_left(given, ["out"])
    if page.suffix != ".html":
        raise UserError(f"--out: must name an .html file (got {str(page)!r})")
    from noisyrun.bench import exports
    from noisyrun.bench.analysis import analyse
    from noisyrun.bench.page.build import write_page
    from noisyrun.bench.page.terminal import short
    from noisyrun.bench.store import Results
    from noisyrun.files import writing
    from noisyrun.report.console import terminal

    analysis = analyse(Results(folder))
    out = terminal(sys.stdout)
    for part in short(analysis):
        out.print(part)
    with writing(page):
        page.parent.mkdir(parents=True, exist_ok=True)
        write_page(analysis, folder, page)
        made = [page, *exports.write(analysis, page.parent)]
    for path in made:
        print(path)
    return 0
