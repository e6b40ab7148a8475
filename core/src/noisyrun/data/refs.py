"""References to encoded images: files, or bytes inside a table."""

from __future__ import annotations

import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noisyrun.files import open_file

#: Files whose content goes into the digest of a folder too large to read whole.
_SAMPLED = 64
#: Bytes of images in a table up to which all of them are digested.
_WHOLE = 1 << 30


#: Files whose sizes do, how many are asked for together, and by how many threads.
_SIZED, _TOGETHER, _THREADS = 1_000_000, 4096, 8


def spread(count: int, most: int = _SAMPLED) -> list[int]:
    """Up to 64 positions, or up to `most`, spread over so many images."""
    return sorted(set(np.linspace(0, count - 1, min(most, count)).astype(int).tolist()))


class ImageRefs(ABC):
    """Encoded images by position."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, position: int) -> str:
        """What a message calls an image."""

    @abstractmethod
    def open(self, position: int) -> BinaryIO:
        """Its bytes."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> ImageRefs:
        """Some of them."""

    @abstractmethod
    def digest(self) -> str:
        """SHA-256 that changes when images do."""


class FileRefs(ImageRefs):
    """Images in files of their own.

    Parameters
    ----------
    root
        Folder the paths are relative to.
    paths
        One a sample, checked to stay below the root.
    """

    def __init__(self, root: Path, paths: Sequence[str] | pa.Array) -> None:
        self.root = root
        self.paths = paths if isinstance(paths, pa.Array) else pa.array(paths, pa.large_string())

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, position: int) -> str:
        return str(self.paths[position].as_py())

    def open(self, position: int) -> BinaryIO:
        return open_file(self.root / self.name(position))

    def take(self, rows: np.ndarray) -> FileRefs:
        return FileRefs(self.root, self.paths.take(pa.array(rows)))

    def digest(self) -> str:
        """Of all names, of the sizes of a million files, and of the content of 64; both spread over all of them.

        So a file that was added, removed or renamed is noticed, and one that was replaced by another of the same size
        may not be. Times are not looked at: a copy of a data set is the same data.
        """
        total = hashlib.sha256()
        for path in self.paths:
            total.update(path.as_py().encode(errors="surrogateescape") + b"\0")
        sized = spread(len(self), _SIZED)
        # Threads: a network drive takes a while to answer, and answers many at once.
        with ThreadPoolExecutor(_THREADS) as pool:
            for sizes in pool.map(self._sizes, (sized[i : i + _TOGETHER] for i in range(0, len(sized), _TOGETHER))):
                total.update(sizes)
        for position in spread(len(self)):
            with self.open(position) as file:
                total.update(file.read())
        return total.hexdigest()

    def _sizes(self, positions: Sequence[int]) -> bytes:
        root, sizes = str(self.root), np.full(len(positions), -1, np.int64)  # whoever reads what is not there says so
        for i, path in enumerate(self.paths.take(pa.array(positions)).to_pylist()):
            with suppress(OSError):
                sizes[i] = os.stat(f"{root}/{path}").st_size
        return sizes.astype("<i8").tobytes()


class BytesRefs(ImageRefs):
    """Images as bytes in a column, kept encoded in memory or mapped into it.

    Parameters
    ----------
    data
        Binary column.
    names
        Paths that came with the bytes, or None.
    rows
        int64 [n]: row of the column each image stands in.
    """

    def __init__(self, data: pa.ChunkedArray, names: pa.ChunkedArray | None, rows: np.ndarray | None = None) -> None:
        self.data = data
        self.names = names
        self.rows = np.arange(len(data)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, position: int) -> str:
        row = int(self.rows[position])
        given = None if self.names is None else self.names[row].as_py()
        return given or f"image {row}"

    def open(self, position: int) -> BinaryIO:
        data = self.data[int(self.rows[position])].as_buffer()
        if data is None:
            raise FileNotFoundError("no bytes in this row")
        return io.BytesIO(data)

    def take(self, rows: np.ndarray) -> BytesRefs:
        return BytesRefs(self.data, self.names, self.rows[rows])

    def digest(self) -> str:
        """Of the length of every image, and of its bytes; of 64 of them where they are more than a gibibyte."""
        total = hashlib.sha256()
        lengths = pa.chunked_array([pc.binary_length(chunk).cast(pa.int64()) for chunk in self.data.chunks], pa.int64())
        sizes = lengths.fill_null(0).to_numpy()[self.rows]
        whole = int(sizes.sum()) <= _WHOLE
        if not whole:
            total.update(np.ascontiguousarray(sizes, np.int64).data)
        for row in self.rows if whole else self.rows[spread(len(self))]:
            data = self.data[int(row)].as_buffer() or b""
            total.update(len(data).to_bytes(8, "little"))
            total.update(data)
        return total.hexdigest()
