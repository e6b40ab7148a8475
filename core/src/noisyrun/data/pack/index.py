"""The index of the tar shards of a split: a row a sample, with the place of its image and all known beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from noisyrun.data.pack.columns import INDEX, Column, schema_of
from noisyrun.data.pack.sinks import TarSink, key_of
from noisyrun.data.pack.work import Work
from noisyrun.files import atomic

FILE = "index-{}.parquet"
#: Working name of the places in one shard, by split and number.
PART = ".{}-{:06d}.places"
_PLACES = pa.schema(
    [("row", pa.int64()), ("name", pa.string()), ("offset", pa.int64()), ("size", pa.int64()), ("path", pa.string())]
)


@dataclass(frozen=True)
class IndexPart:
    """Where the images of one shard stand."""

    table: pa.Table

    @classmethod
    def of(cls, sink: TarSink) -> IndexPart:
        """The places in a shard that has been written."""
        values = [sink.rows, sink.members, sink.offsets, sink.sizes, sink.paths]
        return cls(pa.table([pa.array(part, field.type) for part, field in zip(values, _PLACES)], schema=_PLACES))

    def write(self, path: Path) -> None:
        """Write the part, for when the index is put together."""
        with atomic(path) as temporary:
            pq.write_table(self.table, temporary)


def write_index(work: Work, split: str, columns: Mapping[str, Column]) -> None:
    """Write the index of the shards of one split, a row group a shard."""
    if (work.path / FILE.format(split)).is_file():
        return  # by a pack that was killed while it took its name
    places = [("shard", pa.string()), ("key", pa.string()), *((f.name, f.type) for f in _PLACES if f.name != "row")]
    described = {name: {"dtype": str(kind), "_type": "Value"} for name, kind in places}
    shards = work.splits[split].shards
    notes = {"index": INDEX, "shards": {shard["file"]: shard["bytes"] for shard in shards}}
    schema = schema_of(columns, described, [pa.field(*one) for one in places], notes)
    with (
        atomic(work.path / FILE.format(split)) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        for number, shard in enumerate(shards):
            part = pq.read_table(work.path / PART.format(split, number))
            rows = part.column("row").to_numpy()
            arrays = [
                pa.array([shard["file"]] * len(rows)),
                pa.array([key_of(row) for row in rows.tolist()]),
                *(part.column(field.name).combine_chunks() for field in _PLACES if field.name != "row"),
                *(column.take(rows) for column in columns.values()),
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def endings(work: Work, split: str) -> set[str]:
    """Of the names of a split's images, once its index is written."""
    file = pq.ParquetFile(work.path / FILE.format(split))
    return {
        name.partition(".")[2]
        for group in range(file.num_row_groups)
        for name in file.read_row_group(group, ["name"]).column("name").to_pylist()
    }
