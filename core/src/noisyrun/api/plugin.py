"""The record a plugin yields, and the hooks by which it is found. Imports neither torch nor pydantic."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import pluggy

#: Version of the contract between noisyrun and its plugins. A plugin fits when the majors agree and its minor is
#: not newer than this one; below 1.0 the minors must agree.
API_VERSION = "1.0"

#: The sockets, and the two kinds that are no socket: lifecycle observers and recipes come with plugins, too.
KINDS = ("backbone", "side_info", "prototypes", "weighter", "corrector", "lifecycle")

hookspec = pluggy.HookspecMarker("noisyrun")
hookimpl = pluggy.HookimplMarker("noisyrun")

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
_IMPORT = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z")


@dataclass(frozen=True)
class Plugin:
    """One method that fits one socket, described without importing it.

    Attributes
    ----------
    kind
        One of `KINDS`.
    name
        Lower-case words joined by hyphens; unique within its kind. What a user types: ``--weighter NAME``.
    api
        The contract version the plugin was written against, as `API_VERSION` reads there.
    summary
        One line for `noisyrun plugins`.
    factory
        Import string ``module:Class`` of the method.
    config
        Import string ``module:Class`` of its configuration, a `PluginConfig`. A module that does not import torch
        keeps `--help` quick.
    paper
        Where the method comes from: authors, venue, year; empty when there is none.

    Examples
    --------
    >>> Plugin(kind="weighter", name="small-loss", api="1.0", summary="Keeps the samples of small loss.",
    ...        factory="my_package.method:SmallLoss", config="my_package.config:SmallLossConfig").name
    'small-loss'
    """

    kind: str
    name: str
    api: str
    summary: str
    factory: str
    config: str
    paper: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: must be one of {', '.join(KINDS)} (got {self.kind!r})")
        if not _NAME.match(self.name):
            raise ValueError(f"name: must be lower-case words joined by hyphens (got {self.name!r})")
        if not re.match(r"\d+\.\d+\Z", self.api):
            raise ValueError(f"api: must be MAJOR.MINOR (got {self.api!r})")
        for field in ("factory", "config"):
            if not _IMPORT.match(getattr(self, field)):
                raise ValueError(f"{field}: must be an import string module:Class (got {getattr(self, field)!r})")


@dataclass(frozen=True)
class Recipe:
    """A paper's sockets and settings: a TOML file that a plugin ships, used as ``--recipe NAME``.

    Attributes
    ----------
    name
        What a user types.
    summary
        One line for `noisyrun plugins`.
    package
        Importable package that holds the file.
    path
        The file's path inside that package.
    """

    name: str
    summary: str
    package: str
    path: str


class DiscoverySpec:
    """The hooks by which a distribution says what it brings."""

    @hookspec
    def noisyrun_plugins(self) -> Iterable[Plugin]:  # type: ignore[empty-body]
        """Yield a record for every method of this distribution.

        Examples
        --------
        >>> from noisyrun.api import Plugin, hookimpl
        >>> @hookimpl
        ... def noisyrun_plugins():
        ...     yield Plugin(kind="weighter", name="ones", api="1.0", summary="Weighs every label 1.",
        ...                  factory="ones.method:Ones", config="ones.config:OnesConfig")
        >>> [p.name for p in noisyrun_plugins()]
        ['ones']
        """

    @hookspec
    def noisyrun_recipes(self) -> Iterable[Recipe]:  # type: ignore[empty-body]
        """Yield a record for every recipe of this distribution.

        Examples
        --------
        >>> from noisyrun.api import Recipe, hookimpl
        >>> @hookimpl
        ... def noisyrun_recipes():
        ...     yield Recipe(name="ones", summary="Plain training.", package="ones", path="recipes/ones.toml")
        >>> [r.name for r in noisyrun_recipes()]
        ['ones']
        """


def plugin_key(kind: str, name: str) -> str:
    """How errors, seeds, state and logs call a method: ``weighter.sinet``."""
    return f"{kind}.{name}"


def fits(api: str, host: str = API_VERSION) -> bool:
    """Whether a plugin written against `api` runs on a host of version `host`."""
    major, minor = (int(x) for x in api.split("."))
    host_major, host_minor = (int(x) for x in host.split("."))
    if major != host_major:
        return False
    return minor == host_minor if major == 0 else minor <= host_minor
