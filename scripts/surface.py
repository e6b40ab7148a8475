"""Whether a plugin's source keeps to what noisyrun has promised.

python scripts/surface.py FOLDER…

Prints each import from noisyrun that the record of the public surface, core/tests/api_surface.txt, does not have, and
fails where there is one. Tests of a plugin may also import `noisyrun.testing`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

RECORD = Path(__file__).resolve().parents[1] / "core" / "tests" / "api_surface.txt"
OPEN = ("noisyrun.testing",)


def recorded() -> tuple[set[str], set[str]]:
    """Names that the record has, as they are imported (``noisyrun.api.ops.unit``), and the modules they stand in."""
    found = re.findall(r"^(?:class )?([A-Za-z][\w.]*)", RECORD.read_text(encoding="utf-8"), re.MULTILINE)
    names = {f"noisyrun.api.{name}" for name in found}
    return names, {name.rpartition(".")[0] for name in names}


def used(tree: ast.Module, homes: set[str]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a module takes from noisyrun; of `homes`, too, what is taken from them."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                if one.name.split(".")[0] == "noisyrun":
                    yield node.lineno, one.name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "noisyrun":
            for one in node.names:
                yield node.lineno, f"{node.module}.{one.name}"
                modules[one.asname or one.name] = f"{node.module}.{one.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            if module in homes:
                yield node.lineno, f"{module}.{node.attr}"


def strange(folder: Path) -> list[str]:
    """One line for each import that is not in the record."""
    names, homes = recorded()
    lines = []
    for path in sorted(folder.rglob("*.py")):
        for line, name in sorted(used(ast.parse(path.read_text(encoding="utf-8"), str(path)), homes)):
            if name not in names | homes and not name.startswith(OPEN):
                lines.append(f"{path}:{line}: {name} is not in the record of the public surface")
    return lines


if __name__ == "__main__":
    found = [line for folder in sys.argv[1:] for line in strange(Path(folder))]
    for line in found:
        print(line)
    sys.exit(bool(found))
