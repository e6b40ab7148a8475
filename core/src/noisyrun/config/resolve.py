"""One run's configuration: which plugin sits in which socket, and every setting, validated once.

Defaults < recipe < file < overrides from Python < flags. The sockets are read first, so that only the chosen
plugins' configuration models are imported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema

from noisyrun.api.config import PluginConfig
from noisyrun.api.errors import UserError
from noisyrun.api.plugin import KINDS, plugin_key
from noisyrun.builtin import DEFAULT_TRACKER
from noisyrun.config import fields, flags
from noisyrun.config.errors import lines, unknown_option
from noisyrun.config.layers import (
    SOCKETS,
    Assignment,
    Layer,
    Selection,
    from_file,
    from_flags,
    from_mapping,
    from_recipe,
)
from noisyrun.config.lengths import fit_epochs
from noisyrun.config.settings import RunSettings
from noisyrun.plugins import Switches, discover
from noisyrun.registry import FLAGS, NOUNS, Registry, normal

#: Flags that are no settings, for suggestions.
SPECIAL = ("config", "disable-plugins", "only-plugins", "help", "help-all")

Sockets = Mapping[str, Mapping[str, PluginConfig]]


@dataclass(frozen=True)
class RunConfig:
    """One run's configuration.

    Attributes
    ----------
    settings
        All that is no plugin's.
    sockets
        For every kind, the chosen plugins' configurations by name, in stacking order.
    notes
        Lines the user should read.
    registry
        Where the plugins come from.
    """

    settings: RunSettings
    sockets: Sockets
    notes: tuple[str, ...] = field(default=(), compare=False)
    registry: Registry = field(default_factory=Registry, compare=False, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The whole configuration as JSON values; `from_dict` and ``--config FILE.json`` take it back."""
        sockets = {
            kind: {name: config.model_dump(mode="json") for name, config in self.sockets[kind].items()}
            for kind in KINDS
        }
        return sockets | self.settings.model_dump(mode="json")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], registry: Registry | None = None) -> RunConfig:
        """The configuration that `as_dict` gave.

        Raises
        ------
        UserError
            When one of its plugins is no longer installed, or a value no longer valid.
        """
        registry = _discovered(Switches.of()) if registry is None else registry
        resolver = _Resolver(registry)
        for kind in KINDS:
            for name, config in values.get(kind, {}).items():
                resolver.choose(kind, name)
                resolver.raw[kind, name] = dict(config)
        resolver.settings = {key: value for key, value in values.items() if key not in KINDS}
        return resolver.build(())

    def schema(self) -> dict[str, Any]:
        """JSON schema of a configuration file in which the chosen plugins sit in the sockets."""
        models: list[tuple[type[BaseModel], Any]] = [(RunSettings, "validation")]
        models += [(type(made), "validation") for chosen in self.sockets.values() for made in chosen.values()]
        refs, shared = models_json_schema(models)
        definitions = shared["$defs"]
        whole: dict[str, Any] = definitions.pop(refs[RunSettings, "validation"]["$ref"].rpartition("/")[2])
        for kind, chosen in self.sockets.items():
            whole["properties"][FLAGS[kind].replace("-", "_")] = {
                "description": f"The {NOUNS[kind]}: a name, a list of names, or a table of settings for each.",
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": {"type": "string"}},
                    {
                        "type": "object",
                        "properties": {name: refs[type(made), "validation"] for name, made in chosen.items()},
                    },
                ],
            }
        return whole | {"$defs": definitions, "$schema": "https://json-schema.org/draft/2020-12/schema"}

    def flat(self) -> dict[str, str]:
        """The same, flattened to dotted names and text, for trackers."""
        return dict(_flatten((), self.as_dict()))


