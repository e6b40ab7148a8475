"""The public surface of noisyrun.api, held against a record of it, so that no change goes unseen.

A change that is meant is recorded with

    python core/tests/api/test_surface.py

and belongs into a changelog fragment of kind `contract`.
"""

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from pydantic import BaseModel

from noisyrun import api
from noisyrun.api.plugin import DiscoverySpec
from noisyrun.api.stage import Optimizer, Schedule

RECORD = Path(__file__).resolve().parents[1] / "api_surface.txt"


def surface() -> str:
    """One line for everything that a plugin may rely on, in the order of names."""
    public: dict[str, Any] = {name: getattr(api, name) for name in api.__all__}
    public |= {"plugin.DiscoverySpec": DiscoverySpec, "stage.Optimizer": Optimizer, "stage.Schedule": Schedule}
    lines = ["# What noisyrun.api offers. Made by: python core/tests/api/test_surface.py"]
    for name in sorted(public):
        lines += described(name, public[name])
    return "\n".join(lines) + "\n"


def described(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, ModuleType):
        names = getattr(value, "__all__", None) or [n for n in vars(value) if not n.startswith("_")]
        for part in sorted(names):
            one = getattr(value, part)
            if getattr(one, "__module__", value.__name__).startswith(value.__name__):
                yield from described(f"{name}.{part}", one)
    elif isinstance(value, type):
        yield from class_lines(name, value)
    elif isinstance(value, FunctionType):
        yield f"{name}{signature(value)}"
    elif hasattr(value, "project_name"):
        yield f"{name}: {type(value).__name__} of {value.project_name!r}"
    else:
        yield f"{name} = {shown(value)}"


def class_lines(name: str, value: type[Any]) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    frozen = " (frozen)" if is_frozen(value) else ""
    yield f"class {name}({bases}){frozen}"
    abstract = getattr(value, "__abstractmethods__", frozenset())
    yield from (f"    {line}" for line in field_lines(value))
    for part, one in sorted(vars(value).items()):
        if (part.startswith("_") and part not in ("__call__", "__init__")) or part in inspect.get_annotations(value):
            continue
        if part == "__init__" and (dataclasses.is_dataclass(value) or issubclass(value, BaseModel)):
            continue
        kind = "abstract " if part in abstract else ""
        if isinstance(one, property):
            assert one.fget is not None
            yield f"    {kind}property {part}: {inspect.signature(one.fget).return_annotation}"
        elif isinstance(one, classmethod | staticmethod):
            yield f"    {type(one).__name__} {part}{signature(one.__func__)}"
        elif isinstance(one, FunctionType):
            yield f"    {kind}{part}{signature(one)}"


def field_lines(value: type[Any]) -> Iterator[str]:
    """Fields of data classes and models, and annotated attributes of other classes."""
    hints = inspect.get_annotations(value)
    for name, hint in hints.items():
        if name.startswith("_") or name == "model_config":
            continue
        if dataclasses.is_dataclass(value):
            one = value.__dataclass_fields__[name]
            made = one.default_factory is not dataclasses.MISSING
            default = "made" if made else "" if one.default is dataclasses.MISSING else shown(one.default)
        elif issubclass(value, BaseModel):
            field = value.model_fields[name]
            default = (
                "made" if field.default_factory is not None else "" if field.is_required() else shown(field.default)
            )
        else:
            default = shown(value.__dict__[name]) if name in value.__dict__ else ""
        yield f"{name}: {hint}{' = ' + default if default else ''}"


def is_frozen(value: type[Any]) -> bool:
    if dataclasses.is_dataclass(value):
        return bool(value.__dataclass_params__.frozen)  # type: ignore[attr-defined]
    return issubclass(value, BaseModel) and bool(value.model_config.get("frozen"))


def signature(function: Any) -> str:
    """As it is written, but that defaults which are functions stand by their names."""
    told = inspect.signature(function)
    parameters = [
        one.replace(
            annotation=_bare(one.annotation),
            default=one.default if one.default is one.empty else _Shown(shown(one.default)),
        )
        for one in told.parameters.values()
    ]
    return str(told.replace(parameters=parameters, return_annotation=_bare(told.return_annotation)))


def _bare(annotation: Any) -> Any:
    return _Shown(annotation) if isinstance(annotation, str) else annotation


class _Shown(str):
    def __repr__(self) -> str:
        return str(self)


def shown(value: Any) -> str:
    if isinstance(value, FunctionType):
        return value.__name__
    if isinstance(value, frozenset):
        return f"frozenset({sorted(value)})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = ", ".join(f"{f.name}={shown(getattr(value, f.name))}" for f in dataclasses.fields(value))
        return f"{type(value).__name__}({held})"
    return repr(value)


def test_the_contract_is_what_was_recorded():
    recorded = RECORD.read_text(encoding="utf-8").splitlines()
    now = surface().splitlines()
    gone = [line for line in recorded if line not in now]
    new = [line for line in now if line not in recorded]
    assert (gone, new) == ([], []), "meant? record it: python core/tests/api/test_surface.py"
    assert now == recorded


def test_a_change_of_any_part_would_be_seen():
    text = surface()
    for line in (
        "class Needs() (frozen)",
        "    prototypes: bool = False",
        "    abstract take(self, rows: Tensor) -> Block",
        "    weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo)",
        "    noisyrun_epoch_end(self, result: EpochResult) -> None",
        "    noisyrun_plugins(self) -> Iterable[Plugin]",
        "PAD = -1",
        "    abstract verified(self, split: Split = 'all') -> Tensor",
        "ops.unit(",
    ):
        assert line in text


if __name__ == "__main__":
    RECORD.write_text(surface(), encoding="utf-8")
