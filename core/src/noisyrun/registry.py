"""The plugins of a run: records, where they come from, and what was wrong with the others. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from noisyrun.api.errors import NoisyrunError, UserError
from noisyrun.api.plugin import KINDS, Plugin, Recipe, plugin_key

#: The distribution that brings the host itself: its plugins are always there.
CORE = "noisyrun"

#: How each kind is called in a sentence, and the flag that chooses it.
NOUNS = {
    "backbone": "backbone",
    "side_info": "side-info encoder",
    "prototypes": "prototype builder",
    "weighter": "weighter",
    "corrector": "corrector",
    "lifecycle": "tracker",
}
FLAGS = {kind: kind.replace("_", "-") for kind in KINDS} | {"lifecycle": "tracking"}


class BrokenPluginError(NoisyrunError):
    """A plugin that a run asked for cannot be loaded; its cause is the plugin's own error, traceback and all."""


@dataclass(frozen=True)
class Source:
    """The distribution an entry point belongs to."""

    distribution: str
    version: str
    entry: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class Found:
    """A record and the distribution that yields it."""

    record: Plugin
    source: Source

    @property
    def key(self) -> str:
        """``weighter.sinet``."""
        return plugin_key(self.record.kind, self.record.name)


@dataclass(frozen=True)
class FoundRecipe:
    """A recipe and the distribution that yields it."""

    record: Recipe
    source: Source


@dataclass(frozen=True)
class Problem:
    """Something that could not be taken in.

    Attributes
    ----------
    source
        The distribution at fault.
    reason
        What is wrong, in one line.
    cause
        The exception behind it, if there was one.
    kind, name
        What it would have been, where that is known.
    """

    source: Source
    reason: str
    cause: BaseException | None = None
    kind: str | None = None
    name: str | None = None

    def __str__(self) -> str:
        return f"plugin {self.source}: {self.reason}"

    def error(self) -> NoisyrunError:
        """The same as an exception: with its cause where it has one, else a line for the user."""
        if self.cause is None:
            return UserError(str(self))
        error = BrokenPluginError(str(self))
        error.__cause__ = self.cause
        return error

    def concerns(self, kind: str, name: str, package: str | None) -> bool:
        """Whether this may be what stands between a user and the plugin `kind`, `name` of `package`."""
        if self.name is not None:
            return (self.kind, self.name) == (kind, name)
        return bool({normal(self.source.entry), normal(self.source.distribution)} & homes(name, package))