def resolve(
    overrides: Mapping[str, Any] | Sequence[tuple[str, Mapping[str, Any]]] | None = None,
    *,
    args: Sequence[str | flags.Flag] = (),
    config: Path | str | None = None,
    registry: Registry | None = None,
) -> RunConfig:
    """Make one run's configuration.

    Parameters
    ----------
    overrides
        Settings from Python, nested or with dotted keys: ``{"weighter": "sinet", "weighter.alpha": 1.2}``. Or several
        such, the highest last, each with the name that errors call it.
    args
        Flags, as words or parsed; they win.
    config
        A TOML file, or the JSON of a resolved configuration.
    registry
        The plugins; discovered by default.

    Raises
    ------
    UserError
        One line for everything that is wrong.
    BrokenPluginError
        When a chosen plugin cannot be imported.
    """
    words = [word for word in args if isinstance(word, str)]
    parsed = [word for word in args if isinstance(word, flags.Flag)] + flags.parse(words)
    config = flags.take(parsed, "config") or config
    layers = [from_flags(parsed)]
    if overrides:
        given = [("", overrides)] if isinstance(overrides, Mapping) else overrides
        layers[:0] = [from_mapping(values, where) for where, values in given]
    if config is not None:
        layers.insert(0, from_file(Path(config)))
    if registry is None:
        registry = _discovered(Switches.of(strict=_says(layers, "strict") in (True, "true", "yes", "on", "1")))
    recipe = _says(layers, "recipe")
    if recipe is not None:
        layers.insert(0, from_recipe(registry.recipe(str(recipe))))
    tracker, notes = _default_tracker(registry, layers)
    resolver = _Resolver(registry)
    resolver.select([tracker, *layers])
    for layer in layers:
        resolver.assign(layer)
    made = resolver.build(notes)
    settings, said = fit_epochs(made.settings, layers)
    return replace(made, settings=settings, notes=(*notes, *said))


def _discovered(switches: Switches) -> Registry:
    registry = discover(switches)
    for line in registry.complaints():
        print(line, file=sys.stderr)
    return registry


def _says(layers: Iterable[Layer], name: str) -> Any:
    return next((value for layer in reversed(list(layers)) if (value := layer.value(name)) is not None), None)


def _default_tracker(registry: Registry, layers: Iterable[Layer]) -> tuple[Layer, tuple[str, ...]]:
    layer = Layer()
    plugin, package = DEFAULT_TRACKER
    if any("lifecycle" in other.selections for other in layers) or ("lifecycle", plugin) not in registry.plugins:
        return layer, ()
    if find_spec(package) is None:
        return layer, (f"{package} is not installed, so this run is not tracked",)
    layer.select("lifecycle", (plugin,), "default")
    return layer, ()


