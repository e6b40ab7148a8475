"""docs/authoring/contract.md, made from noisyrun.api: every hook and every method of a socket with its signature.

python scripts/contract.py
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

from noisyrun.api import (
    API_VERSION,
    Backbone,
    FeatureExtractor,
    LabelCorrector,
    Lifecycle,
    Method,
    OnlinePart,
    PrototypeBuilder,
    SampleWeighter,
    SideInfoEncoder,
    TextEncoder,
)
from noisyrun.api.plugin import DiscoverySpec

PAGE = Path(__file__).resolve().parents[1] / "docs" / "authoring" / "contract.md"

#: Every class whose methods an author writes or the host calls, and what it is for.
CLASSES: dict[type[Any], str] = {
    DiscoverySpec: "Hooks of discovery, implemented by the module that an entry point of the group `noisyrun` names.",
    Lifecycle: "Hooks of a run, implemented by trackers and observers. One that raises is reported once and left out.",
    Method: "What all methods share, whatever socket they fit.",
    SampleWeighter: "Socket `weighter`: how much a label counts.",
    LabelCorrector: "Socket `corrector`: what a label should be.",
    PrototypeBuilder: "Socket `prototypes`: vectors that stand for the classes.",
    SideInfoEncoder: "Socket `side_info`: what is known beside the images.",
    TextEncoder: "Handed on from one side-info encoder to whoever needs texts as vectors.",
    Backbone: "Socket `backbone`: the network.",
    FeatureExtractor: "What a backbone builds.",
    OnlinePart: "Mixed into a weighter or corrector that trains a part of the network in the loop.",
}

HEAD = f"""# The contract

<!-- made by: python scripts/contract.py -->

Every hook and every method of a socket, version {API_VERSION}, with its signature. Where it says that the host calls a
method, leave that one as it is: it holds what a plugin returns against the contract. [API](../api.md) has arguments and
types in full; [stability](../stability.md) says what of it stays.
"""


def members(cls: type[Any]) -> Iterator[tuple[str, FunctionType, bool]]:
    """Name, function, and whether it is a property, of everything public that a class itself defines."""
    for name, value in vars(cls).items():
        function = value.fget if isinstance(value, property) else value
        if isinstance(function, FunctionType) and (not name.startswith("_") or name == "__call__"):
            yield name, function, isinstance(value, property)


def signature(name: str, function: FunctionType, is_property: bool) -> str:
    """As it is written in the code, without `self`."""
    found = inspect.signature(function)
    if is_property:
        return f"{name}: {found.return_annotation}"
    own = found.replace(parameters=[p for p in found.parameters.values() if p.name != "self"])
    return f"{name}{own}".replace("'", "")


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for cls, purpose in CLASSES.items():
        lines += [f"## {cls.__name__}", "", purpose, ""]
        for name, function, is_property in members(cls):
            told = (inspect.getdoc(function) or "").splitlines()[0]
            lines.append(f"- `{signature(name, function, is_property)}` — {told}")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