@dataclass(frozen=True)
class Registry:
    """The plugins that are installed and fit, and what was wrong with the others.

    Attributes
    ----------
    only, unread
        What plugins are limited to; None: to nothing. Distributions that were therefore not read.
    """

    plugins: Mapping[tuple[str, str], Found] = field(default_factory=dict)
    recipes: Mapping[str, FoundRecipe] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    collisions: Mapping[tuple[str, str], tuple[Source, ...]] = field(default_factory=dict)
    disabled: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    unread: tuple[str, ...] = ()

    def limit(self) -> str | None:
        """One line that says which plugins this installation is limited to, if it is, and what was not read."""
        if self.only is None:
            return None
        left = f"; not read: {', '.join(self.unread)}" if self.unread else "; nothing else is installed"
        others = [word for word in self.only if normal(word) not in ("core", CORE)]
        return f"limited to {', '.join(['core', *others])} (--only-plugins, NOISYRUN_ONLY_PLUGINS){left}"

    def of_kind(self, kind: str) -> list[Found]:
        """All plugins of a kind, by name."""
        return [self.plugins[key] for key in sorted(self.plugins) if key[0] == kind]

    def names(self, kind: str) -> list[str]:
        """Their names."""
        return [found.record.name for found in self.of_kind(kind)]

    def get(self, kind: str, name: str) -> Found:
        """The plugin of a kind and name.

        Raises
        ------
        UserError
            When there is none (with how to get it, where the catalogue knows), two, or one for another API.
        BrokenPluginError
            When its distribution cannot be imported.
        """
        key = (kind, name)
        if key in self.plugins:
            return self.plugins[key]
        if key in self.collisions:
            raise UserError(self.collision_line(key))
        from noisyrun import catalog
        from noisyrun.suggest import did_you_mean

        row = catalog.find(kind, name)
        for problem in self.problems:
            if problem.concerns(kind, name, row.package if row else None):
                raise problem.error()
        words = {plugin_key(kind, name), *homes(name, row.package if row else None)}
        if self.disabled & {normal(word) for word in words}:
            raise UserError(f"{NOUNS[kind]} {name!r} is switched off{self._switches()}")
        if self.unread and not did_you_mean(name, self.names(kind)):
            raise UserError(f"no {NOUNS[kind]} {name!r} here: {self.limit()}")
        raise UserError(f"no {NOUNS[kind]} {name!r} is installed; {catalog.hint(self, kind, name)}")

    def _switches(self) -> str:
        limit = self.limit()
        return f": {limit}" if limit else " (--disable-plugins, NOISYRUN_DISABLE_PLUGINS)"

    def recipe(self, name: str) -> FoundRecipe:
        """The recipe of a name.

        Raises
        ------
        UserError
            When there is none, or two.
        """
        if name in self.recipes:
            return self.recipes[name]
        if ("recipe", name) in self.collisions:
            raise UserError(self.collision_line(("recipe", name)))
        from noisyrun.suggest import did_you_mean

        if self.unread and not did_you_mean(name, list(self.recipes)):
            raise UserError(f"no recipe {name!r} here: {self.limit()}")
        known = sorted(self.recipes)
        there = f"installed: {', '.join(known)}" if known else "no plugin that brings one is installed"
        raise UserError(f"no recipe {name!r} is installed{did_you_mean(name, known)}; {there}")

    def config_class(self, kind: str, name: str) -> type[Any]:
        """The configuration model of a plugin; imports its module, which imports no torch."""
        from noisyrun.api.config import PluginConfig

        return self._load(self.get(kind, name), "config", PluginConfig)

    def factory(self, kind: str, name: str, base: type[Any] | None = None) -> type[Any]:
        """The class of a plugin, to be called with its configuration. Imports what the plugin is made of."""
        return self._load(self.get(kind, name), "factory", base)

    def _load(self, found: Found, what: str, base: type[Any] | None) -> type[Any]:
        path: str = getattr(found.record, what)
        module, _, attribute = path.partition(":")
        try:
            loaded = getattr(import_module(module), attribute)
        except Exception as error:
            raise BrokenPluginError(f"{found.key} of {found.source}: {what} {path} cannot be imported") from error
        if not isinstance(loaded, type) or (base is not None and not issubclass(loaded, base)):
            want = "a class" if base is None else f"a {base.__name__}"
            raise UserError(f"{found.key} of {found.source}: {what} {path} must be {want}")
        return loaded

    def collision_line(self, key: tuple[str, str]) -> str:
        homes = " and ".join(str(source) for source in self.collisions[key])
        # Core cannot be left out, and nobody wants it to be.
        first = next((s.distribution for s in self.collisions[key] if normal(s.distribution) != CORE), CORE)
        what = f"{NOUNS.get(key[0], key[0])} {key[1]!r}"
        return f"{what} comes with both {homes}; uninstall one, or leave it out with --disable-plugins {first}"

    def complaints(self) -> list[str]:
        """One line for everything that was left out because it was wrong, for stderr."""
        lines = [f"warning: {problem}; left out" for problem in self.problems]
        lines += [f"warning: {self.collision_line(key)}" for key in sorted(self.collisions)]
        return lines + list(self.notes)


def homes(name: str, package: str | None) -> set[str]:
    """What the entry point or distribution of a plugin may be called."""
    return {normal(name), normal(f"noisyrun-{name}"), normal(package or name)}


def normal(word: str) -> str:
    """A distribution's or plugin's name in the one form that compares."""
    return re.sub(r"[-_]+", "-", word.strip()).lower()


def split(text: str) -> tuple[str, ...]:
    """Comma-separated names."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def one_line(error: BaseException) -> str:
    """An exception's type and the first line of its message."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
