"""What readers ask of a pack: its stable index, and what stands in ``pack.json`` beside its shards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from noisyrun.api import UserError
from noisyrun.data.pack.columns import ABSENT_NOTE, INDEX, METADATA
from noisyrun.data.raw import RawData

PACK = "pack.json"


class Shard(BaseModel):
    """One file of a pack."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(description="Path below the pack's folder.")
    samples: int = Field(ge=0, description="Rows in it.")
    bytes: int = Field(ge=0, description="Its size.")
    sha256: str = Field(description="SHA-256 of its bytes.")


class SplitPart(BaseModel):
    """One split of a pack."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: int = Field(ge=0, description="Rows in all shards.")
    skipped: list[str] = Field(default_factory=list, description="Images that could not be read, and why.")
    shards: list[Shard] = Field(default_factory=list, description="Its files, in order.")


class Pack(BaseModel):
    """The content of ``pack.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    noisyrun: str = Field(description="Version that wrote it.")
    form: str = Field(description="shards or parquet.")
    name: str = Field(description="Name of the data set.")
    digest: str = Field(description="SHA-256 of what was packed: index, columns, and images as a run digests them.")
    options: dict[str, str | int | None] = Field(description="How it was packed.")
    classes: list[str] = Field(description="Class names by index.")
    wnids: list[str] | None = Field(None, description="WordNet ids by class.")
    descriptions: list[str] | None = Field(None, description="Texts by class.")
    parents: dict[str, str] | None = Field(None, description="The tree over the classes, child to parent.")
    splits: dict[str, SplitPart] = Field(description="Its splits.")


def read_pack(folder: Path) -> Pack | None:
    """The description of the pack in a folder; None where there is none, or one that other software wrote.

    Raises
    ------
    UserError
        When it cannot be read.
    """
    file = folder / PACK
    if not file.is_file():
        return None
    try:
        content = file.read_bytes()
        if b'"noisyrun"' not in content:
            return None
        return Pack.model_validate_json(content)
    except (OSError, ValidationError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise UserError(f"{file} is no description of a pack ({first})") from None


def completed(data: RawData, path: Path) -> RawData:
    """What was read from a path, with what ``pack.json`` says of its classes beside their names.

    Raises
    ------
    UserError
        When it names other classes than the shards, or a shard is missing.
    """
    folder = path if path.is_dir() else path.parent
    pack = read_pack(folder)
    if pack is None or data.format not in ("parquet", "features", "pack"):
        return data
    for split in pack.splits.values():
        for shard in split.shards:
            if not (folder / shard.file).is_file():
                raise UserError(f"{folder}: {shard.file} is missing, of the pack that {PACK} describes")
    if data.classes is not None and list(data.classes) != pack.classes:
        raise UserError(f"{folder / PACK} names other classes, or in another order, than the shards beside it")
    wnids, descriptions = (None if part is None else tuple(part) for part in (pack.wnids, pack.descriptions))
    for part in (wnids, descriptions):
        if part is not None and len(part) != len(pack.classes):
            raise UserError(f"{folder / PACK}: {len(part)} words for {len(pack.classes)} classes")
    return replace(data, classes=tuple(pack.classes), wnids=wnids, descriptions=descriptions, parents=pack.parents)


def stable_index(table: pa.Table, where: str) -> np.ndarray:
    """int64 [n]: the stable index that noisyrun wrote into a table; else the place of each row.

    A column that merely is called so is nobody's stable index: the schema's metadata must say it.

    Raises
    ------
    UserError
        When the values do not ascend.
    """
    if not keeps_index(table.schema):
        return np.arange(len(table))
    values = table.column(INDEX)
    if not pa.types.is_int64(values.type) or values.null_count:
        raise UserError(f"{where}: column {INDEX!r} must hold whole numbers")
    index = values.to_numpy()
    if (index[:1] < 0).any() or (np.diff(index) <= 0).any():
        raise UserError(f"{where}: column {INDEX!r} must ascend from 0 or more")
    return np.array(index)


def keeps_index(schema: pa.Schema) -> bool:
    """Whether a schema says that its column `index` is the stable index."""
    return _notes(schema).get("index") == INDEX and INDEX in schema.names


def without_absent(table: pa.Table) -> pa.Table:
    """A table without the columns that are in it only because another split has them."""
    absent = _notes(table.schema).get(ABSENT_NOTE)
    names = [name for name in table.column_names if name in absent] if isinstance(absent, list) else []
    return table.drop_columns(names) if names else table


def _notes(schema: pa.Schema) -> Mapping[str, Any]:
    """What noisyrun noted in a schema; empty where it did not."""
    try:
        notes = json.loads((schema.metadata or {})[METADATA])
    except (KeyError, ValueError):
        return {}
    return notes if isinstance(notes, Mapping) else {}
