"""One source of configuration - a recipe, a file, Python, the command line - as choices of plugins and assignments."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from noisyrun.api.errors import UserError
from noisyrun.api.plugin import KINDS
from noisyrun.config.flags import Flag
from noisyrun.registry import FLAGS, FoundRecipe, normal, split

#: Every way to write a socket, and its kind.
SOCKETS = {normal(kind): kind for kind in KINDS} | {flag: kind for kind, flag in FLAGS.items()}

#: Sockets that hold one plugin; the others stack.
SINGLE = ("backbone", "prototypes")


@dataclass(frozen=True)
class Selection:
    """The plugins chosen for a socket, in stacking order."""

    names: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class Assignment:
    """A value for a field.

    Attributes
    ----------
    path
        The field, in whatever spelling it came.
    value
        Its value.
    label
        How errors name it: ``--weighter.alpha``, ``run.toml: weighter.sinet.alpha``.
    typed
        Whether the value has a type already; a word of the command line has none.
    optional
        Whether it falls away when a higher layer replaced the plugin it is for.
    """

    path: tuple[str, ...]
    value: Any
    label: str
    typed: bool = True
    optional: bool = False


@dataclass
class Layer:
    """What one source says."""

    selections: dict[str, Selection] = field(default_factory=dict)
    assignments: list[Assignment] = field(default_factory=list)

    def value(self, name: str) -> Any:
        """The value it gives a top-level setting; None when it says nothing of it."""
        return next((one.value for one in self.assignments if one.path == (name,)), None)

    def label(self, *path: str) -> str | None:
        """How errors name what it says of a setting, or of a field within it; None when it says nothing."""
        for one in self.assignments:
            spelled = tuple(part.replace("-", "_") for part in one.path)
            if spelled[: len(path)] == path and one.value not in (None, [], {}):
                return one.label
        return None

    def select(self, kind: str, names: Iterable[str], label: str) -> None:
        """Choose the plugins of a socket."""
        chosen = tuple(name for name in names if name != "none")
        if len(set(chosen)) < len(chosen):
            raise UserError(f"{label}: names a plugin twice ({', '.join(chosen)})")
        if kind in SINGLE and len(chosen) > 1:
            raise UserError(f"{label}: takes one plugin (got {', '.join(chosen)})")
        self.selections[kind] = Selection(chosen, label)


def from_flags(flags: Iterable[Flag]) -> Layer:
    """What the command line says."""
    layer = Layer()
    for flag in flags:
        kind = SOCKETS.get(normal(flag.path[0]))
        if kind and len(flag.path) == 1:
            if isinstance(flag.value, bool):
                raise UserError(f"{flag.label}: needs the name of a plugin, or none")
            layer.select(kind, split(flag.value), flag.label)
        else:
            layer.assignments.append(Assignment(flag.path, flag.value, flag.label, typed=False))
    return layer


def from_mapping(values: Mapping[str, Any], where: str = "") -> Layer:
    """What a file or Python says, in nested tables or dotted keys.

    Parameters
    ----------
    where
        Name of the source for errors; empty for Python.
    """
    layer = Layer()
    prefix = f"{where}: " if where else ""
    for key, value in values.items():
        path = tuple(str(key).split("."))
        kind = SOCKETS.get(normal(path[0]))
        if kind and len(path) == 1:
            _socket(layer, kind, path[0], value, prefix)
        else:
            layer.assignments += _leaves(path, value, prefix)
    return layer


def _socket(layer: Layer, kind: str, key: str, value: Any, prefix: str) -> None:
    label = f"{prefix}{key}"
    if value is None:
        layer.select(kind, (), label)
    elif isinstance(value, str):
        layer.select(kind, split(value), label)
    elif isinstance(value, Mapping):
        tables = {name: inner for name, inner in value.items() if isinstance(inner, (Mapping, BaseModel))}
        if tables or not value:
            layer.select(kind, tables, label)
        for name, inner in value.items():
            layer.assignments += _leaves((key, str(name)), inner, prefix, optional=True)
    elif isinstance(value, Sequence) and all(isinstance(name, str) for name in value):
        layer.select(kind, value, label)
    else:
        raise UserError(f"{label}: must be a plugin's name, a list of names, or tables of settings (got {value!r})")


def _leaves(path: tuple[str, ...], value: Any, prefix: str, optional: bool = False) -> Iterator[Assignment]:
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves((*path, str(key)), inner, prefix, optional)
    else:
        yield Assignment(path, value, f"{prefix}{'.'.join(path)}", optional=optional)


def from_file(path: Path) -> Layer:
    """What a TOML file says, or the JSON of a resolved configuration.

    Raises
    ------
    UserError
        When it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"--config: no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config: {path} cannot be read ({error})") from None
    return from_mapping(_read(text, path.name, as_json=path.suffix.lower() == ".json"), path.name)


def from_recipe(found: FoundRecipe) -> Layer:
    """What a recipe says: a file in the package of its plugin."""
    record = found.record
    try:
        text = files(record.package).joinpath(record.path).read_text(encoding="utf-8")
    except (OSError, ImportError) as error:
        raise UserError(f"recipe {record.name!r} of {found.source} cannot be read ({error})") from None
    where = f"recipe {record.name}"
    values = _read(text, where, as_json=False)
    if "recipe" in values:
        raise UserError(f"{where}: a recipe cannot name another")
    return from_mapping(values, where)


def _read(text: str, where: str, as_json: bool) -> dict[str, Any]:
    try:
        values = json.loads(text) if as_json else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{where}: is no valid {'JSON' if as_json else 'TOML'} ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{where}: must hold a table of settings (got {type(values).__name__})")
    return values