class _Resolver:
    """Gathers what the layers say and validates it once."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.models: dict[tuple[str, str], type[PluginConfig]] = {}
        self.raw: dict[tuple[str, str], dict[str, Any]] = {}
        self.settings: dict[str, Any] = {}
        self.labels: dict[tuple[str, ...], str] = {}
        self.errors: list[str] = []

    def select(self, layers: Iterable[Layer]) -> None:
        """Take the highest layer's plugins for each socket, and import their configuration models."""
        selections: dict[str, Selection] = {}
        for layer in layers:
            selections |= layer.selections
        for kind in KINDS:
            selection = selections.get(kind, Selection((), ""))
            for name in selection.names:
                try:
                    self.choose(kind, name)
                except UserError as error:
                    self.errors.append(f"{selection.label}: {error}")
        self.stop()

    def choose(self, kind: str, name: str) -> None:
        """Take a plugin."""
        self.models[kind, name] = self.registry.config_class(kind, name)
        self.raw[kind, name] = {}

    def names(self, kind: str) -> list[str]:
        """Chosen plugins of a kind."""
        return [name for chosen, name in self.models if chosen == kind]

    def assign(self, layer: Layer) -> None:
        """Lay one layer's values over what is there."""
        for one in layer.assignments:
            kind = SOCKETS.get(normal(one.path[0]))
            if kind is None:
                self._put(one, RunSettings, one.path, self.settings, ())
            else:
                self._assign_plugin(one, kind)

    def _assign_plugin(self, one: Assignment, kind: str) -> None:
        chosen, flag = self.names(kind), FLAGS[kind]
        owner = next((name for name in chosen if name == normal(one.path[1])), None)
        if owner is not None:
            path = one.path[2:]
        elif one.optional and len(one.path) > 2 and normal(one.path[1]) in self.registry.names(kind):
            return
        elif not chosen:
            wanted = one.path[1] if len(one.path) > 2 else "NAME"
            self.errors.append(f"{one.label}: no {NOUNS[kind]} is chosen; add --{flag} {wanted}")
            return
        elif len(one.path) > 2 and normal(one.path[1]) in self.registry.names(kind):
            self.errors.append(f"{one.label}: {NOUNS[kind]} {one.path[1]!r} is not chosen; add --{flag} {one.path[1]}")
            return
        elif len(chosen) > 1:
            rest = ".".join(one.path[1:])
            candidates = [name for name in chosen if fields.find(self.models[kind, name], one.path[1:])] or chosen
            listed = " or ".join(f"--{flag}.{name}.{rest}" for name in candidates)
            self.errors.append(f"{one.label}: --{flag} holds {', '.join(chosen)}; say {listed}")
            return
        else:
            owner, path = chosen[0], one.path[1:]
        if path or one.value != {}:
            self._put(one, self.models[kind, owner], path, self.raw[kind, owner], (kind, owner))

    def _put(
        self,
        one: Assignment,
        model: type[BaseModel],
        path: tuple[str, ...],
        into: dict[str, Any],
        home: tuple[str, ...],
    ) -> None:
        place, value = fields.find(model, path), one.value
        if place is None and not one.typed and value is True:
            positive = _without_no(path)
            place, value = (fields.find(model, positive) if positive else None), False
        if place is None or not place.path:
            word = ".".join(one.path).replace("_", "-").lower()
            self.errors.append(unknown_option(one.label, word, self._known(one), "" if one.typed else "--"))
            return
        if not one.typed:
            try:
                value = fields.parse(place.annotation, value)
            except ValueError as error:
                self.errors.append(f"{one.label}: {error}")
                return
        _set(into, place.path, value)
        self.labels[(*home, *place.path)] = one.label

    def _known(self, one: Assignment) -> list[str]:
        known = [".".join(path) for path, _ in fields.leaves(RunSettings)]
        for (kind, name), model in self.models.items():
            alone = len(self.names(kind)) == 1
            head = FLAGS[kind] if alone else f"{FLAGS[kind]}.{name}"
            known += [".".join((head, *path)) for path, _ in fields.leaves(model)]
        known = [name.replace("_", "-") for name in known]
        return known if one.typed else [*known, *FLAGS.values(), *SPECIAL]

    def build(self, notes: tuple[str, ...]) -> RunConfig:
        """Validate everything."""
        settings = self._validate(RunSettings, self.settings, ())
        sockets: dict[str, dict[str, PluginConfig]] = {kind: {} for kind in KINDS}
        for (kind, name), model in self.models.items():
            made = self._validate(model, self.raw[kind, name], (kind, name))
            if made is not None:
                sockets[kind][name] = made
        self.stop()
        assert settings is not None
        return RunConfig(settings, sockets, notes, self.registry)

    def _validate(self, model: type[Any], raw: Mapping[str, Any], home: tuple[str, ...]) -> Any:
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            self.errors += lines(error, model, lambda place: self._where(home, place))
            return None

    def _where(self, home: tuple[str, ...], place: tuple[str | int, ...]) -> str:
        """How the user wrote what stands at a place: the label of the nearest value that was given, and the rest."""
        for length in range(len(place), 0, -1):
            label = self.labels.get((*home, *map(str, place[:length])))
            if label is not None:
                return label + _dotted(place[length:])
        name = plugin_key(*home) if len(home) == 2 else ""
        return (name + _dotted(place)).lstrip(".") or "settings"

    def stop(self) -> None:
        """Raise what was found, if anything was."""
        if self.errors:
            raise UserError("\n".join(dict.fromkeys(self.errors)))


def _without_no(path: tuple[str, ...]) -> tuple[str, ...] | None:
    """``no-augment.flip`` and ``augment.no-flip`` as ``augment.flip``."""
    for position in (0, len(path) - 1):
        if path and path[position].startswith(("no-", "no_")):
            return (*path[:position], path[position][3:], *path[position + 1 :])
    return None


def _set(into: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        inner = into.get(part)
        into[part] = inner = dict(inner) if isinstance(inner, dict) else {}
        into = inner
    if value != {} or not isinstance(into.get(path[-1]), dict):
        into[path[-1]] = value


def _dotted(place: Iterable[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)


def _flatten(path: tuple[str, ...], value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten((*path, key), inner)
    elif value is None or value in ({}, []):
        yield ".".join(path), "none"
    else:
        yield ".".join(path), value if isinstance(value, str) else json.dumps(value)
