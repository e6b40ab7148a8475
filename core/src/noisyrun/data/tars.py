"""Images in tar shards, reached one by one: an index of the members, and references that read at a position.

Shards are a source with a stable sample index, as files in a folder are: the order of shards by name, then of members.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import threading
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noisyrun.api import UserError
from noisyrun.data.refs import ImageRefs, spread
from noisyrun.data.tar_headers import BLOCK, Archive, Member

#: Shards that are open at a time.
_OPEN = 128
#: Threads that scan shards: the disk is waited for more than the headers are read.
_THREADS = 8
#: Bytes of an encoded image above which it is refused: a gigabyte that calls itself an image would fill the memory.
_MAX_IMAGE = 1 << 28
#: Shards that a line names.
_NAMED = 3
#: Members whose names are kept as Python's before they become Arrow's.
_CHUNK = 1 << 16

R = TypeVar("R")


@dataclass(frozen=True)
class Members:
    """n members of tar shards, in order. Some 60 bytes each: no object a member.

    Attributes
    ----------
    shards, sizes
        The shards, and the bytes of each, int64 [S].
    shard
        int32 [n]: number of the shard that a member lies in.
    offset, size
        int64 [n]: where its bytes begin in the shard, and how many there are.
    names
        Large strings [n]: names within the shards, none of which leads outside.
    skipped
        How many members of each kind are no files, such as links.
    unmarked
        Names of shards that end without a mark, and may have been cut off between two members.
    """

    shards: tuple[Path, ...]
    sizes: np.ndarray
    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    names: pa.Array
    skipped: dict[str, int] = field(default_factory=dict)
    unmarked: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: np.ndarray) -> Members:
        """Some of them, int64 [r]."""
        return Members(
            self.shards,
            self.sizes,
            self.shard[rows],
            self.offset[rows],
            self.size[rows],
            self.names.take(pa.array(rows)),
            self.skipped,
            self.unmarked,
        )

    def find(self, names: pa.Array) -> np.ndarray:
        """int64 [m]: place of the first member of each name; −1 where there is none."""
        return pc.index_in(names.cast(pa.large_string()), self.names).fill_null(-1).to_numpy().astype(np.int64)


def index_shards(paths: Sequence[Path], wanted: Callable[[str], bool] | None = None) -> Members:
    """The members of tar shards, sorted by the shards' names; headers alone are read, in threads.

    Parameters
    ----------
    paths
        The shards; not compressed.
    wanted
        Whether a member of some name is kept; all are by default.

    Raises
    ------
    UserError
        Naming the shard that is compressed, damaged, cut off, or has a member whose name leads outside.
    """
    shards = sorted(paths)

    def scan(path: Path) -> Members:
        with Archive(path) as archive:
            found = Growing(archive)
            for member in archive.members():
                if wanted is None or wanted(member.name):
                    found.append(member)
            return found.members()

    return joined(list(over_shards(scan, shards)))


def over_shards(work: Callable[[Path], R], shards: Sequence[Path]) -> Iterable[R]:
    """What some work gives for each shard, in order, made in threads; a bar tells how far it is, on a terminal."""
    from rich.progress import track

    def told(path: Path) -> R:
        try:
            return work(path)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from None

    pool = ThreadPoolExecutor(_THREADS)
    try:
        found = pool.map(told, shards)
        if len(shards) > 1 and sys.stderr.isatty():
            from rich.console import Console

            console = Console(stderr=True)
            yield from track(found, "reading headers of shards", len(shards), console=console, transient=True)
        else:
            yield from found
    finally:
        pool.shutdown(cancel_futures=True)


class Growing:
    """Members of one archive that is being read, as arrays that grow."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._offset, self._size = array("q"), array("q")
        self._names: list[str] = []
        self._chunks: list[pa.Array] = []

    def append(self, member: Member) -> None:
        """One more."""
        name, offset, size = member
        self._names.append(name)
        self._offset.append(offset)
        self._size.append(size)
        if len(self._names) == _CHUNK:
            self._pack()

    def members(self) -> Members:
        """All of them."""
        self._pack()
        return Members(
            (self._archive.path,),
            np.array([self._archive.size]),
            np.zeros(len(self._offset), np.int32),
            np.array(self._offset, np.int64),
            np.array(self._size, np.int64),
            pa.concat_arrays(self._chunks),
            self._archive.skipped,
            () if self._archive.marked else (self._archive.path.name,),
        )

    def _pack(self) -> None:
        self._chunks.append(pa.array(self._names, pa.large_string()))
        self._names = []


def joined(parts: Sequence[Members]) -> Members:
    """Members of several shards, each given for one, as those of all."""
    skipped: Counter[str] = Counter()
    for part in parts:
        skipped.update(part.skipped)
    counts = [len(part) for part in parts]
    return Members(
        tuple(path for part in parts for path in part.shards),
        np.concatenate([part.sizes for part in parts]),
        np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.size for part in parts]),
        pa.concat_arrays([part.names for part in parts]),
        dict(skipped),
        tuple(name for part in parts for name in part.unmarked),
    )


