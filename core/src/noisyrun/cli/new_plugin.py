"""``noisyrun new-plugin``: a package for a plugin to start from."""

from __future__ import annotations

from pathlib import Path

from noisyrun.api.errors import UserError
from noisyrun.cli.common import nothing_left, wants_help
from noisyrun.config import flags
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
    made = new_plugin(name, socket.replace("-", "_"), folder)
    print(f"written {folder}")
    for path in made:
        print(f"  {path}")
    print(f"\nnext\n  pip install -e '{folder}[test]'\n  noisyrun --{socket} {name}\n  pytest {folder}")
    return 0
