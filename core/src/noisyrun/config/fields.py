"""Looks into configuration models: which fields there are, and what a word on the command line means to one."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_LISTS = (list, tuple, set, frozenset, Sequence)
_BOOL = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Place:
    """Where a dotted path leads.

    Attributes
    ----------
    path
        The path in the models' own spelling.
    annotation
        Type of the value; `Any` inside a field that is a free dictionary.
    about
        The field's description.
    """

    path: tuple[str, ...]
    annotation: Any
    about: str = ""


def unwrap(annotation: Any) -> tuple[Any, bool]:
    """A type without `Annotated` and `None`, and whether None was allowed."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    members = [member for member in typing.get_args(annotation) if member is not type(None)]
    optional = len(members) < len(typing.get_args(annotation))
    core = unwrap(members[0])[0] if len(members) == 1 else Union[tuple(members)]  # noqa: UP007
    return core, optional


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The model that a type is, or None."""
    core, _ = unwrap(annotation)
    return core if isinstance(core, type) and issubclass(core, BaseModel) else None


def find(model: type[BaseModel], path: Sequence[str]) -> Place | None:
    """Where a path leads, with dashes and underscores as one; None when there is no such field."""
    names: list[str] = []
    annotation: Any = model
    about = ""
    for position, part in enumerate(path):
        inner = model_of(annotation)
        if inner is None:
            if typing.get_origin(unwrap(annotation)[0]) is dict or unwrap(annotation)[0] is dict:
                return Place((*names, *path[position:]), Any)
            return None
        name = part.replace("-", "_")
        if name not in inner.model_fields:
            return None
        names.append(name)
        annotation = inner.model_fields[name].annotation
        about = inner.model_fields[name].description or ""
    return Place(tuple(names), annotation, about)


def leaves(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every field that is no group of fields, by its path, in order of declaration."""
    for name, info in model.model_fields.items():
        inner = model_of(info.annotation)
        if inner is None:
            yield (*prefix, name), info
        else:
            yield from leaves(inner, (*prefix, name))


def is_bool(annotation: Any) -> bool:
    """Whether a flag of this type may stand without a value."""
    return unwrap(annotation)[0] is bool


def choices(annotation: Any) -> tuple[Any, ...]:
    """The values of a `Literal`; empty for other types."""
    core, _ = unwrap(annotation)
    return typing.get_args(core) if typing.get_origin(core) is Literal else ()


def parse(annotation: Any, text: str | bool) -> Any:
    """What a flag's value means to a field, left to pydantic to validate.

    Parameters
    ----------
    text
        The word after the flag; True for a flag without one, False for ``--no-…``.

    Raises
    ------
    ValueError
        When the flag lacks a value, or the value is broken JSON.
    """
    core, optional = unwrap(annotation)
    if isinstance(text, bool):
        if core is not bool:
            raise ValueError("needs a value" if text else "cannot be switched off with --no-; give it a value")
        return text
    if optional and (text == "null" or (text == "none" and not _is_text(core) and "none" not in choices(core))):
        return None
    if core is bool:
        return _BOOL.get(text.lower(), text)
    if core is Any:
        return _json_or_text(text)
    if typing.get_origin(core) in _LISTS or core in _LISTS:
        return (
            _json(text) if text.lstrip().startswith("[") else [part.strip() for part in text.split(",") if part.strip()]
        )
    if model_of(core) or core is dict or typing.get_origin(core) is dict:
        return _json(text)
    return next((choice for choice in choices(core) if str(choice) == text), text)


def _is_text(core: Any) -> bool:
    members = typing.get_args(core) if typing.get_origin(core) is Union else (core,)
    return any(member in (str, Path) for member in members)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"must be JSON (got {text!r}: {error.msg})") from None


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def type_name(annotation: Any) -> str:
    """How help calls a type: ``number``, ``int``, ``a|b|c``, ``list of int``."""
    core, _ = unwrap(annotation)
    if choices(core):
        return "|".join(str(choice) for choice in choices(core))
    origin, args = typing.get_origin(core), [arg for arg in typing.get_args(core) if arg is not Ellipsis]
    if origin is Union:
        return " or ".join(dict.fromkeys(type_name(arg) for arg in args))
    if origin in _LISTS:
        return f"list of {type_name(args[0])}" if args else "list"
    if origin is dict or model_of(core):
        return "JSON"
    plain = {float: "number", int: "int", bool: "yes/no", str: "text", Path: "path"}
    return plain.get(core, getattr(core, "__name__", "value"))


def default_text(info: FieldInfo) -> str:
    """A field's default, as one would type it."""
    value = info.get_default(call_default_factory=True)
    if value is None or value in ((), [], {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(str(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
