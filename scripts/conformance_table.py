"""The table of checks in docs/authoring/conformance.md, made from the suite.

python scripts/conformance_table.py
"""

from __future__ import annotations

import re
from pathlib import Path

from noisyrun.testing import Check, checks
from noisyrun.testing.suite import EVERY, METHODS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "authoring" / "conformance.md"
BETWEEN = re.compile(r"(<!-- checks: [^>]*-->\n).*?(<!-- /checks -->)", re.DOTALL)


def table() -> str:
    """One row a check."""
    rows = [f"| `{check.name}` | {concerned(check)} | {check.description} |" for check in checks()]
    return "\n".join(["| check | of | what has to hold |", "| --- | --- | --- |", *rows])


def concerned(check: Check) -> str:
    """Which plugins a check concerns, in words."""
    if check.online:
        return "parts trained in the loop"
    whole = {EVERY: "every plugin", METHODS: "every method"}
    return whole.get(check.kinds, ", ".join(kind.replace("_", " ") for kind in check.kinds))


def page(text: str) -> str:
    """The page with the table as it should be."""
    return BETWEEN.sub(lambda found: f"{found[1]}\n{table()}\n\n{found[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
