"""A table of paths and labels: CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow import csv, json

from noisyrun.api import UserError
from noisyrun.bank.sizes import free_memory
from noisyrun.config.settings import DataSettings
from noisyrun.data.arrow import checked_table, unfolded
from noisyrun.data.hints import did_you_mean
from noisyrun.data.pack.read import stable_index
from noisyrun.data.raw import Raw, RawData
from noisyrun.data.refs import FileRefs
from noisyrun.data.sources.files import test_files, training_files
from noisyrun.data.sources.parquet import read_tables
from noisyrun.data.sources.paths import checked_paths
from noisyrun.data.sources.roles import find_roles, take_roles

PATHS = ("path", "file", "filename", "file_name", "filepath", "image_path", "image", "img")

#: Times that paths are held in memory as they are checked.
_COPIES = 3


def read(path: Path, settings: DataSettings) -> RawData:
    """A manifest, with its test manifest beside it (``test.csv`` beside ``train.csv``)."""
    files = training_files(path)
    train = _split(files, settings, test=False)
    found = test_files(path, settings.test, files)
    name = path.stem if path.is_file() and path.stem not in ("train", "manifest") else path.resolve().parent.name
    return RawData(
        path.name if path.is_dir() else name,
        "manifest",
        train,
        _split(found, settings, test=True) if found else None,
    )


def _split(files: list[Path], settings: DataSettings, *, test: bool) -> Raw:
    where = str(files[0])
    text = files[0].suffix.lower() != ".parquet"
    table = _read_text(files[0]) if text else read_tables(files)
    if not len(table):
        raise UserError(f"{where} is empty")
    column = next((name for name in PATHS if name in table.column_names), None)
    if column is None:
        hint = next((h for name in table.column_names if (h := did_you_mean(name, PATHS[:1]))), "")
        present = ", ".join(table.column_names)
        raise UserError(f"{where} has no column 'path' for the images (it has {present}){hint and ': rename it'}")
    root = (settings.root or files[0].parent).expanduser()
    if not root.is_dir():
        raise UserError(f"--data.root: no folder {root}")
    kind = table.column(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise UserError(f"{where}: column {column!r} must hold paths of images (it holds {str(kind)[:80]})")
    # They become text of Python's, twice for a while: a small file can repeat a long path in every row.
    if _COPIES * unfolded(table.column(column)) > free_memory():
        raise UserError(f"cannot read {where}: the paths of its {len(table):,} rows would fill the memory")
    roles = find_roles([name for name in table.column_names if name != column], settings, where, test=test)
    paths = checked_paths([None if p is None else str(p) for p in table.column(column).to_pylist()], root, where)
    return Raw(
        where,
        stable_index(table, where),
        take_roles(table, roles, text_lists=files[0].suffix.lower() in (".csv", ".tsv")),
        roles,
        images=FileRefs(root, paths),
    )


def _read_text(file: Path) -> pa.Table:
    """A CSV or TSV with a header, whose cells may hold quoted line breaks; or JSON, an object a line."""
    if file.suffix.lower() == ".jsonl":
        return checked_table(lambda: json.read_json(file), str(file))
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    table = checked_table(
        lambda: csv.read_csv(
            file,
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(null_values=[""], strings_can_be_null=False),
        ),
        str(file),
    )
    names = table.column_names
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise UserError(f"{file} has two columns {repeated[0]!r}")
    return table.rename_columns([name.strip() for name in names])
