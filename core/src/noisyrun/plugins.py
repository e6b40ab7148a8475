"""Discovery of plugins: entry points of the group `noisyrun`, loaded lazily and kept apart from each other.

Only a plugin's entry module is imported here, which imports no torch. What it is a record of is imported when it is
chosen. A distribution that cannot be read costs one line, unless the run asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

import pluggy

from noisyrun.api.errors import UserError
from noisyrun.api.plugin import API_VERSION, DiscoverySpec, Plugin, Recipe, fits, plugin_key
from noisyrun.registry import CORE, NOUNS, Found, FoundRecipe, Problem, Registry, Source, normal, one_line, split

GROUP = "noisyrun"
HOOKS = {"noisyrun_plugins", "noisyrun_recipes"}


@dataclass(frozen=True)
class Switches:
    """Which plugins to leave out.

    Attributes
    ----------
    disable
        Leave these out: plugins, ``kind.name``, entry points or distributions.
    only
        Leave all others out, and import no module of theirs; None: no limit. Distributions, with ``noisyrun-`` before
        them or not, or plugins of the catalogue. What core brings always stays.
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
        """Switches from arguments and from NOISYRUN_DISABLE_PLUGINS and NOISYRUN_ONLY_PLUGINS.

        Raises
        ------
        UserError
            When an argument would allow what the environment does not.
        """
        environ = os.environ if environ is None else environ
        off = tuple(disable) + split(environ.get("NOISYRUN_DISABLE_PLUGINS", ""))
        limit = split(environ["NOISYRUN_ONLY_PLUGINS"]) if environ.get("NOISYRUN_ONLY_PLUGINS") else None
        chosen = limit if only is None else tuple(only)
        if limit is not None and chosen is not None:
            named = {normal(word) for word in limit} | {CORE, "core"}
            whole = {name for name, whole in _distributions(limit).items() if whole}
            for word in chosen:
                if normal(word) not in named and not _distributions([word]).keys() & whole:
                    raise UserError(f"--only-plugins: NOISYRUN_ONLY_PLUGINS ({', '.join(limit)}) leaves out {word!r}")
        return cls(off, chosen, strict)


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


def _distributions(words: Iterable[str]) -> dict[str, bool]:
    """The distributions that some words name, and whether as a whole, or for one plugin of the catalogue.

    What an entry point calls itself decides nothing: anyone may call theirs as another.
    """
    from noisyrun import catalog

    found: dict[str, bool] = {}
    for word in map(normal, words):
        for row in catalog.load():
            if word in (normal(row.name), normal(plugin_key(row.kind, row.name))):
                found.setdefault(normal(row.package), False)
        found |= {word: True, normal(f"{CORE}-{word}"): True}
    return found


def _core_first(entry: EntryPoint) -> tuple[bool, str, str]:
    distribution = entry.dist.name if entry.dist else ""
    return (distribution != CORE, distribution, entry.name)


class _Finder:
    """Takes in one entry point after the other; nothing that one does reaches the next."""

    def __init__(self, switches: Switches) -> None:
        self.switches = switches
        self.disable = {normal(word) for word in switches.disable}
        self.only = None if switches.only is None else {normal(word) for word in switches.only}
        self.allowed = None if switches.only is None else _distributions(switches.only)
        self.unread: set[str] = set()
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
        if self.allowed is not None and not core and normal(source.distribution) not in self.allowed:
            # Importing it would run its code, which is what is not wanted.
            self.unread.add(source.distribution)
            self.disabled |= {normal(source.distribution), normal(source.entry)}
            return
        whole = core or self.allowed is None or self.allowed[normal(source.distribution)]
        try:
            module = entry.load()
            self.manager.register(module, name=f"{source.distribution}:{source.entry}")
            self._has_hooks(module)
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

    def _has_hooks(self, module: ModuleType) -> None:
        hooks = {caller.name for caller in self.manager.get_hookcallers(module) or ()}
        if not hooks & HOOKS:
            there = f"only {', '.join(sorted(hooks))}" if hooks else "nothing marked @hookimpl"
            raise TypeError(f"brings neither {' nor '.join(sorted(HOOKS))}, {there}")

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
            self.plugins,
            self.recipes,
            tuple(self.problems),
            self.collisions,
            frozenset(self.disabled),
            tuple(notes),
            self.switches.only,
            tuple(sorted(self.unread)),
        )
        if self.switches.strict and self.collisions:
            raise UserError(made.collision_line(min(self.collisions)))
        return made


def _misfit(record: Plugin) -> str:
    older = tuple(map(int, record.api.split("."))) < tuple(map(int, API_VERSION.split(".")))
    remedy = "install a newer version of the plugin" if older else "install a newer noisyrun"
    what = f"{NOUNS[record.kind]} {record.name!r}"
    return f"{what} is written for plugin API {record.api}, and this noisyrun has {API_VERSION}; {remedy}"
