"""Columns of an export as tables for others: classes by name, in Parquet, JSON lines or CSV; and ``classes.tsv``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from noisyrun.api.errors import UserError
from noisyrun.data.classes import Classes
from noisyrun.data.pack.columns import INDEX, Column, schema_of
from noisyrun.files import write_text

FORMS = ("parquet", "jsonl", "csv")
#: Texts by strangers: they never go into a CSV file, which a spreadsheet would run.
_FREE = ("title", "description", "tags", "source")
#: Letters that begin a formula, or hide one, in a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_BLOCK = 1 << 14


def by_name(columns: Mapping[str, Column], classes: tuple[str, ...]) -> dict[str, Column]:
    """The columns with names in place of class indices."""
    names = pa.array(list(classes), pa.string())
    return {name: _named(column, names) for name, column in columns.items()}


def _named(column: Column, names: pa.Array) -> Column:
    feature = column.feature or {}
    inner = feature.get("feature")
    if feature.get("_type") == "ClassLabel":
        return Column(names.take(column.values), absent=column.absent)
    if isinstance(inner, Mapping) and inner.get("_type") == "ClassLabel":
        values = column.values
        named = pa.ListArray.from_arrays(_offsets(values), names.take(values.flatten()))
        return Column(named, absent=column.absent)
    return column


def _offsets(values: pa.ListArray) -> pa.Array:
    """Offsets of the flattened values of a list column, whatever it was cut out of."""
    lengths = pc.list_value_length(values).fill_null(0)
    return pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])


def write_table(columns: Mapping[str, Column], folder: Path, name: str, form: str) -> Path:
    """Write a table of one split, and return its path.

    Raises
    ------
    UserError
        When a CSV file cannot hold what is in it.
    """
    path = folder / f"{name}.{form}"
    if form == "parquet":
        schema = schema_of(columns, {}, [], {"index": INDEX} if INDEX in columns else {})
        pq.write_table(
            pa.Table.from_arrays([column.values for column in columns.values()], schema=schema),
            path,
            compression="zstd",
        )
    elif form == "jsonl":
        with open(path, "w", encoding="utf-8") as file:
            for row in _rows(columns):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    else:
        plain = {name: column for name, column in columns.items() if name not in _FREE}
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(plain)
            for row in _rows(plain):
                writer.writerow([_cell(name, value) for name, value in row.items()])
    return path


def _rows(columns: Mapping[str, Column]) -> Iterator[dict[str, object]]:
    count = len(next(iter(columns.values())).values)
    for start in range(0, count, _BLOCK):
        parts = [column.values[start : start + _BLOCK].to_pylist() for column in columns.values()]
        for values in zip(*parts, strict=True):
            yield dict(zip(columns, values, strict=True))


def _cell(name: str, value: object) -> object:
    """A value as a cell of CSV: nothing that a spreadsheet would take for a formula, nothing that reads otherwise."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list):
        raise UserError(f"--table csv: column {name!r} holds lists; use --table parquet or jsonl")
    if isinstance(value, str) and (
        value.startswith(_FORMULA) or "|" in value or ";" in value or value != value.strip()
    ):
        raise UserError(
            f"--table csv: {value!r} in column {name!r} would be a formula to a spreadsheet, or several labels; "
            "use --table parquet or jsonl"
        )
    return value


def write_classes(classes: Classes, folder: Path, folders: tuple[str, ...] | None = None) -> bool:
    """Write ``classes.tsv``: the order of the classes, their ids and texts; whether a table could hold them.

    Parameters
    ----------
    folders
        Name of each class's folder, where that is what stands for it.
    """
    columns = {"label": folders or classes.names, "name": classes.names}
    columns |= {
        name: part
        for name, part in (("wnid", classes.wnids), ("description", classes.descriptions))
        if part is not None
    }
    cells = [cell for column in columns.values() for cell in column]
    # A table of classes is read line by line, and its cells are stripped; numbers would be taken for indices.
    if any(cell != cell.strip() or any(mark in cell for mark in "\t\n\r") for cell in cells):
        return False
    if any(name.isdigit() and name != str(c) for c, name in enumerate(classes.names)):
        return False
    if folders is not None and all(name.isdigit() for name in folders):
        return False
    out = io.StringIO()
    out.write("\t".join(columns) + "\n")
    for row in zip(*columns.values(), strict=True):
        out.write("\t".join(row) + "\n")
    write_text(folder / "classes.tsv", out.getvalue())
    return True
