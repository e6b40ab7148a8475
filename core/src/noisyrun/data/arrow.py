"""Tables that strangers wrote, read whole and checked whole: what Arrow gives out it has not always looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from noisyrun.api import UserError
from noisyrun.bank.sizes import free_memory

#: Bytes of a cell, at least, once it is read: what a file says of its size does not count repetitions.
_CELL = 4


def checked_table(read: Callable[[], pa.Table], where: str) -> pa.Table:
    """A table whose names and cells are what they say: text is UTF-8, offsets lie within.

    Raises
    ------
    UserError
        In one line, when it cannot be read, or is not so.
    """
    try:
        table = read()
        table.validate(full=True)
        list(table.column_names)  # names are decoded when they are asked for
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        raise UserError(f"cannot read {where}: {' '.join(str(error).split()) or 'it takes too much memory'}") from None
    return table


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file as a checked table.

    Raises
    ------
    UserError
        When it is none, is damaged, or would fill the memory: a small file can hold a thousand million equal rows.
    """

    def read() -> pa.Table:
        with pq.ParquetFile(path) as file:
            about = file.metadata
            size = sum(_bytes(about.row_group(group), columns) for group in range(about.num_row_groups))
            size = max(size, _CELL * about.num_rows * (len(columns) if columns is not None else about.num_columns))
            if size > free_memory():
                raise UserError(f"cannot read {path}: its {about.num_rows:,} rows would fill the memory")
            return file.read(columns=None if columns is None else list(columns))

    return checked_table(read, str(path))


def _bytes(group: pq.RowGroupMetaData, columns: Sequence[str] | None) -> int:
    """Bytes of some columns of a row group, or of parts of them such as ``image.path``, once they are read."""
    if columns is None:
        return int(group.total_byte_size)
    parts = (group.column(place) for place in range(group.num_columns))
    wanted = tuple(f"{name}." for name in columns)
    return sum(part.total_uncompressed_size for part in parts if f"{part.path_in_schema}.".startswith(wanted))
