"""``noisyrun new-plugin``: a package for a plugin to start from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from noisyrun import catalog
from noisyrun.api.errors import UserError
from noisyrun.cli.common import nothing_left, open_registry, wants_help
from noisyrun.config import flags
from noisyrun.registry import NOUNS, Registry, normal
from noisyrun.scaffold import SOCKETS, new_plugin, option

USAGE = f"""\
noisyrun new-plugin NAME --socket SOCKET [--out DIR]

Write a package for a plugin of your own, called NAME (lower-case words joined by hyphens). It installs with pip, is
used as --SOCKET NAME, and passes the conformance suite: replace its small method by yours.

  --socket   {", ".join(map(option, SOCKETS))}
  --out      where it goes; ./noisyrun-NAME by default"""


def main(words: list[str]) -> int:
    """Write the package, and say what comes next."""
    if wants_help(words):
        print(USAGE)
        return 0
    if not words or words[0].startswith("-"):
        raise UserError("new-plugin: name the plugin first: noisyrun new-plugin small-loss --socket weighter")
    name, given = words[0], flags.parse(words[1:])
    socket, out = flags.take(given, "socket"), flags.take(given, "out")
    nothing_left(given, ["socket", "out"])
    if socket is None:
        raise UserError(f"--socket: say which socket it fits: {', '.join(map(option, SOCKETS))}")
    folder = Path(out or f"noisyrun-{name}")
    kind = socket.replace("-", "_")
    made = new_plugin(name, kind, folder)
    for line in taken(kind, name, open_registry([])):
        print(f"warning: {line}", file=sys.stderr)
    print(f"written {folder}")
    for path in made:
        print(f"  {path}")
    print(f"\nnext\n  pip install -e '{folder}[test]'\n  noisyrun --{socket} {name}\n  pytest {folder}")
    return 0


def taken(kind: str, name: str, registry: Registry) -> Iterator[str]:
    """What already has the name: one line for a plugin of the same socket, one for a distribution."""
    row, key = catalog.find(kind, name), (kind, name)
    sources = registry.collisions.get(key, ())
    if key in registry.plugins:
        sources = (registry.plugins[key].source,)
    home = " and ".join(map(str, sources)) or (row.package if row else "")
    if home:
        yield f"{NOUNS[kind]} {name!r} comes with {home}: installed together, neither can be used; take another name"
    distribution = f"noisyrun-{name}"
    if any(normal(known.package) == distribution for known in catalog.load()) or _installed(distribution):
        yield f"{distribution} is another distribution, in whose place pip would put yours: rename it in pyproject.toml"


def _installed(distribution: str) -> bool:
    try:
        return bool(version(distribution))
    except PackageNotFoundError:
        return False
