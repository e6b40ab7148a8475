"""Samples of a tar shard in WebDataset's convention: files that stand together and share a name up to its first dot."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from noisyrun.api import UserError
from noisyrun.data.sources.folder import suffixes
from noisyrun.data.tar_headers import Archive, Member
from noisyrun.data.tars import Growing, Members

#: Files of text, by the columns that they become.
_TEXTS = {"cls": "cls", "cls.txt": "cls", "txt": "txt"}
_JSON = "json"
#: Bytes that a label, a caption or an object of JSON may have.
_MAX_TEXT = 1 << 20
#: Which of several images of a sample is read.
_PREFERRED = ("jpg", "jpeg", "png", "webp")
#: Samples whose columns are kept as Python's values before they become Arrow's.
_CHUNK = 1 << 14


@dataclass
class ShardSamples:
    """n samples of one shard.

    Attributes
    ----------
    images
        Where their images stand.
    tables
        What stands beside the images, in parts of n rows altogether.
    keys
        Names in the JSON of any sample, whether they become columns or not.
    left_out
        How many samples, or images, are not read, by reason.
    """

    images: Members
    tables: list[pa.Table]
    keys: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)


def read_shard(path: Path, wanted: Collection[str]) -> ShardSamples:
    """The samples of one shard. Images are not read; what stands beside them is.

    Parameters
    ----------
    wanted
        Names in a sample's JSON that become columns.

    Raises
    ------
    UserError
        As `Archive.members` does, and for text or JSON that cannot be read, or samples whose files stand apart.
    """
    with Archive(path) as archive:
        images, names = Growing(archive), Growing(archive)
        found = ShardSamples(images.members(), [])
        rows: list[dict[str, Any]] = []
        for key, files in _groups(archive):
            names.append(Member(key, 0, 0))
            image = _image(path, key, files, found)
            if image is None:
                found.left_out["samples without an image"] += 1
                continue
            images.append(image)
            rows.append(_cells(archive, files, found.keys))
            if len(rows) == _CHUNK:
                found.tables.append(_table(rows, wanted, path))
                rows = []
        found.tables.append(_table(rows, wanted, path))
        found.images = images.members()
    _each_once(names.members().names, path)
    return found


def _groups(archive: Archive) -> Iterator[tuple[str, dict[str, Member]]]:
    """Files by ending, of each key in turn; files without an ending, and hidden ones, belong to no sample."""
    members = ((*_split(member.name), member) for member in archive.members())
    for key, group in groupby((entry for entry in members if entry[0]), key=lambda entry: entry[0]):
        files: dict[str, Member] = {}
        for _, ending, member in group:
            if ending in files:
                raise UserError(f"{archive.path}: sample {key!r} has two files .{ending}; each key must be its own")
            files[ending] = member
        yield key, files


def _split(name: str) -> tuple[str, str]:
    """Key and ending of a file, cut at the first dot of its name; its folder is part of the key."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    if not stem or not ending or folder.startswith("__MACOSX"):
        return "", ""
    return folder + slash + stem, ending.lower()


def _image(path: Path, key: str, files: dict[str, Member], found: ShardSamples) -> Member | None:
    known = suffixes()
    plain = [ending for ending in files if "." + ending in known]
    if len(plain) == 1:
        return files[plain[0]]
    if plain:
        found.left_out["further images of samples that have several"] += len(plain) - 1
        return files[min(plain, key=lambda e: (_PREFERRED.index(e) if e in _PREFERRED else len(_PREFERRED), e))]
    longer = [ending for ending in files if "." + ending.rpartition(".")[2] in known]
    if len(longer) > 1:
        raise UserError(
            f"{path}: sample {key!r} has several images (.{longer[0]}, .{longer[1]}): a name up to its first dot is "
            "the key of a sample, so names of images must have no other dot"
        )
    return files[longer[0]] if longer else None


def _cells(archive: Archive, files: dict[str, Member], keys: set[str]) -> dict[str, Any]:
    """What stands beside an image, by column."""
    cells: dict[str, Any] = {}
    for ending, member in files.items():
        if ending != _JSON and ending not in _TEXTS:
            continue
        if member.size > _MAX_TEXT:
            raise UserError(f"{archive.path}: {member.name} has {member.size:,} bytes, too many for text")
        content = archive.read(member.offset, member.size)
        try:
            if ending == _JSON:
                given = json.loads(content)
                if not isinstance(given, dict):
                    raise ValueError("no JSON object")
                keys.update(given)
                cells |= given
            else:
                cells[_TEXTS[ending]] = content.decode("utf-8-sig").strip()
        except (ValueError, RecursionError) as error:
            raise UserError(f"{archive.path}: cannot read {member.name}: {' '.join(str(error).split())}") from None
    return cells


def _table(rows: list[dict[str, Any]], wanted: Collection[str], path: Path) -> pa.Table:
    """Some samples' columns; a table without columns still has as many rows."""
    names = [name for name in ("cls", "txt", *wanted) if any(row.get(name) is not None for row in rows)]
    columns: dict[str, pa.Array] = {"": pa.nulls(len(rows))}
    for name in dict.fromkeys(names):
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError):
            raise UserError(f"{path}: {name!r} of the samples is no column: its values are not of one kind") from None
    return pa.table(columns)


def _each_once(keys: pa.Array, path: Path) -> None:
    if len(keys) == pc.count_distinct(keys).as_py():
        return
    counted = pc.value_counts(keys)
    twice = counted.field("values")[pc.index(pc.greater(counted.field("counts"), 1), True).as_py()]
    raise UserError(
        f"{path}: the files of sample {twice.as_py()!r} do not stand together; write the archive in the order of names "
        "(tar --sort=name)"
    )
