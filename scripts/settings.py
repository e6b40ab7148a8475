"""docs/settings.md, made from the models: every verb, every setting of a run and of every plugin of this tree.

python scripts/settings.py
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from noisyrun.api import KINDS
from noisyrun.api.stage import Stage
from noisyrun.cli import VERBS
from noisyrun.cli.fieldhelp import field_rows
from noisyrun.config.fields import model_of
from noisyrun.config.settings import RunSettings
from noisyrun.plugins import Switches, discover
from noisyrun.registry import FLAGS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"

HEAD = """# Every setting

<!-- made by: python scripts/settings.py -->

What `noisyrun --help all` and `noisyrun --weighter NAME --help` print, on one page: verbs, settings of a run, fields of
a stage, settings of each plugin. [Command line](command-line.md) says how they fit together.
"""


def page() -> str:
    """The page."""
    return "\n".join([HEAD, *_verbs(), *_run(), *_plugins()]).rstrip() + "\n"


def _verbs() -> Iterator[str]:
    yield "## Verbs\n"
    for verb in VERBS:
        usage: str = import_module(f"noisyrun.cli.{verb.replace('-', '_')}").USAGE
        yield f"### {verb}\n\n```text\n{usage}\n```\n"


def _run() -> Iterator[str]:
    yield "## Settings of a run\n"
    yield _table(field_rows(RunSettings, "", nested=False))
    for name, field in RunSettings.model_fields.items():
        group = model_of(field.annotation)
        if group is not None:
            yield f"### {field.description or name}\n"
            yield _table(field_rows(group, f"{name}."))
    yield "### A stage\n\nKeys of `[[stages]]` in a recipe or a `--config` file.\n"
    yield _table(field_rows(Stage, "", dashes=""))


def _plugins() -> Iterator[str]:
    registry = discover(Switches.of())
    for kind in KINDS:
        yield f"## --{FLAGS[kind]}\n"
        for name in registry.names(kind):
            found = registry.get(kind, name)
            yield f"### {FLAGS[kind]} {name}\n\n{found.record.summary}\n"
            rows = field_rows(registry.config_class(kind, name), f"{FLAGS[kind]}.")
            yield _table(rows) if rows else "No settings.\n"


def _table(rows: list[tuple[str, str]]) -> str:
    lines = [f"| `{_bar(term)}` | {_cell(text)} |" for term, text in rows]
    return "\n".join(["| setting | what it does |", "| --- | --- |", *lines, ""])


def _bar(text: str) -> str:
    return text.replace("|", "\\|")


def _cell(text: str) -> str:
    return _bar(text).replace("<", "&lt;").replace(">", "&gt;").replace("[", "\\[").replace("]", "\\]")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
