"""The tree over AliProducts' classes, from ``product_tree.json``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from noisyrun.data.layouts.findings import Findings, some
from noisyrun.data.layouts.json_lists import load_json

#: Levels beyond which a tree is none.
_DEEPEST = 32
_ROOT = "products"


def product_tree(file: Path, classes: tuple[str, ...], found: Findings) -> dict[str, str] | None:
    """Child → parent over the classes; what is above them is called by the way to it. None without a tree.

    The leaves are the products' ids, written as text or numbers, wherever they stand: as the values of lists, as keys
    above nothing, or as records with an ``id`` and no ``children``; an object of child and parent is a tree, too.
    """
    if not file.is_file():
        found.warn(f"{file} is missing: no tree over the classes")
        return None
    try:
        held = load_json(file)
        known = set(classes)
        parents = dict(_of_pairs(held, known) if _is_pairs(held) else _edges("", held, _ROOT, known, 0))
        _refuse_circles(parents, classes)
    except (OSError, ValueError, RecursionError) as error:
        found.problem(f"{file} is no JSON tree of products ({' '.join(str(error).split())})")
        return None
    bare = [name for name in classes if name not in parents]
    if len(bare) == len(classes):
        found.warn(f"{file} names none of the classes of train.json: no tree over the classes")
        return None
    if bare:
        found.warn(f"{file}: {len(bare):,} of {len(classes):,} classes are not in the tree: {some(bare)}")
    return parents


def _called(value: Any) -> str:
    """An id as classes are called: five digits at least."""
    text = str(value)
    return f"{int(text):05d}" if re.fullmatch("[0-9]{1,18}", text) else text


def _is_pairs(held: Any) -> bool:
    return isinstance(held, dict) and bool(held) and not any(isinstance(v, dict | list) for v in held.values())


def _of_pairs(held: dict[str, Any], classes: set[str]) -> Iterator[tuple[str, str]]:
    """Edges of an object of child and parent; its children above the classes are others of its keys."""
    for child, parent in held.items():
        if parent is not None and str(parent) != child:
            name = _called(child)
            yield name if name in classes else f"{_ROOT}/{child}", f"{_ROOT}/{parent}"


def _edges(key: str, node: Any, above: str, classes: set[str], depth: int) -> Iterator[tuple[str, str]]:
    """Every (child, parent) at and below a node that leads to a class."""
    if depth > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} levels")
    members: list[tuple[str, Any]] = []
    if isinstance(node, dict) and isinstance(node.get("children"), list) and node["children"]:
        key, members = str(node.get("id", node.get("name", key))), [("", child) for child in node["children"]]
    elif isinstance(node, dict):
        members = list(node.items()) if "id" not in node else []
    elif isinstance(node, list):
        members = [("", child) for child in node]
    if not members:
        leaf = node["id"] if isinstance(node, dict) and "id" in node else key if node in ({}, [], None) else node
        for name in (_called(leaf), _called(key)):
            if name in classes:
                yield name, above
                return
        return
    name = f"{above}/{key}" if key else above
    edges = [edge for child, part in members for edge in _edges(child, part, name, classes, depth + 1)]
    if edges and name != above:
        yield name, above
    yield from edges


def _refuse_circles(parents: dict[str, str], classes: tuple[str, ...]) -> None:
    for start in classes:
        node, steps = start, 0
        while node in parents:
            node, steps = parents[node], steps + 1
            if steps > _DEEPEST + 1:
                raise ValueError(f"a circle, or more than {_DEEPEST} levels, above class {start}")
