"""Tar shards in WebDataset's convention: `KEY.jpg` beside `KEY.cls`, `KEY.json` and `KEY.txt`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.raw import ROLES, Raw, RawData
from noisyrun.data.sources.roles import find_roles, take_roles
from noisyrun.data.sources.shards import find_shards
from noisyrun.data.sources.tar_samples import read_shard
from noisyrun.data.tars import TarRefs, joined, over_shards, unmarked

#: Class names by index, one a line.
_CLASSES = ("classes.txt", "classnames.txt", "labels.txt")


def read(path: Path, settings: DataSettings) -> RawData:
    """Shards of a folder, a pattern or a file, with test shards beside them.

    The stable index counts the samples in order of shards by name, then of samples.
    """
    shards, test_shards = find_shards(path, settings.test)
    notes: list[str] = []
    train = _split(path, shards, settings, notes, test=False)
    test = None
    if test_shards:
        test = _split(test_shards[0].parent, test_shards, settings, notes, test=True)
    name = shards[0].parent.resolve().name if path.is_dir() else path.name.partition("{")[0].partition(".")[0]
    return RawData(name.strip("-_") or "shards", "webdataset", train, test, _class_names(shards), notes=tuple(notes))


def _split(where: Path, shards: list[Path], settings: DataSettings, notes: list[str], *, test: bool) -> Raw:
    asked = [name for name in (settings.label, settings.clean_label) if name is not None]
    wanted = dict.fromkeys((*(name for names in ROLES.values() for name in names), *asked))
    parts = list(over_shards(lambda shard: read_shard(shard, wanted), shards))
    members = joined([part.images for part in parts])
    left_out: Counter[str] = Counter(members.skipped)
    for part in parts:
        left_out.update(part.left_out)
    if not len(members):
        raise UserError(f"{where} holds no sample with an image (KEY.jpg, KEY.png, …){_counted(left_out)}")
    if left_out:
        notes.append(f"{where}: left out{_counted(left_out)[1:]}")
    if (line := unmarked(members)) is not None:
        notes.append(f"{where}: {line}")
    try:
        table = pa.concat_tables([table for part in parts for table in part.tables], promote_options="permissive")
    except pa.ArrowException as error:
        raise UserError(
            f"{where}: shards differ in what stands beside images: {' '.join(str(error).split())}"
        ) from None
    table = table.drop_columns([""])
    others = sorted(set().union(*(part.keys for part in parts)) - set(table.column_names))
    roles = find_roles([*table.column_names, *others], settings, str(where), test=test)
    columns = take_roles(table, roles, text_lists=False)
    for role, name in roles.items():
        if name == "cls":
            columns[role] = _numbers(columns[role])
    return Raw(str(where), np.arange(len(members)), columns, roles, images=TarRefs(members))


def _counted(left_out: Counter[str]) -> str:
    return "".join(f", {what}: {count:,}" for what, count in sorted(left_out.items()))


def _numbers(column: pa.Array) -> pa.Array:
    """Text as whole numbers, where each is one."""
    given = column.drop_null()
    if not len(given) or not pc.all(pc.match_substring_regex(given, r"^-?\d{1,18}$")).as_py():
        return column
    return column.cast(pa.int64())


def _class_names(shards: list[Path]) -> tuple[str, ...] | None:
    """Names of a file of classes that lies beside the shards or above them."""
    for folder in dict.fromkeys((shards[0].parent, shards[0].parent.parent)):
        for name in _CLASSES:
            if (folder / name).is_file():
                try:
                    lines = (folder / name).read_text("utf-8-sig").splitlines()
                except (OSError, UnicodeError) as error:
                    raise UserError(f"cannot read {folder / name}: {error}") from None
                return tuple(line.strip() for line in lines if line.strip()) or None
    return None
