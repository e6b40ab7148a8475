"""README.md of a pack: what it is, and the splits in a form that the Hugging Face hub and `datasets` read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from noisyrun.data.pack.columns import Column
from noisyrun.printable import printable

if TYPE_CHECKING:
    from noisyrun.data.pack.read import Pack


def text(pack: Pack, features: Iterable[Mapping[str, Any]] | None = None) -> str:
    """The card: YAML that names the files of each split, then a few lines for people.

    Parameters
    ----------
    features
        Those of tar shards, which do not say themselves what is in them.
    """
    pattern = "{}-*.tar" if pack.form == "shards" else "data/{}-*.parquet"
    files = "".join(f"      - split: {split}\n        path: {pattern.format(split)}\n" for split in pack.splits)
    info = "" if features is None else f"dataset_info:\n  features: {json.dumps(list(features))}\n"
    head = f"---\nconfigs:\n  - config_name: default\n    data_files:\n{files}{info}---\n"
    counts = ", ".join(f"{split} {part.samples:,}" for split, part in pack.splits.items())
    return (
        f"{head}\n# {_plain(pack.name)}\n\n"
        f"{counts} samples in {len(pack.classes):,} classes, packed by noisyrun {pack.noisyrun}. "
        "`pack.json` names the classes and the shards with their SHA-256.\n\n"
        "    noisyrun --dataset THIS_FOLDER\n"
    )


def features_of_shards(columns: Mapping[str, Column], endings: Iterable[str]) -> list[dict[str, Any]]:
    """What `datasets` finds in tar shards, in its YAML. It would guess by five samples, and drop what those lack."""
    beside = {**{name: column.values.type for name, column in columns.items()}, "path": pa.string()}
    found: list[dict[str, Any]] = [{"name": name, "dtype": "string"} for name in ("__key__", "__url__")]
    if "label" in columns and pa.types.is_integer(columns["label"].values.type):
        found.append({"name": "cls", "dtype": "int64"})
    found.append({"name": "json", "struct": [_feature(name, kind) for name, kind in sorted(beside.items())]})
    return [*found, *({"name": ending, "dtype": "image"} for ending in endings)]


def _feature(name: str, kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        return {"name": name, "list": _dtype(kind.value_type)}
    return {"name": name, "dtype": _dtype(kind)}


def _dtype(kind: pa.DataType) -> str:
    return {"float": "float32", "double": "float64", "halffloat": "float16"}.get(str(kind), str(kind))


def _plain(name: str) -> str:
    """A name in which no letter means anything to Markdown or HTML."""
    return "".join(letter if letter.isalnum() or letter in " -." else "_" for letter in printable(name)) or "data"
