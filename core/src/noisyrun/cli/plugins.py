"""``noisyrun plugins``: what is installed, and what could be."""

from __future__ import annotations

import json
from typing import Any

from noisyrun import catalog
from noisyrun.api.plugin import KINDS
from noisyrun.cli.common import bold, complain, entries, nothing_left, open_registry, wants_help
from noisyrun.config import flags
from noisyrun.registry import FLAGS, NOUNS, Registry

USAGE = """\
noisyrun plugins [--available] [--json]

List the plugins that are installed, by socket, and their recipes.

  --available            also those of the catalogue that are not installed, and how to install them
  --json                 as JSON
  --disable-plugins A,B  as for a run
  --only-plugins A,B     read these and core's own, and import nothing of any other (NOISYRUN_ONLY_PLUGINS)"""


def main(words: list[str]) -> int:
    """List plugins."""
    if wants_help(words):
        print(USAGE)
        return 0
    given = flags.parse(words)
    registry = open_registry(given)
    available, as_json = flags.take_switch(given, "available"), flags.take_switch(given, "json")
    flags.take_switch(given, "strict")
    nothing_left(given, ["available", "json", "disable-plugins", "only-plugins", "strict"])
    complain(registry)
    rows = _rows(registry, available)
    if as_json:
        limit = {"only": registry.only, "not_read": registry.unread} if registry.only is not None else {}
        print(json.dumps({"plugins": rows, "recipes": _recipes(registry), **limit}, indent=2))
    else:
        print("\n\n".join(filter(None, (_text(rows, registry), registry.limit()))))
    return 0


def _rows(registry: Registry, available: bool) -> list[dict[str, Any]]:
    """One record a plugin: the installed ones, then those of the catalogue that are not."""
    rows = []
    for kind in KINDS:
        for found in registry.of_kind(kind):
            known = catalog.find(kind, found.record.name) if available else None
            rows.append(
                {
                    "kind": kind,
                    "name": found.record.name,
                    "installed": True,
                    "package": found.source.distribution,
                    "version": found.source.version,
                    "api": found.record.api,
                    "summary": found.record.summary,
                    "paper": found.record.paper,
                    **({"status": known.status} if known else {}),
                }
            )
    for row in catalog.load() if available else ():
        if (row.kind, row.name) not in registry.plugins:
            rows.append(
                {
                    "kind": row.kind,
                    "name": row.name,
                    "installed": False,
                    "package": row.package,
                    "api": row.api,
                    "paper": row.paper,
                    "status": row.status,
                    "install": row.how,
                }
            )
    return rows


def _recipes(registry: Registry) -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "package": found.source.distribution,
            "version": found.source.version,
            "summary": found.record.summary,
        }
        for name, found in sorted(registry.recipes.items())
    ]


def _text(rows: list[dict[str, Any]], registry: Registry) -> str:
    parts = []
    for kind in KINDS:
        mine = [row for row in rows if row["kind"] == kind]
        title = f"{bold(f'--{FLAGS[kind]}')}  {NOUNS[kind]}"
        parts.append(f"{title}\n{entries([_line(row) for row in mine]) if mine else '  none installed'}")
    if registry.recipes:
        lines = [(r["name"], f"{r['summary']} ({r['package']} {r['version']})") for r in _recipes(registry)]
        parts.append(f"{bold('--recipe')}  sockets and settings in one\n{entries(lines)}")
    return "\n\n".join(parts)


def _line(row: dict[str, Any]) -> tuple[str, str]:
    if row["installed"]:
        return row["name"], f"{row['summary']} ({row['package']} {row['version']})"
    return row["name"], f"not installed: {row['install']} ({row['package']}, {row['status']})"
