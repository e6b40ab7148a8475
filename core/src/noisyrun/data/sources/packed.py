"""Tar shards that noisyrun packed, with the index beside them: no header is scanned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.pack.columns import METADATA
from noisyrun.data.pack.index import FILE
from noisyrun.data.pack.read import stable_index
from noisyrun.data.raw import Raw, RawData
from noisyrun.data.sources.files import existing
from noisyrun.data.sources.parquet import class_names, read_tables
from noisyrun.data.sources.roles import find_roles, take_roles
from noisyrun.data.tars import Members, TarRefs, unfit

_PLACES = ("shard", "name", "offset", "size")


def read(path: Path, settings: DataSettings) -> RawData:
    """A pack, with its own test set or the one of another pack."""
    train, classes = _split(path, "train", settings, test=False)
    test = None
    other = path if settings.test is None else existing(Path(settings.test).expanduser(), "--data.test")
    split = "test" if (other / FILE.format("test")).is_file() else "train"
    if settings.test is not None or split == "test":
        test, others = _split(other, split, settings, test=True)
        if others != classes:
            raise UserError(f"{test.where} names other classes, or in another order, than {train.where}")
    return RawData(path.resolve().name, "pack", train, test, classes)


def _split(folder: Path, split: str, settings: DataSettings, *, test: bool) -> tuple[Raw, tuple[str, ...] | None]:
    file = folder / FILE.format(split)
    if not file.is_file():
        raise UserError(f"{folder} holds no {file.name}, the index of its shards")
    table = read_tables([file])
    where = str(file)
    lacking = [name for name in _PLACES if name not in table.column_names]
    if lacking or not len(table):
        raise UserError(f"{where} is no index of shards ({f'no column {lacking[0]!r}' if lacking else 'it is empty'})")
    roles = find_roles([name for name in table.column_names if name not in _PLACES], settings, where, test=test)
    raw = Raw(
        where,
        stable_index(table, where),
        take_roles(table, roles, text_lists=False),
        roles,
        images=TarRefs(_members(table, folder, where)),
    )
    return raw, class_names(table.schema, roles.get("label", ""))


def _members(table: pa.Table, folder: Path, where: str) -> Members:
    """Where the images stand.

    Raises
    ------
    UserError
        When the shards are not those of the index, or one lies elsewhere.
    """
    try:
        sizes = {str(name): int(size) for name, size in json.loads(table.schema.metadata[METADATA])["shards"].items()}
        shards, names = table.column("shard").cast(pa.string()), table.column("name").cast(pa.large_string())
        offset, size = (table.column(name).cast(pa.int64()) for name in ("offset", "size"))
    except (KeyError, ValueError, TypeError, AttributeError, pa.ArrowException):
        raise UserError(f"{where} is no index of shards that noisyrun wrote") from None
    for name in sizes:
        if Path(name).name != name:
            raise UserError(f"{where}: shard {name!r} does not lie in {folder}")
    if any(column.null_count for column in (shards, names, offset, size)):
        raise UserError(f"{where} lacks places of images")
    number = pa.compute.index_in(shards, pa.array(list(sizes), pa.string())).fill_null(-1).to_numpy()
    members = Members(
        tuple(folder / name for name in sizes),
        np.array(list(sizes.values()), np.int64),
        number.astype(np.int32),
        offset.to_numpy(),
        size.to_numpy(),
        pa.concat_arrays(names.chunks),
    )
    reason = unfit(members)
    if reason is not None:
        raise UserError(f"{where} is not of the shards beside it: {reason}")
    return members
