"""Lists in text files, as columns: a web-scale list has 16 million lines, and no Python object for each is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noisyrun.api import UserError
from noisyrun.data.layouts.findings import Findings

#: Bytes of a text file that are read at a time.
_BLOCK = 16 << 20
#: Bytes of a line beyond which a file is no list, and is not read into memory.
_LONGEST = 16 << 20
_INTEGER = r"\A-?[0-9]{1,18}\z"


def _line_blocks(file: Path) -> Iterator[pa.LargeStringArray]:
    """Lines of a text file that hold something, without their ends, a block at a time.

    Raises
    ------
    UserError
        When the file is missing, empty or no text.
    """
    count = 0
    try:
        with open(file, "rb") as stream:
            for start, block in _blocks(stream):
                found = _split(block, start, file)
                found = found.filter(pc.not_equal(pc.utf8_trim_whitespace(found), ""))
                count += len(found)
                yield found
    except FileNotFoundError:
        raise UserError(f"{file} is missing") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from None
    if not count:
        raise UserError(f"{file} is empty")


def _blocks(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Whole lines, and the place in the file at which they begin."""
    start, rest = 0, b""
    while block := stream.read(_BLOCK):
        block = rest + block
        end = block.rfind(b"\n") + 1
        if end:
            yield start, block[:end]
        start, rest = start + end, block[end:]
        if len(rest) > _LONGEST:
            raise OSError(f"a line is longer than {_LONGEST >> 20} MiB, which no list has")
    if rest:
        yield start, rest


def _split(block: bytes, start: int, file: Path) -> pa.LargeStringArray:
    try:
        text = block.decode("utf-8-sig" if start == 0 else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not UTF-8 (byte {start + error.start}: {error.reason}); convert it to UTF-8"
        ) from None
    if "\0" in text:
        raise UserError(f"{file} is no text: it holds zero bytes; write it again as UTF-8")
    rows = pc.split_pattern(pa.array([text], pa.large_string()), "\n")
    return pc.utf8_trim(rows.values, "\r")


def lines(file: Path) -> list[str]:
    """Lines of a text file that hold something; errors as for lists of labels."""
    return [line for block in _line_blocks(file) for line in block.to_pylist()]


def labelled(file: Path) -> tuple[pa.LargeStringArray, np.ndarray]:
    """A file of ``path label`` lines: paths [n], which may hold spaces and commas, and labels, int64 [n].

    Raises
    ------
    UserError
        When the file is missing, empty or no text; naming the first line that is neither path nor label.
    """
    paths, labels, before = [], [], 0
    for block in _line_blocks(file):
        rows = pc.utf8_rtrim_whitespace(block)
        cells = pc.split_pattern(rows, " ", max_splits=1, reverse=True)
        good = pc.equal(pc.list_value_length(cells), 2).to_numpy(zero_copy_only=False)
        if good.all():
            values = cells.flatten()
            first, second = (values.take(pa.array(np.arange(start, len(values), 2))) for start in (0, 1))
            first = pc.utf8_rtrim_whitespace(first)
            fits = pc.and_(pc.match_substring_regex(second, _INTEGER), pc.not_equal(first, ""))
            good = fits.to_numpy(zero_copy_only=False)
        if not good.all():
            row = int(good.argmin())
            line = rows[row].as_py()[:80]
            raise UserError(f"{file}, line {before + row + 1}: {line!r} is no path and label with a space between")
        paths.append(first)
        labels.append(second.cast(pa.int64()).to_numpy())
        before += len(rows)
    return pa.concat_arrays(paths), np.concatenate(labels)


def tsv(file: Path, header: Sequence[str], found: Findings) -> list[list[str]]:
    """Rows of a TSV with a header; a header that is missing is a problem, and the first line then a row.

    Raises
    ------
    UserError
        Naming the first row of another length.
    """
    rows = [line.rstrip().split("\t") for line in lines(file)]
    if rows[0][0].strip() != header[0]:
        found.problem(f"{file}: the header ({', '.join(header)}) is missing; give it back as the first line")
    else:
        rows.pop(0)
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise UserError(f"{file}, line {number}: {len(row)} cells, not {len(header)} ({', '.join(header)})")
    return rows
