"""Imports run one way: plugins → noisyrun.api ← the rest of core. Held by walking every syntax tree."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "core" / "src" / "noisyrun"
API = CORE / "api"
PLUGINS = sorted((ROOT / "plugins").glob("*/src/noisyrun_*"))

#: What the contract may rest on, beside the standard library.
API_FOUNDATIONS = {"numpy", "pluggy", "pydantic", "torch"}
#: What belongs to plugins alone.
PLUGINS_ONLY = {"timm", "transformers", "nltk"}
#: What would make `--help` slow.
HEAVY = {"torch", "torchvision", "mlflow", "timm", "transformers", "nltk", "sklearn", "scipy", "pandas", "pyarrow"}
#: The papers whose methods are plugins.
PAPERS = re.compile(r"sinet|smp|cleannet|noisereg|urnet")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def package_of(path: Path) -> str:
    """Dotted name of the package a file's relative imports start from."""
    parts = path.relative_to(next(p for p in path.parents if p.name == "src")).parent.parts
    return ".".join(parts)


def imported(path: Path, nodes: list[ast.stmt] | None = None) -> Iterator[tuple[ast.AST, str]]:
    """Every module a file imports, by statement or by name through import_module, wherever it stands in the file."""
    walked = ast.walk(tree(path)) if nodes is None else iter(nodes)
    for node in walked:
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node, name.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package_of(path).split(".")
                base = ".".join(filter(None, [*up[: len(up) - node.level + 1], base]))
            for name in node.names:
                yield node, f"{base}.{name.name}"
        elif isinstance(node, ast.Call) and _called(node).endswith("import_module") and node.args:
            target = node.args[0]
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                yield node, target.value


def _called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def top(module: str) -> str:
    return module.partition(".")[0]


def test_there_is_something_to_walk() -> None:
    assert len(sources(CORE)) > 20
    assert {folder.name for folder in PLUGINS} >= {"noisyrun_sinet", "noisyrun_smp", "noisyrun_text", "noisyrun_timm"}


def test_the_contract_rests_on_nothing_else_of_core() -> None:
    wrong = [
        f"{where(path, node)} imports {module}"
        for path in sources(API)
        for node, module in imported(path)
        if not within(module, "noisyrun.api")
        and top(module) not in API_FOUNDATIONS
        and top(module) not in sys.stdlib_module_names
    ]
    assert wrong == []


def test_core_imports_no_plugin_and_nothing_that_belongs_to_plugins() -> None:
    wrong = [
        f"{where(path, node)} imports {module}"
        for path in sources(CORE)
        for node, module in imported(path)
        if top(module) in PLUGINS_ONLY or top(module).startswith("noisyrun_")
    ]
    assert wrong == []


def test_mlflow_is_imported_by_tracking_alone() -> None:
    wrong = [
        f"{where(path, node)} imports {module}"
        for folder in (CORE, *PLUGINS)
        for path in sources(folder)
        for node, module in imported(path)
        if top(module) == "mlflow" and not path.is_relative_to(CORE / "tracking")
    ]
    assert wrong == []


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda folder: folder.name)
def test_a_plugin_imports_of_noisyrun_only_the_contract_and_of_plugins_only_itself(plugin: Path) -> None:
    wrong = []
    for path in sources(plugin):
        for node, module in imported(path):
            foreign_core = top(module) == "noisyrun" and not within(module, "noisyrun.api")
            foreign_plugin = top(module).startswith("noisyrun_") and top(module) != plugin.name
            if foreign_core or foreign_plugin:
                wrong.append(f"{where(path, node)} imports {module}")
    assert wrong == []


def at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported: not those of functions, nor those for type checkers."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from at_import(node.orelse)
            continue
        yield node
        for field in ("body", "orelse", "finalbody"):
            yield from at_import(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from at_import(handler.body)


LIGHT = [
    *(folder / "__init__.py" for folder in PLUGINS),
    *(path for folder in PLUGINS for path in folder.rglob("*config*.py")),
    *(path for path in API.glob("*.py") if path.stem in {"__init__", "config", "errors", "needs", "plugin", "stage"}),
    *(CORE / name for name in ("builtin.py", "config/settings.py", "config/resolve.py", "plugins.py", "__init__.py")),
    CORE / "cli" / "__init__.py",
]


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: str(path.relative_to(ROOT)))
def test_entry_and_configuration_modules_import_nothing_heavy(path: Path) -> None:
    nodes = list(at_import(tree(path).body))
    wrong = [f"{where(path, n)} imports {module}" for n, module in imported(path, nodes) if top(module) in HEAVY]
    assert wrong == []


def docstrings(module: ast.Module) -> set[int]:
    """Identities of the constants that are documentation: docstrings and bare strings."""
    return {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}


def is_word(value: object) -> bool:
    return isinstance(value, str) and not re.search(r"\s", value.strip())


def names_in(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Identifiers of a file, and strings that could select behaviour: one word, as a name is compared or looked up.

    A sentence that shows a user an example (``--weighter NAME``) selects nothing and may name a plugin.
    """
    module = tree(path)
    prose = docstrings(module)
    for node in ast.walk(module):
        if isinstance(node, ast.Name):
            yield node, node.id
        elif isinstance(node, ast.Attribute):
            yield node, node.attr
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node, node.name
        elif isinstance(node, ast.arg):
            yield node, node.arg
        elif isinstance(node, ast.keyword | ast.alias):
            yield node, (node.arg if isinstance(node, ast.keyword) else node.name) or ""
        elif isinstance(node, ast.Constant) and id(node) not in prose and is_word(node.value):
            yield node, node.value


def test_core_knows_no_paper_by_name() -> None:
    words = re.compile(r"[a-z]+")
    wrong = [
        f"{where(path, node)} says {name!r}"
        for path in sources(CORE)
        for node, name in names_in(path)
        if any(PAPERS.fullmatch(word) for word in words.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
    ]
    assert wrong == []


def test_nothing_is_unpickled() -> None:
    """But by the one reader that rebuilds arrays from their bytes, for data sets that come as pickles."""
    reader = CORE / "data" / "layouts" / "pickles.py"
    used = {
        node.attr
        for node in ast.walk(tree(reader))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pickle"
    }
    assert used == {"Unpickler", "UnpicklingError"}
    wrong = []
    for folder in (CORE, *PLUGINS):
        for path in sources(folder):
            wrong += [
                f"{where(path, node)} imports {module}"
                for node, module in imported(path)
                if path != reader and top(module) in {"pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
            ]
            for node in ast.walk(tree(path)):
                if not isinstance(node, ast.Call):
                    continue
                called = _called(node)
                allowed = any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords)
                if called in {"torch.load", "pd.read_pickle", "pandas.read_pickle"} or allowed:
                    wrong.append(f"{where(path, node)} calls {called}")
    assert wrong == []