def unmarked(members: Members) -> str | None:
    """A line on shards that may have been cut off between two members; None where there are none."""
    names = members.unmarked
    if not names:
        return None
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return (
        f"{len(names):,} of {len(members.shards):,} shards end without the mark of an archive's end, and may be cut "
        f"off between two members: {', '.join(names[:_NAMED])}{more}"
    )


def unfit(members: Members) -> str | None:
    """Why shards on disk are not those that an index kept beside them tells of, or None: told from their sizes, the
    bounds of all members, and the headers of up to 64 of them.
    """
    if len({len(members.shard), len(members.offset), len(members.size), len(members)}) > 1:
        return "its columns differ in length"
    if not len(members):
        return None
    if members.shard.min() < 0 or members.shard.max() >= len(members.shards):
        return "it names shards that it does not list"
    for path, size in zip(members.shards, members.sizes.tolist(), strict=True):
        found = path.stat().st_size if path.is_file() else -1
        if found != size:
            return f"{path.name} has {found:,} bytes, not {size:,}" if found >= 0 else f"{path.name} is missing"
    room = members.sizes[members.shard] - members.size
    if members.offset.min() < BLOCK or members.size.min() < 0 or (members.offset > room).any():
        return "it has images beyond the ends of their shards"
    for place in spread(len(members)):
        start, length = int(members.offset[place]), int(members.size[place])
        with Archive(members.shards[members.shard[place]]) as archive:
            if archive.length_at(start - BLOCK) != length:
                return f"no image of {length:,} bytes stands at byte {start:,} of {archive.path.name}"
    return None


class TarRefs(ImageRefs):
    """Images that are members of tar shards, each read by its position; threads may share them.

    Parameters
    ----------
    members
        The images.
    """

    def __init__(self, members: Members, _handles: _Handles | None = None) -> None:
        self.members = members
        self._handles = _handles or _Handles(members.shards, members.sizes)

    def __len__(self) -> int:
        return len(self.members)

    def name(self, position: int) -> str:
        """Name of the shard, and of the member in it."""
        shard = self.members.shards[int(self.members.shard[position])]
        return f"{shard.name}/{self.members.names[position].as_py()}"

    def open(self, position: int) -> BinaryIO:
        """
        Raises
        ------
        OSError
            When the shard is gone, or is another one than was indexed; or the member is too large for an image.
        """
        part = self.members
        size = int(part.size[position])
        if size > _MAX_IMAGE:
            raise OSError(f"{size:,} bytes are too many for an image")
        return io.BytesIO(self._handles.read(int(part.shard[position]), int(part.offset[position]), size))

    def take(self, rows: np.ndarray) -> TarRefs:
        return TarRefs(self.members.take(rows), self._handles)

    def digest(self) -> str:
        """Of all names and sizes, and of the content of up to 64 images spread over them."""
        total = hashlib.sha256()
        for path, size in zip(self.members.shards, self.members.sizes.tolist(), strict=True):
            total.update(f"{path.name}:{size}\0".encode(errors="surrogateescape"))
        for values in (self.members.shard, self.members.offset, self.members.size):
            total.update(np.ascontiguousarray(values).data)
        for chunk in range(0, len(self), _CHUNK):
            for name in self.members.names[chunk : chunk + _CHUNK].to_pylist():
                total.update(name.encode() + b"\0")
        for position in spread(len(self)):
            with self.open(int(position)) as file:
                total.update(file.read())
        return total.hexdigest()


class _Handles:
    """Shards that are open, of which the one that was not read for the longest time is closed when there are many."""

    def __init__(self, shards: Sequence[Path], sizes: np.ndarray) -> None:
        self._shards = shards
        self._sizes = sizes
        self._lock = threading.Lock()
        self._files: OrderedDict[int, _Handle] = OrderedDict()

    def read(self, shard: int, offset: int, size: int) -> bytes:
        with self._lock:
            file = self._files.get(shard)
            if file is None:
                file = self._files[shard] = _Handle(self._shards[shard], int(self._sizes[shard]))
            self._files.move_to_end(shard)
            if len(self._files) > _OPEN:
                self._files.popitem(last=False)  # closed when the last read from it is done
        return file.read(offset, size)


class _Handle:
    """One open file, closed when nobody holds it."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDONLY)
        if os.fstat(self._file).st_size != size:
            raise OSError(f"{path} is not as long as when it was indexed")

    def read(self, offset: int, size: int) -> bytes:
        parts = []
        while size:
            part = os.pread(self._file, size, offset)
            if not part:
                raise OSError(f"{self._path} ends within the image")
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)
