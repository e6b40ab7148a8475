"""Parquet in the Hugging Face layout: images as bytes in a column, class names in the schema's metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.arrow import read_parquet
from noisyrun.data.pack.read import stable_index, without_absent
from noisyrun.data.raw import Raw, RawData
from noisyrun.data.refs import BytesRefs, FileRefs, ImageRefs
from noisyrun.data.sources.files import test_files, training_files
from noisyrun.data.sources.paths import checked_paths
from noisyrun.data.sources.roles import find_roles, take_roles

IMAGES = ("image", "img", "images", "jpg", "png")
#: Share of the machine's memory that encoded images may take: Parquet cannot be read by single rows.
_MEMORY_SHARE = 0.6
FEATURES = ("features", "embeddings", "embedding")


def image_column(schema: pa.Schema) -> str | None:
    """The column that holds encoded images, as bytes or as a struct of bytes and path."""
    for name in IMAGES:
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return name
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return name
    return None


def read(path: Path, settings: DataSettings) -> RawData:
    """A data set in one file or in numbered shards, with its test set beside it."""
    files = training_files(path)
    train, classes = _split(files, settings, test=False)
    test = None
    found = test_files(path, settings.test, files)
    if found:
        test, test_classes = _split(found, settings, test=True)
        if classes is not None and test_classes is not None and classes != test_classes:
            raise UserError(f"{test.where} names other classes, or in another order, than {train.where}")
    name = path.name if path.is_dir() or path.stem != "train" else path.resolve().parent.name
    return RawData(name, "parquet", train, test, classes)


def read_tables(files: list[Path], columns: list[str] | None = None) -> pa.Table:
    """The rows of one or more Parquet files.

    Raises
    ------
    UserError
        Naming the file that is no Parquet, or differs from the first in its columns.
    """
    tables = [read_parquet(file, columns) for file in files]
    try:
        return without_absent(pa.concat_tables(tables))
    except pa.ArrowException:
        raise UserError(f"the shards of {files[0].parent} differ in their columns") from None


def class_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """Names of a ClassLabel column (or of the classes in a list of them), from the metadata that `datasets` writes."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        feature = features[column]
    except (KeyError, TypeError, ValueError):
        return None
    for kind in (feature, feature.get("feature") if isinstance(feature, dict) else None):
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel" and kind.get("names"):
            return tuple(map(str, kind["names"]))
    return None


def _split(files: list[Path], settings: DataSettings, *, test: bool) -> tuple[Raw, tuple[str, ...] | None]:
    size, memory = sum(file.stat().st_size for file in files), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > _MEMORY_SHARE * memory:
        raise UserError(
            f"{files[0].parent}: {size / 2**30:.0f} GiB of images inside Parquet would fill the memory "
            f"({memory / 2**30:.0f} GiB); write them to an image folder and give that"
        )
    table = read_tables(files)
    where = str(files[0] if len(files) == 1 else files[0].parent)
    column = image_column(table.schema)
    if column is None:
        raise UserError(f"{where} has no column of images as bytes (it has {', '.join(table.column_names)})")
    if not len(table):
        raise UserError(f"{where} is empty")
    roles = find_roles([name for name in table.column_names if name != column], settings, where, test=test)
    raw = Raw(
        where,
        stable_index(table, where),
        take_roles(table, roles, text_lists=False),
        roles,
        images=_refs(table.column(column), files[0].parent, where),
    )
    names = next((names for role in ("label", "truth") if (names := _names(table.schema, roles, role))), None)
    return raw, names


def _names(schema: pa.Schema, roles: dict[str, str], role: str) -> tuple[str, ...] | None:
    return class_names(schema, roles[role]) if role in roles else None


def _refs(column: pa.ChunkedArray, root: Path, where: str) -> ImageRefs:
    """Bytes where there are any; else files, by the paths beside them."""
    if not pa.types.is_struct(column.type):
        return BytesRefs(column, None)
    chunks = column.chunks
    data = pa.chunked_array([chunk.field("bytes") for chunk in chunks])
    place = column.type.get_field_index("path")
    names = None if place < 0 else pa.chunked_array([chunk.field("path") for chunk in chunks])
    if data.null_count == len(data) and names is not None:
        return FileRefs(root, checked_paths(names.to_pylist(), root, where))
    return BytesRefs(data, names)
