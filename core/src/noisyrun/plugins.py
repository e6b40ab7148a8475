"""Discovery of plugins: entry points of the group `noisyrun`, loaded lazily and kept apart from each other.

Only a plugin's entry module is imported here, which imports no torch. What it is a record of is imported when it is
chosen. A distribution that cannot be read costs one line, unless the run asks for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

import pluggy

from noisyrun.api.errors import NoisyrunError, UserError
from noisyrun.api.plugin import API_VERSION, KINDS, DiscoverySpec, Plugin, Recipe, fits, plugin_key

GROUP = "noisyrun"
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
        return bool({normal(self.source.entry), normal(self.source.distribution)} & _homes(name, package))


@dataclass(frozen=True)
class Switches:
    """Which plugins to leave out. Names are those of plugins, ``kind.name``, entry points or distributions.

    Attributes
    ----------
    disable
        Leave these out.
    only
        Leave all others out; None: no limit. What core brings always stays.
    strict
        Raise on everything that is wrong, chosen or not.
    """

    disable: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    strict: bool = False

    @classmethod
    def of(
        cls,
        disable: Iterable[str] = (),
        only: Iterable[str] | None = None,
        strict: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> Switches:
        """Switches from arguments and from NOISYRUN_DISABLE_PLUGINS and NOISYRUN_ONLY_PLUGINS."""
        environ = os.environ if environ is None else environ
        off = tuple(disable) + split(environ.get("NOISYRUN_DISABLE_PLUGINS", ""))
        if only is None and environ.get("NOISYRUN_ONLY_PLUGINS"):
            only = split(environ["NOISYRUN_ONLY_PLUGINS"])
        return cls(off, None if only is None else tuple(only), strict)


@dataclass(frozen=True)
class Registry:
    """The plugins that are installed and fit, and what was wrong with the others."""

    plugins: Mapping[tuple[str, str], Found] = field(default_factory=dict)
    recipes: Mapping[str, FoundRecipe] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    collisions: Mapping[tuple[str, str], tuple[Source, ...]] = field(default_factory=dict)
    disabled: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

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
            raise UserError(self._collision(key))
        from noisyrun import catalog

        row = catalog.find(kind, name)
        for problem in self.problems:
            if problem.concerns(kind, name, row.package if row else None):
                raise problem.error()
        words = {plugin_key(kind, name), *_homes(name, row.package if row else None)}
        if self.disabled & {normal(word) for word in words}:
            raise UserError(f"{NOUNS[kind]} {name!r} is switched off (--disable-plugins, --only-plugins)")
        raise UserError(f"no {NOUNS[kind]} {name!r} is installed; {catalog.hint(self, kind, name)}")

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
            raise UserError(self._collision(("recipe", name)))
        from noisyrun.suggest import did_you_mean

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

    def _collision(self, key: tuple[str, str]) -> str:
        homes = " and ".join(str(source) for source in self.collisions[key])
        first = self.collisions[key][0].distribution
        what = f"{NOUNS.get(key[0], key[0])} {key[1]!r}"
        return f"{what} comes with both {homes}; uninstall one, or leave it out with --disable-plugins {first}"

    def complaints(self) -> list[str]:
        """One line for everything that was left out because it was wrong, for stderr."""
        lines = [f"warning: {problem}; left out" for problem in self.problems]
        lines += [f"warning: {self._collision(key)}" for key in sorted(self.collisions)]
        return lines + list(self.notes)


def discover(switches: Switches | None = None, entries: Iterable[EntryPoint] | None = None) -> Registry:
    """Find all installed plugins.

    Parameters
    ----------
    switches
        What to leave out; by default what the environment says.
    entries
        Entry points to read; by default those of the group `noisyrun`.

    Raises
    ------
    UserError, BrokenPluginError
        In strict mode, for the first thing that is wrong.
    """
    switches = Switches.of() if switches is None else switches
    finder = _Finder(switches)
    for entry in sorted(entry_points(group=GROUP) if entries is None else entries, key=_core_first):
        finder.take(entry)
    return finder.registry()


def _core_first(entry: EntryPoint) -> tuple[bool, str, str]:
    distribution = entry.dist.name if entry.dist else ""
    return (distribution != CORE, distribution, entry.name)


class _Finder:
    """Takes in one entry point after the other; nothing that one does reaches the next."""

    def __init__(self, switches: Switches) -> None:
        self.switches = switches
        self.disable = {normal(word) for word in switches.disable}
        self.only = None if switches.only is None else {normal(word) for word in switches.only}
        self.manager = pluggy.PluginManager(GROUP)
        self.manager.add_hookspecs(DiscoverySpec)
        self.plugins: dict[tuple[str, str], Found] = {}
        self.recipes: dict[str, FoundRecipe] = {}
        self.problems: list[Problem] = []
        self.collisions: dict[tuple[str, str], tuple[Source, ...]] = {}
        self.disabled: set[str] = set()
        self.words: set[str] = set()

    def take(self, entry: EntryPoint) -> None:
        source = Source(
            entry.dist.name if entry.dist else "unknown distribution",
            entry.dist.version if entry.dist else "?",
            entry.name,
        )
        self.words |= {normal(source.distribution), normal(source.entry)}
        core = normal(source.distribution) == CORE
        if not core and self.disable & {normal(source.distribution), normal(source.entry)}:
            self.disabled |= {normal(source.distribution), normal(source.entry)}
            return
        whole = self.only is None or core or bool(self.only & {normal(source.distribution), normal(source.entry)})
        try:
            module = entry.load()
            self.manager.register(module, name=f"{source.distribution}:{source.entry}")
            records = self._records(module, "noisyrun_plugins")
            recipes = self._records(module, "noisyrun_recipes")
        except Exception as error:
            if whole:
                self._problem(Problem(source, f"cannot be loaded ({one_line(error)})", error))
            return
        for record in records:
            self._take_plugin(record, source, whole)
        for recipe in recipes:
            self._take_recipe(recipe, source, whole)

    def _records(self, module: ModuleType, hook: str) -> list[object]:
        others = [plugin for plugin in self.manager.get_plugins() if plugin is not module]
        answers = self.manager.subset_hook_caller(hook, others)()
        return [record for answer in answers for record in answer]

    def _take_plugin(self, record: object, source: Source, whole: bool) -> None:
        if not isinstance(record, Plugin):
            self._problem(Problem(source, f"yields a {type(record).__name__} where a Plugin is expected"))
            return
        key = (record.kind, record.name)
        words = {normal(record.name), normal(plugin_key(*key))}
        self.words |= words
        if self.disable & words or not (whole or self.only is None or self.only & words):
            self.disabled.add(normal(plugin_key(*key)))
        elif not fits(record.api):
            self._problem(Problem(source, _misfit(record), kind=record.kind, name=record.name))
        elif key in self.collisions or key in self.plugins:
            self._collide(key, self.plugins.pop(key).source if key in self.plugins else None, source)
        else:
            self.plugins[key] = Found(record, source)

    def _take_recipe(self, record: object, source: Source, whole: bool) -> None:
        if not isinstance(record, Recipe):
            self._problem(Problem(source, f"yields a {type(record).__name__} where a Recipe is expected"))
            return
        key = ("recipe", record.name)
        words = {normal(record.name)}
        if self.disable & words or not (whole or self.only is None or self.only & words):
            return
        if key in self.collisions or record.name in self.recipes:
            old = self.recipes.pop(record.name).source if record.name in self.recipes else None
            self._collide(key, old, source)
        else:
            self.recipes[record.name] = FoundRecipe(record, source)

    def _collide(self, key: tuple[str, str], old: Source | None, new: Source) -> None:
        before = self.collisions.get(key, ()) if old is None else (old,)
        self.collisions[key] = (*before, new)

    def _problem(self, problem: Problem) -> None:
        if self.switches.strict:
            raise problem.error()
        self.problems.append(problem)

    def registry(self) -> Registry:
        from noisyrun.suggest import did_you_mean

        notes = [
            f"warning: {flag}: nothing installed is called {word!r}{did_you_mean(word, sorted(self.words))}"
            for flag, words in (("--disable-plugins", self.switches.disable), ("--only-plugins", self.switches.only))
            for word in words or ()
            if normal(word) not in self.words
        ]
        made = Registry(
            self.plugins, self.recipes, tuple(self.problems), self.collisions, frozenset(self.disabled), tuple(notes)
        )
        if self.switches.strict and self.collisions:
            raise UserError(made._collision(min(self.collisions)))
        return made


def _homes(name: str, package: str | None) -> set[str]:
    """What the entry point or distribution of a plugin may be called."""
    return {normal(name), normal(f"noisyrun-{name}"), normal(package or name)}


def _misfit(record: Plugin) -> str:
    older = tuple(map(int, record.api.split("."))) < tuple(map(int, API_VERSION.split(".")))
    remedy = "install a newer version of the plugin" if older else "install a newer noisyrun"
    what = f"{NOUNS[record.kind]} {record.name!r}"
    return f"{what} is written for plugin API {record.api}, and this noisyrun has {API_VERSION}; {remedy}"


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
