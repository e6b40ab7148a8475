"""Columns of a source as what samples carry: flags, numbers, texts and tags."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from noisyrun.api import UserError
from noisyrun.data.raw import Raw

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
    words = texts(raw, role)
    if words is None:
        return None, ()
    names, places = np.unique(np.array(words), return_inverse=True)
    return torch.from_numpy(places.astype(np.int64)), tuple(names.tolist())


def texts(raw: Raw, role: str) -> list[str] | None:
    """A column of text, empty where a row has none; None without such a column."""
    column = raw.columns.get(role)
    if column is None:
        return None
    return _text_cells(raw, role, column)


def _text_cells(raw: Raw, role: str, column: pa.Array) -> list[str]:
    try:
        return [value or "" for value in column.cast(pa.large_string()).to_pylist()]
    except pa.ArrowException:
        raise UserError(f"{raw.where}: column {raw.names.get(role, role)!r} must hold text") from None


def tag_lists(raw: Raw) -> list[tuple[str, ...]] | None:
    """Tags of each row: a list column, or text separated by ``|``, else by commas; None without such a column."""
    column = raw.columns.get("tags")
    if column is None:
        return None
    if raw.is_list("tags"):
        return [tuple(str(tag) for tag in tags or ()) for tags in column.to_pylist()]
    rows = _text_cells(raw, "tags", column)
    mark = "|" if any("|" in row for row in rows) else ","
    return [tuple(tag.strip() for tag in row.split(mark) if tag.strip()) for row in rows]
