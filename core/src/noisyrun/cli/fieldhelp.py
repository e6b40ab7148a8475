"""The fields of a configuration model as rows of help."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from noisyrun.config.fields import default_text, is_bool, leaves, model_of, type_name

#: Characters of choices that stand beside a flag; longer ones stand in the text.
_LONGEST = 60
_SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def field_rows(
    model: type[BaseModel], prefix: str, *, nested: bool = True, dashes: str = "--"
) -> list[tuple[str, str]]:
    """One row a field: flag and type; description, default and bounds.

    Parameters
    ----------
    prefix
        What stands before a field's name in its flag.
    nested
        Whether fields of groups within the model are shown, too.
    dashes
        What stands before the flag; empty for the keys of a file.
    """
    rows = []
    for path, info in _fields(model, nested):
        flag = dashes + prefix + ".".join(path)
        flag = flag.replace("_", "-") if dashes else flag
        kind, choices = type_name(info.annotation), ""
        if len(kind) > _LONGEST:
            kind, choices = "name", f"One of {', '.join(kind.split('|'))}."
        if is_bool(info.annotation):
            term = flag.replace("--", "--[no-]", 1)
        else:
            term = f"{flag} {kind if '|' in kind else kind.upper()}"
        rows.append((term, " ".join(part for part in (info.description, choices, _default(info)) if part)))
    return rows


def _fields(model: type[BaseModel], nested: bool) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    if nested:
        yield from leaves(model)
        return
    for name, info in model.model_fields.items():
        if model_of(info.annotation) is None:
            yield (name,), info


def _default(info: FieldInfo) -> str:
    bounds = [
        f"{sign} {bound:g}" if isinstance(bound, float) else f"{sign} {bound}"
        for rule in info.metadata
        for name, sign in _SIGNS.items()
        if (bound := getattr(rule, name, None)) is not None
    ]
    default = "" if info.is_required() else default_text(info)
    parts = [f"default {default}"] if default else []
    return f"[{'; '.join([*parts, ', '.join(bounds)] if bounds else parts)}]" if parts or bounds else ""
