"""The catalogue of known plugins: what could be installed, and how. Never the loader."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noisyrun.registry import Registry


@dataclass(frozen=True)
class Row:
    """One plugin of the catalogue.

    Attributes
    ----------
    kind, name, api, paper
        As in the plugin's record.
    package
        The distribution that brings it.
    status
        ``core``, ``stable``, ``beta`` or ``alpha``.
    install
        ``core``; a folder of the noisyrun source; or ``pypi:NAME`` once it is published.
    """

    kind: str
    name: str
    package: str
    api: str
    paper: str
    status: str
    install: str

    @property
    def how(self) -> str:
        """How to install it. A name that is not published is never given to pip: anyone could take it."""
        if self.install == "core":
            return "part of noisyrun"
        if self.install.startswith("pypi:"):
            return f"pip install {self.install.removeprefix('pypi:')}"
        return f"pip install ./{self.install} in a checkout of noisyrun"


@cache
def load() -> tuple[Row, ...]:
    """All rows, in the order of the file."""
    import tomllib

    text = files("noisyrun").joinpath("registry.toml").read_text(encoding="utf-8")
    return tuple(Row(**row) for row in tomllib.loads(text)["plugin"])


def find(kind: str, name: str) -> Row | None:
    """The row of a plugin, or None."""
    return next((row for row in load() if (row.kind, row.name) == (kind, name)), None)


def hint(registry: Registry, kind: str, name: str) -> str:
    """What to do about a plugin that is not installed: how to get it, or which one may have been meant."""
    from noisyrun.registry import FLAGS
    from noisyrun.suggest import did_you_mean

    row = find(kind, name)
    if row is not None:
        return f"it comes with {row.package}: {row.how}"
    installed = registry.names(kind)
    listed = f"installed: {', '.join(installed)}" if installed else "none is installed"
    known = [*installed, *(row.name for row in load() if row.kind == kind)]
    meant = did_you_mean(name, known).strip(" ()")
    if not meant and (others := sorted(FLAGS[k] for k, n in registry.plugins if n == name)):
        meant = f"{name!r} fits --{' and --'.join(others)}"
    return "; ".join(part for part in (meant, listed) if part)
