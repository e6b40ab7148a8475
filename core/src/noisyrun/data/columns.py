"""Columns of a source as what samples carry: flags, numbers, texts and tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from noisyrun.api import UserError
from noisyrun.data.raw import Raw

C = TypeVar("C")

#: Cells that are Python's at a time, when all are asked for one after another.
_CHUNK = 1 << 14
_YES = ("1", "true", "yes", "right", "relevant")
_NO = ("0", "false", "no", "wrong", "irrelevant")
_NONE = ("", "-1", "unverified", "none")


def flags(raw: Raw, role: str) -> Tensor | None:
    """A column of yes, no or nothing: int8 [n], 1, 0 or −1; None without such a column.

    Raises
    ------
    UserError
        At the first value that is none of these.
    """
    column = raw.columns.get(role)
    if column is None:
        return None
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type)).cast(pa.int64(), safe=False)
    words = pc.unique(column)
    meaning = []
    for word in words.to_pylist():
        text = "" if word is None else str(word).strip().lower()
        value = 1 if text in _YES else 0 if text in _NO else -1
        if value == -1 and text not in _NONE:
            row = pc.index(column, pa.scalar(word, column.type)).as_py()
            name = raw.names.get(role, role)
            raise UserError(f"column {name!r} must hold 1, 0 or nothing (got {word!r} in {raw.row(row)})")
        meaning.append(value)
    places = pc.index_in(column, words).to_numpy(zero_copy_only=False).astype(np.int64)
    return torch.from_numpy(np.array(meaning or [-1], np.int8)[places])


def integers(raw: Raw, role: str) -> Tensor | None:
    """A column of whole numbers ≥ 0: int64 [n]; None without such a column.

    Raises
    ------
    UserError
        When values are missing, negative or no whole numbers.
    """
    column = raw.columns.get(role)
    if column is None:
        return None
    name = raw.names.get(role, role)
    try:
        values = column.cast(pa.int64())
    except pa.ArrowException:
        raise UserError(f"{raw.where}: column {name!r} must hold whole numbers") from None
    if values.null_count:
        raise UserError(f"{raw.where}: column {name!r} lacks {values.null_count} values")
    array = values.to_numpy(zero_copy_only=False).copy()
    if (array < 0).any():
        raise UserError(f"column {name!r} must not be negative (got {array.min()} in {raw.row(int(array.argmin()))})")
    return torch.from_numpy(array)


def named(raw: Raw, role: str) -> tuple[Tensor | None, tuple[str, ...]]:
    """A column of names as an index into the names, int64 [n], and the names; None without such a column."""
    column = raw.columns.get(role)
    if column is None:
        return None, ()
    coded = _text(raw, role, column).dictionary_encode()
    names = np.array(coded.dictionary.to_pylist(), object)
    order = np.argsort(names)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    codes = coded.indices.to_numpy(zero_copy_only=False)
    return torch.from_numpy(place[codes]), tuple(names[order].tolist())


class Cells(Sequence[C]):
    """Cells of a column, each Python's when it is asked for: sixteen million titles are a gigabyte less so.

    Parameters
    ----------
    column
        Arrow array of n values.
    made
        What a value is to whoever asks for it.
    """

    def __init__(self, column: pa.Array, made: Callable[[Any], C]) -> None:
        self._column = column
        self._made = made

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, place: int) -> C: ...

    @overload
    def __getitem__(self, place: slice) -> list[C]: ...

    def __getitem__(self, place: int | slice) -> C | list[C]:
        if isinstance(place, slice):
            return [self._made(value) for value in self._column[place].to_pylist()]
        return self._made(self._column[place].as_py())

    def __iter__(self) -> Iterator[C]:
        for start in range(0, len(self), _CHUNK):
            yield from self[start : start + _CHUNK]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str) or len(other) != len(self):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def take(self, rows: np.ndarray) -> Cells[C]:
        """Some of them, int64 [r]."""
        return Cells(self._column.take(pa.array(rows)), self._made)


def texts(raw: Raw, role: str) -> Sequence[str] | None:
    """A column of text, empty where a row has none; None without such a column."""
    column = raw.columns.get(role)
    return None if column is None else Cells(_text(raw, role, column), str)


def _text(raw: Raw, role: str, column: pa.Array) -> pa.LargeStringArray:
    try:
        return column.cast(pa.large_string()).fill_null("")
    except pa.ArrowException:
        raise UserError(f"{raw.where}: column {raw.names.get(role, role)!r} must hold text") from None


def tag_lists(raw: Raw) -> Sequence[tuple[str, ...]] | None:
    """Tags of each row: a list column, or text separated by ``|``, else by commas; None without such a column."""
    column = raw.columns.get("tags")
    if column is None:
        return None
    if raw.is_list("tags"):
        return Cells(column, _tags)
    rows = _text(raw, "tags", column)
    mark = "|" if pc.any(pc.match_substring(rows, "|")).as_py() else ","
    return Cells(rows, partial(_parts, mark))


def _tags(tags: list[Any] | None) -> tuple[str, ...]:
    return tuple(str(tag) for tag in tags or ())


def _parts(mark: str, row: str) -> tuple[str, ...]:
    return tuple(tag.strip() for tag in row.split(mark) if tag.strip())
