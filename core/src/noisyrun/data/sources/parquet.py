"""Parquet in the Hugging Face layout: images as bytes in a column, class names in the schema's metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.arrow import read_parquet
from noisyrun.data.pack.read import stable_index, without_absent
from noisyrun.data.parquet_refs import ParquetRefs, RowGroups
from noisyrun.data.raw import Raw, RawData
from noisyrun.data.refs import BytesRefs, FileRefs, ImageRefs
from noisyrun.data.sources.files import test_files, training_files
from noisyrun.data.sources.paths import checked_paths
from noisyrun.data.sources.roles import find_roles, take_roles

IMAGES = ("image", "img", "images", "jpg", "png")
#: Share of the machine's memory that encoded images may take; Parquet beyond that is read by row group.
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
        place = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
        if place >= 0 and kind[place].type in (pa.binary(), pa.large_binary(), pa.null()):  # null: paths alone
            return name
    return None


def read(path: Path, settings: DataSettings) -> RawData:
    """A data set in one file or in numbered shards, with its test set beside it."""
    files = training_files(path)
    notes: list[str] = []
    train, classes = _split(files, settings, notes, test=False)
    test = None
    found = test_files(path, settings.test, files)
    if found:
        test, test_classes = _split(found, settings, notes, test=True)
        if classes is not None and test_classes is not None and classes != test_classes:
            raise UserError(f"{test.where} names other classes, or in another order, than {train.where}")
    name = path.name if path.is_dir() or path.stem != "train" else path.resolve().parent.name
    return RawData(name, "parquet", train, test, classes, notes=tuple(notes))


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


def _split(
    files: list[Path], settings: DataSettings, notes: list[str], *, test: bool
) -> tuple[Raw, tuple[str, ...] | None]:
    where, root = str(files[0] if len(files) == 1 else files[0].parent), files[0].parent
    schema = read_schema(files[0])
    column = image_column(schema)
    groups = None if column is None else RowGroups.of(files, column)
    if column is None or groups is None or int(groups.bytes.sum()) <= _MEMORY_SHARE * _memory():
        return split_of(read_tables(files), where, root, settings, test=test)
    largest = int(groups.bytes.max())
    if largest > _memory() // 8:
        raise UserError(
            f"{where}: images do not fit in memory, and row groups are of {largest / 2**30:.1f} GiB; write them again "
            "with fewer rows in each, e.g. by dataset.to_parquet(…, batch_size=100) of the datasets library"
        )
    table = read_tables(files, [name for name in schema.names if name != column])
    refs = ParquetRefs(groups, column, _paths(files, schema, column))
    notes.append(
        f"{where}: {int(groups.bytes.sum()) / 2**30:.0f} GiB of images do not fit in memory. They are read by row "
        f"groups of {largest / 2**20:.0f} MiB, which is slow in shuffled order: "
        f"noisyrun data pack {where} --to DIR --as shards"
    )
    return split_of(table, where, root, settings, test=test, images=refs)


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def read_schema(file: Path) -> pa.Schema:
    """Columns of a Parquet file."""
    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"cannot read {file}: {' '.join(str(error).split())}") from None


def split_of(
    table: pa.Table, where: str, root: Path, settings: DataSettings, *, test: bool, images: ImageRefs | None = None
) -> tuple[Raw, tuple[str, ...] | None]:
    """A split from a table with a column of images, and the class names that its schema gives.

    Parameters
    ----------
    root
        Folder that paths of images, where there are no bytes, must not leave.
    images
        The images, where they are no column of the table.

    Raises
    ------
    UserError
        When there are no images, no labels or no rows.
    """
    column = image_column(table.schema) if images is None else None
    if column is None and images is None:
        raise UserError(f"{where} has no column of images as bytes (it has {', '.join(table.column_names)})")
    if not len(table):
        raise UserError(f"{where} is empty")
    roles = find_roles([name for name in table.column_names if name != column], settings, where, test=test)
    raw = Raw(
        where,
        stable_index(table, where),
        take_roles(table, roles, text_lists=False),
        roles,
        images=_refs(table.column(column), root, where) if images is None else images,
    )
    names = next((names for role in ("label", "truth") if (names := _names(table.schema, roles, role))), None)
    return raw, names


def _paths(files: list[Path], schema: pa.Schema, column: str) -> pa.ChunkedArray | None:
    """Paths that stand beside the bytes of images, without these."""
    kind = schema.field(column).type
    if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
        return None
    cells = read_tables(files, [f"{column}.path"]).column(0)
    return pa.chunked_array([chunk.field("path") for chunk in cells.chunks])


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
