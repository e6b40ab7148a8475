"""What the verbs share."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from noisyrun.api.errors import UserError
from noisyrun.config import flags
from noisyrun.plugins import Switches, discover
from noisyrun.registry import Registry, split

if TYPE_CHECKING:
    from noisyrun.config.resolve import RunConfig

_YES = (True, "true", "yes", "on", "1")


def version() -> str:
    """Version of noisyrun."""
    from importlib.metadata import version as of

    return of("noisyrun")


def open_registry(given: list[flags.Flag]) -> Registry:
    """Find the plugins, minding --disable-plugins and --only-plugins (which are taken from the list) and --strict."""
    disable = flags.take(given, "disable-plugins") or ""
    only = flags.take(given, "only-plugins")
    strict = any(flag.name == "strict" and flag.value in _YES for flag in given)
    return discover(Switches.of(split(disable), None if only is None else split(only), strict))


def complain(registry: Registry) -> None:
    """One line on stderr for everything that was left out because it was wrong."""
    for line in registry.complaints():
        print(line, file=sys.stderr)


def configure(words: list[str] | list[flags.Flag]) -> RunConfig:
    """The configuration of a run from the words of a command line."""
    from noisyrun.config.resolve import resolve

    given = [word for word in words if isinstance(word, flags.Flag)]
    given += flags.parse([word for word in words if isinstance(word, str)])
    registry = open_registry(given)
    try:
        config = resolve(args=given, registry=registry)
    except UserError:
        # What was left out may be just what the user asked for, under a name nobody can know.
        complain(registry)
        raise
    complain(registry)
    return config


def nothing_left(given: list[flags.Flag], known: list[str]) -> None:
    """Refuse flags that a verb does not have."""
    from noisyrun.suggest import did_you_mean

    if given:
        word = given[0].label
        raise UserError(f"{word}: no such option here{did_you_mean(given[0].name, known, '--')}")


def wants_help(words: list[str]) -> bool:
    """Whether a verb is asked for its help."""
    return "--help" in words or "-h" in words


def bold(text: str, stream: TextIO | None = None) -> str:
    """Bold on a terminal, plain elsewhere."""
    return f"\033[1m{text}\033[0m" if _styled(stream) else text


def faint(text: str, stream: TextIO | None = None) -> str:
    """Faint on a terminal, plain elsewhere."""
    return f"\033[2m{text}\033[0m" if _styled(stream) else text


def _styled(stream: TextIO | None) -> bool:
    stream = stream or sys.stdout
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def columns() -> int:
    """Columns that text may fill: those of the terminal, within reason."""
    import shutil

    return max(60, min(110, shutil.get_terminal_size((100, 24)).columns))


def entries(rows: list[tuple[str, str]], width: int | None = None, left: int = 30) -> str:
    """Two columns: terms, and what they mean, wrapped; a long term stands on a line of its own.

    Parameters
    ----------
    width
        Columns to fill; those of `columns` by default.
    left
        At most so many columns for the terms.
    """
    import textwrap

    width = width or columns()
    left = min(left, max((len(term) for term, _ in rows), default=0) + 2)
    lines = []
    for term, text in rows:
        wrapped = textwrap.wrap(text, width - left - 2, break_on_hyphens=False) or [""]
        if len(term) > left - 2:
            lines.append(f"  {bold(term)}")
        else:
            lines.append(f"  {bold(term)}{' ' * (left - len(term))}{wrapped.pop(0)}".rstrip())
        lines += [" " * (left + 2) + line for line in wrapped]
    return "\n".join(lines)
