"""One shard that is being written: a tar archive, or a Parquet file with a row group every hundred images."""

from __future__ import annotations

import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noisyrun.data.pack.columns import Column, schema_of
from noisyrun.data.pack.encode import Encoded

#: Images, and rows of features, in a row group: as many as are read to get at one of them.
_GROUP, _FEATURE_GROUP = 100, 4096
_BLOCK = 512


def key_of(row: int) -> str:
    """What a sample is called in a pack: its row, without a dot, which in a tar shard would begin its ending."""
    return f"{row:09d}"


class Sink(ABC):
    """A shard to which rows are added in order.

    Attributes
    ----------
    size
        Bytes so far.
    rows
        Rows added so far, numbers in their split.
    """

    size: int
    rows: list[int]

    @abstractmethod
    def add(self, sample: Encoded) -> None:
        """Add one row."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left; the file is whole then."""


class TarSink(Sink):
    """A tar shard in WebDataset's layout: of each row ``KEY.json``, the image, and ``KEY.cls`` where it has one label.

    Every header is the same whoever writes it and whenever: no times, owners or modes of files.

    Attributes
    ----------
    offsets, sizes, members
        Of the images' bytes, and their names.
    """

    def __init__(self, path: Path, columns: Mapping[str, Column]) -> None:
        self.size = 0
        self.rows: list[int] = []
        self.offsets: list[int] = []
        self.sizes: list[int] = []
        self.members: list[str] = []
        self.paths: list[str | None] = []
        self._columns = columns
        self._file = open(path, "wb")  # noqa: SIM115 - closed by close()

    def add(self, sample: Encoded) -> None:
        key = key_of(sample.row)
        beside = {name: column.values[sample.row].as_py() for name, column in self._columns.items()}
        beside = {name: value for name, value in beside.items() if value is not None}
        if sample.name is not None:
            beside["path"] = sample.name
        label = beside.get("label")
        if isinstance(label, int):
            self._member(f"{key}.cls", str(label).encode())
        member = f"{key}.{sample.ending}"
        self._member(f"{key}.json", json.dumps(beside, ensure_ascii=False, sort_keys=True).encode())
        self.offsets.append(self._member(member, sample.data))
        self.sizes.append(len(sample.data))
        self.members.append(member)
        self.paths.append(sample.name)
        self.rows.append(sample.row)

    def _member(self, name: str, data: bytes) -> int:
        """Write one member; returns where its bytes begin."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o644
        header = info.tobuf(tarfile.USTAR_FORMAT)
        self._file.write(header)
        self._file.write(data)
        padding = -len(data) % _BLOCK
        self._file.write(b"\0" * padding)
        begins = self.size + len(header)
        self.size = begins + len(data) + padding
        return begins

    def close(self) -> None:
        self._file.write(b"\0" * (2 * _BLOCK))
        self._file.close()


class ParquetSink(Sink):
    """A Parquet file as `datasets` writes it: images as bytes beside their names, or matrices of features."""

    def __init__(self, path: Path, columns: Mapping[str, Column], images: bool) -> None:
        self.size = 0
        self.rows: list[int] = []
        self._columns = columns
        self._images = images
        self._waiting: list[Encoded] = []
        fields: list[pa.Field] = []
        described: dict[str, Any] = {}
        if images:
            fields.append(pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
            described["image"] = {"_type": "Image"}
        self._schema = schema_of(columns, described, fields, {"index": "index"})
        plain = [name for name, column in columns.items() if not pa.types.is_nested(column.values.type)]
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            # What is compressed already is only made slower to read.
            compression="none" if images else "zstd",
            use_dictionary=plain,
            write_statistics=plain,
        )

    def add(self, sample: Encoded) -> None:
        self._waiting.append(sample)
        self.rows.append(sample.row)
        self.size += len(sample.data) + (0 if self._images else self._row_size())
        if len(self._waiting) == (_GROUP if self._images else _FEATURE_GROUP):
            self._flush()

    def _row_size(self) -> int:
        return sum(
            column.values.type.list_size * column.values.type.value_type.bit_width // 8
            for column in self._columns.values()
            if pa.types.is_fixed_size_list(column.values.type)
        )

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows = np.array([sample.row for sample in self._waiting])
        arrays = [column.take(rows) for column in self._columns.values()]
        if self._images:
            names = [sample.name or f"{key_of(sample.row)}.{sample.ending}" for sample in self._waiting]
            data = pa.array([sample.data for sample in self._waiting], pa.binary())
            arrays.insert(0, pa.StructArray.from_arrays([data, pa.array(names, pa.string())], ["bytes", "path"]))
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._waiting = []

    def close(self) -> None:
        self._flush()
        self._writer.close()
