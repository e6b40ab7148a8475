"""Write the page that shows what ``noisyrun data check`` says of each published layout, sound and with each trap."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
import tempfile
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "data-layouts.md"
_HEAD = """\
# Published data sets, checked

What `noisyrun data check` says of a tiny data set in each [published layout](data.md#published-data-sets): first as it
should be, then with one thing wrong. Made by `python scripts/layouts_table.py`, which writes each set and runs the
command on it.

Each set is a subset of a few images, which the check says in a warning; that line is left out below.
"""


def page() -> str:
    """The page, anew."""
    folder = str(ROOT / "core" / "tests" / "data" / "layouts")
    sys.path.insert(0, folder)
    try:
        traps = import_module("layout_traps")
    finally:
        sys.path.remove(folder)
    parts = [_HEAD]
    for title, make, cases in traps.LAYOUTS:
        parts.append(f"\n## {title}\n\n| what is wrong | exit code | what is said |\n| --- | --- | --- |\n")
        parts += [_row(make, name, change, words) for name, change, words in ((("nothing", None, ())), *cases)]
    return "".join(parts)


def _row(make: object, name: str, change: object, words: tuple[str, ...]) -> str:
    from noisyrun.cli import main

    with tempfile.TemporaryDirectory() as top:
        root = make(Path(top))  # type: ignore[operator]
        if change is not None:
            change(root)  # type: ignore[operator]
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = main(["data", "check", str(root), "--json", *words])
        told = json.loads(out.getvalue())
        lines = [f"wrong: {line}" for line in told["problems"]]
        lines += [f"warning: {line}" for line in told["warnings"] if not line.startswith("a subset of")]
        shown = "<br>".join(_cell(line, root, top) for line in lines) or "no problems"
    flags = f" (`{' '.join(words)}`)" if words else ""
    return f"| {name}{flags} | {code} | {shown} |\n"


def _cell(line: str, root: Path, top: str) -> str:
    line = line.replace(f"{root}/", "").replace(str(root), root.name).replace(f"{top}/", "")
    line = re.sub(r" \(\d+ bytes not processed\)", "", line)  # another JPEG library leaves others
    return "`" + line.replace("|", "\\|").replace("`", "'") + "`"


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
