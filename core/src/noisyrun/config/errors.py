"""Errors of configuration in one line each: where, what must be, what was given, what may have been meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from noisyrun.config.fields import choices, find, model_of
from noisyrun.suggest import closest

_MUST = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "missing": "must be given",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be yes or no",
    "bool_type": "must be yes or no",
    "string_type": "must be text",
    "path_type": "must be a path",
    "too_short": "must have at least {min_length} values",
    "too_long": "must have at most {max_length} values",
    "model_type": "must be a table of settings",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
}

Where = Callable[[tuple[str | int, ...]], str]


def lines(error: ValidationError, model: type[BaseModel], where: Where) -> list[str]:
    """One line for every field that is wrong.

    Parameters
    ----------
    where
        From the location of a value to how the user wrote it.
    """
    problems: dict[tuple[str | int, ...], list[tuple[str, Any]]] = {}
    for one in error.errors():
        place = _inside(model, one["loc"])
        problems.setdefault(place, []).append((_problem(one, model, place), one.get("input")))
    made = []
    for place, found in problems.items():
        message = " or ".join(dict.fromkeys(problem for problem, _ in found))
        given = found[0][1]
        bare = message.startswith(("must be given", "is no")) or isinstance(given, (dict, BaseModel))
        got = "" if bare else f" (got {shown(given)}{_choice(given, model, place)})"
        made.append(f"{where(place)}: {message}{got}")
    return made


def _inside(model: type[BaseModel], location: Sequence[str | int]) -> tuple[str | int, ...]:
    """The location without what pydantic adds for the member of a union it tried."""
    place: list[str | int] = []
    current: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, str) and (current is None or part not in current.model_fields):
            if current is not None:
                place.append(part)
            break
        place.append(part)
        if isinstance(part, str) and current is not None:
            annotation = current.model_fields[part].annotation
            current = model_of(annotation) or _item_model(annotation)
    return tuple(place)


def _item_model(annotation: Any) -> type[BaseModel] | None:
    import typing

    models = [model_of(arg) for arg in typing.get_args(annotation)]
    return next((model for model in models if model is not None), None)


def _problem(error: Any, model: type[BaseModel], place: tuple[str | int, ...]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"is no setting{_meant(model, place)}"
    if kind == "string_pattern_mismatch":
        found = find(model, [str(part) for part in place])
        return (
            f"is not written as it must be: {found.about}" if found and found.about else "is not written as it must be"
        )
    if kind == "value_error":
        return str(context.get("error", error["msg"]))
    if kind in _MUST:
        return _MUST[kind].format(**{name: _number(value) for name, value in context.items()})
    message: str = error["msg"]
    return message.replace("Input should be", "must be").replace("Input should", "must")


def _number(value: Any) -> Any:
    return f"{value:g}" if isinstance(value, float) else value


def _choice(given: Any, model: type[BaseModel], place: tuple[str | int, ...]) -> str:
    """The one of a few values that may have been meant."""
    found = find(model, [str(part) for part in place]) if isinstance(given, str) else None
    meant = closest(given, [str(choice) for choice in choices(found.annotation)]) if found else None
    return f"; did you mean {meant}?" if meant else ""


def _meant(model: type[BaseModel], place: tuple[str | int, ...]) -> str:
    current: type[BaseModel] | None = model
    for part in place[:-1]:
        if isinstance(part, str) and current is not None:
            annotation = current.model_fields[part].annotation
            current = model_of(annotation) or _item_model(annotation)
    found = closest(str(place[-1]), current.model_fields) if current is not None and place else None
    return f"; did you mean {found}?" if found else ""


def shown(value: Any) -> str:
    """A value as the user wrote it, cut where it is long."""
    text = value if isinstance(value, str) and value else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def unknown_option(label: str, word: str, known: Iterable[str], dashes: str = "--") -> str:
    """The line for an option that does not exist, with the one that may have been meant.

    Parameters
    ----------
    label
        How the user wrote it: a flag, or a key of a file.
    word
        The same as `known` are written: without dashes in front, with dashes for underscores.
    dashes
        What stands before a suggestion; empty for keys of a file, which are spelt with underscores.
    """
    names = list(known)
    alike = [name for name in names if name.rsplit(".", 1)[-1] == word.rsplit(".", 1)[-1]]
    if len(alike) != 1:
        found = closest(word, names)
        alike = alike or ([found] if found else [])
    listed = ", ".join(dashes + (name if dashes else name.replace("-", "_")) for name in alike)
    meant = f"; did you mean {'one of ' if len(alike) > 1 else ''}{listed}?" if alike else ""
    return f"{label}: no such option{meant}"
