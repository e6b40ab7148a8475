"""The grammar of the command line: ``--socket name``, ``--socket.field value``, ``--group.field=value``, ``--no-flag``.

It needs no schema: whatever follows a flag and is no flag itself is its value. What the value means, the field says
later. Imports nothing, so that help stays quick.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from noisyrun.api.errors import UserError


@dataclass(frozen=True)
class Flag:
    """One flag as it was typed.

    Attributes
    ----------
    path
        Its dotted parts, without dashes in front.
    value
        Its value; True where it has none.
    """

    path: tuple[str, ...]
    value: str | bool

    @property
    def label(self) -> str:
        """``--weighter.alpha``."""
        return "--" + ".".join(self.path)

    @property
    def name(self) -> str:
        """``weighter.alpha``, with dashes only."""
        return ".".join(self.path).replace("_", "-").lower()


def parse(tokens: Sequence[str]) -> list[Flag]:
    """Split the words of a command line into flags.

    Raises
    ------
    UserError
        For a word that belongs to no flag, a malformed flag, and a flag that is given twice.
    """
    flags: list[Flag] = []
    waiting = list(tokens)
    while waiting:
        token = waiting.pop(0)
        if token == "-h":
            token = "--help"
        if not token.startswith("--"):
            raise UserError(_stray(token, flags))
        word, equals, value = token[2:].partition("=")
        path = tuple(word.split("."))
        if not all(path):
            raise UserError(f"{token}: a flag reads --name or --group.name")
        if equals:
            flags.append(Flag(path, value))
        elif waiting and not waiting[0].startswith("--") and waiting[0] != "-h":
            flags.append(Flag(path, waiting.pop(0)))
        else:
            flags.append(Flag(path, True))
    _once(flags)
    return flags


def _stray(token: str, flags: Sequence[Flag]) -> str:
    if flags:
        return f"unexpected {token!r} after {flags[-1].label}; a list takes commas: {flags[-1].label} a,b"
    return f"unexpected {token!r}; options start with --"


def _once(flags: Iterable[Flag]) -> None:
    seen: dict[str, Flag] = {}
    for flag in flags:
        if flag.name in seen:
            raise UserError(f"{flag.label}: given twice ({_shown(seen[flag.name])} and {_shown(flag)})")
        seen[flag.name] = flag


def _shown(flag: Flag) -> str:
    return "without a value" if flag.value is True else str(flag.value)


def take(flags: list[Flag], name: str) -> str | None:
    """Remove a flag that needs a value from the list and return the value; None when it was not given."""
    flag = _pop(flags, name)
    if flag is None:
        return None
    if isinstance(flag.value, bool):
        raise UserError(f"{flag.label}: needs a value")
    return flag.value


def take_switch(flags: list[Flag], name: str) -> bool:
    """Remove a flag that takes no value from the list; whether it was given."""
    flag = _pop(flags, name)
    if flag is not None and flag.value is not True:
        raise UserError(f"{flag.label}: takes no value (got {flag.value!r})")
    return flag is not None


def _pop(flags: list[Flag], name: str) -> Flag | None:
    found = next((flag for flag in flags if flag.name == name), None)
    if found is not None:
        flags.remove(found)
    return found
