"""Tables that strangers wrote, read whole and checked whole: what Arrow gives out it has not always looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from noisyrun.api import UserError
from noisyrun.bank.sizes import free_memory

#: Bytes of a cell, at least, once it is read: what a file says of its size does not count repetitions.
_CELL = 4
#: Share of the free memory that rows read at a time may take.
_SHARE = 0.25


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
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError, RuntimeError) as error:  # C++'s own, too
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
            free = free_memory()
            full = UserError(f"cannot read {path}: its {about.num_rows:,} rows would fill the memory")
            if size > free:
                raise full
            names, parts, held = None if columns is None else list(columns), [], 0
            for batch in _batches(file, names, free):
                held += sum(map(unfolded, batch.columns))
                if held > free:
                    raise full
                parts.append(batch)
            return pa.concat_tables(parts) if parts else file.read(columns=names)

    return checked_table(read, str(path))


def _batches(file: pq.ParquetFile, columns: list[str] | None, free: int) -> Iterator[pa.Table]:
    """Row groups; in parts where every row may repeat one long value, so that few rows are read at once."""
    about = file.metadata
    leaves = [file.schema.column(place) for place in range(len(file.schema.names))]
    texts = any(leaf.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY") for leaf in leaves)
    for number in range(about.num_row_groups):
        group = about.row_group(number)
        rows = int(free * _SHARE) // max(1, _bytes(group, columns))
        if rows >= group.num_rows or not texts:
            yield file.read_row_group(number, columns=columns)
            continue
        for batch in file.iter_batches(max(1, rows), row_groups=[number], columns=columns):
            yield pa.Table.from_batches([batch]).replace_schema_metadata(file.schema_arrow.metadata)


def unfolded(column: pa.Array | pa.ChunkedArray) -> int:
    """Bytes of a column once each row has a value of its own."""
    if isinstance(column, pa.ChunkedArray):
        return sum(map(unfolded, column.chunks))
    if not isinstance(column, pa.DictionaryArray):
        return int(column.nbytes)
    values = column.dictionary
    if not pa.types.is_binary(values.type) and not pa.types.is_string(values.type):
        return len(column) * 8
    return int(pc.sum(pc.binary_length(values).cast(pa.int64()).take(column.indices)).as_py() or 0)


def _bytes(group: pq.RowGroupMetaData, columns: Sequence[str] | None) -> int:
    """Bytes of some columns of a row group, or of parts of them such as ``image.path``, once they are read."""
    if columns is None:  # of broken columns Arrow may end the process when it is asked for one by itself
        return int(group.total_byte_size)
    parts = (group.column(place) for place in range(group.num_columns))
    wanted = tuple(f"{name}." for name in columns)
    return sum(part.total_uncompressed_size for part in parts if f"{part.path_in_schema}.".startswith(wanted))
