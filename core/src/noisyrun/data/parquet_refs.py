"""Images in Parquet files that are larger than the memory: read by row group, some of which are kept."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisyrun.api import UserError
from noisyrun.data.arrow import checked_table
from noisyrun.data.refs import ImageRefs, spread

#: Bytes of row groups that are kept.
CACHE = 1 << 30


@dataclass(frozen=True)
class RowGroups:
    """Row groups of some Parquet files, in order.

    Attributes
    ----------
    files, footers
        The files, and what each says of itself.
    file, group
        int64 [G]: number of the file each lies in, and its number there.
    starts
        int64 [G + 1]: row at which each begins; the number of rows.
    bytes
        int64 [G]: of the column of images, once it is read.
    """

    files: tuple[Path, ...]
    footers: tuple[pq.FileMetaData, ...]
    file: np.ndarray
    group: np.ndarray
    starts: np.ndarray
    bytes: np.ndarray

    @classmethod
    def of(cls, files: Sequence[Path], column: str) -> RowGroups:
        """From the ends of the files alone; `column` holds bytes, or a struct of bytes and more."""
        footers, file, group, rows, size = [], [], [], [], []
        for number, path in enumerate(files):
            try:
                footers.append(pq.read_metadata(path))
            except (pa.ArrowException, OSError) as error:
                raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from None
            for place in range(footers[-1].num_row_groups):
                about = footers[-1].row_group(place)
                parts = (about.column(leaf) for leaf in range(about.num_columns))
                mine = [part for part in parts if part.path_in_schema in (column, f"{column}.bytes")]
                file.append(number)
                group.append(place)
                rows.append(about.num_rows)
                size.append(sum(part.total_uncompressed_size for part in mine))
        starts = np.concatenate([[0], np.cumsum(np.array(rows, np.int64))]).astype(np.int64)
        return cls(tuple(files), tuple(footers), np.array(file), np.array(group), starts, np.array(size, np.int64))


class ParquetRefs(ImageRefs):
    """Images as bytes in a column of Parquet files.

    In order, as features are extracted and packs are written, every row group is read once. In another order nearly
    every image has its row group read, which is slow where groups are large.

    Parameters
    ----------
    groups
        Row groups of the files.
    column
        The column, of bytes, or of structs with a field `bytes`.
    names
        Paths that came with the bytes, or None.
    rows
        int64 [n]: row each image stands in.
    """

    def __init__(
        self,
        groups: RowGroups,
        column: str,
        names: pa.ChunkedArray | None = None,
        rows: np.ndarray | None = None,
        _cache: _Cache | None = None,
    ) -> None:
        self.groups = groups
        self.column = column
        self.names = names
        self.rows = np.arange(groups.starts[-1]) if rows is None else rows
        self._cache = _cache or _Cache(groups, column)

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, position: int) -> str:
        row = int(self.rows[position])
        given = None if self.names is None else self.names[row].as_py()
        return given or f"image {row}"

    def open(self, position: int) -> BinaryIO:
        row = int(self.rows[position])
        group = int(np.searchsorted(self.groups.starts, row, side="right")) - 1
        data = self._cache.group(group)[row - int(self.groups.starts[group])].as_buffer()
        if data is None:
            raise FileNotFoundError("no bytes in this row")
        return io.BytesIO(data)

    def take(self, rows: np.ndarray) -> ParquetRefs:
        return ParquetRefs(self.groups, self.column, self.names, self.rows[rows], self._cache)

    def digest(self) -> str:
        """Of the rows and sizes of all row groups, of which rows are taken, and of up to 64 images spread over them."""
        total = hashlib.sha256()
        for values in (self.groups.starts, self.groups.bytes, self.rows):
            total.update(np.ascontiguousarray(values, np.int64).data)
        for position in spread(len(self)):
            with self.open(position) as file:
                total.update(file.read())
        return total.hexdigest()


class _Cache:
    """Row groups that were read last; threads that want the same one wait for it."""

    def __init__(self, groups: RowGroups, column: str) -> None:
        self._groups = groups
        self._column = column
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Future[Any]] = OrderedDict()

    def group(self, number: int) -> pa.ChunkedArray:
        """The images of one row group, as bytes."""
        with self._lock:
            known = self._kept.get(number)
            if known is None:
                mine: Future[Any] = Future()
                self._kept[number] = mine
                sizes = self._groups.bytes
                while len(self._kept) > 1 and sum(int(sizes[kept]) for kept in self._kept) > CACHE:
                    self._kept.popitem(last=False)
            else:
                self._kept.move_to_end(number)
        if known is not None:
            return known.result()
        try:
            mine.set_result(self._read(number))
        except BaseException as error:
            mine.set_exception(error)
            with self._lock:
                self._kept.pop(number, None)
        return mine.result()

    def _read(self, number: int) -> pa.ChunkedArray:
        place = int(self._groups.file[number])
        path, group = self._groups.files[place], int(self._groups.group[number])

        def read() -> pa.Table:
            with pq.ParquetFile(path, metadata=self._groups.footers[place], memory_map=True) as file:
                return file.read_row_group(group, columns=[self._column], use_threads=False)

        column = checked_table(read, f"row group {group} of {path}").column(0)
        if len(column) != int(np.diff(self._groups.starts)[number]):
            raise OSError(f"row group {group} of {path} has {len(column)} rows, and others than its file says")
        if pa.types.is_struct(column.type):
            return pa.chunked_array([chunk.field("bytes") for chunk in column.chunks], column.type.field("bytes").type)
        return column
