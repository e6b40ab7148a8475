"""Which column plays which role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.hints import did_you_mean
from noisyrun.data.raw import ABSENT, KNOWN, ROLES

#: Separates several labels in one cell of a text file; the first that stands in a column is the one.
LIST_MARKS = ("|", ";")
#: Before a label in such a cell: known not to hold.
NOT = "-"
_LISTED = (*KNOWN, *KNOWN.values(), *ABSENT.values())


#: Whether data without labels is refused: nothing can be trained on it.
_WANTED = ContextVar("labels wanted", default=True)


@contextmanager
def unlabelled() -> Iterator[None]:
    """Within the block readers take data without labels, too: it is to be predicted."""
    token = _WANTED.set(False)
    try:
        yield
    finally:
        _WANTED.reset(token)


def labels_wanted() -> bool:
    """Whether a reader refuses data without labels."""
    return _WANTED.get()


def find_roles(present: Sequence[str], settings: DataSettings, where: str, *, test: bool = False) -> dict[str, str]:
    """Column by role, from the settings or by the usual names.

    In a test set the observed label is not needed: its clean label, or a plain ``label``, serves.

    Raises
    ------
    UserError
        When a column that the user names is not there, or there is no label.
    """
    asked = {"label": settings.label, "truth": settings.clean_label}
    flags = {"label": "--data.label", "truth": "--data.clean-label"}
    found: dict[str, str] = {}
    for role, usual in ROLES.items():
        name = asked.get(role)
        if name is not None and name in present:
            found[role] = name
        elif name is not None and not test:
            raise UserError(
                f"{flags[role]}: {where} has no column {name!r}{did_you_mean(name, present)} "
                f"(it has {', '.join(present)})"
            )
        else:
            taken = set(found.values()) | {column for column in asked.values() if column is not None}
            first = next((column for column in usual if column in present and column not in taken), None)
            if first is not None:
                found[role] = first
    if test and "label" not in found and "truth" in found:
        found["label"] = found["truth"]
    if "label" not in found and labels_wanted():
        raise UserError(
            f"{where} has no column of labels by a usual name; name it with --data.label (it has {', '.join(present)})"
        )
    return found


def take_roles(table: pa.Table, roles: Mapping[str, str], *, text_lists: bool) -> dict[str, pa.Array]:
    """Columns by role, each as one Arrow array, dictionaries decoded.

    Parameters
    ----------
    text_lists
        Cells of label columns may hold several labels, separated by ``|`` or ``;``. Those with a ``-`` before them
        are known not to hold, and come as a column of their own.
    """
    columns: dict[str, pa.Array] = {}
    for role, name in roles.items():
        column = table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        if text_lists and role in _LISTED and pa.types.is_string(column.type):
            column, absent = _split(column)
            if absent is not None and role in ABSENT:
                columns[ABSENT[role]] = absent
        if role in columns:
            # The same is said in a column and by a sign; what either says holds.
            column = _both(columns[role], column)
        columns[role] = column
    return columns


def _split(column: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Text with a mark between labels in any cell as lists of them; and those with a ``-`` before them, or None."""
    mark = next((mark for mark in LIST_MARKS if pc.any(pc.match_substring(column, mark)).as_py()), None)
    if mark is None:
        return column, None
    lists = pc.split_pattern(column.fill_null(""), mark)
    words = pc.utf8_trim_whitespace(lists.values)
    given = pc.not_equal(words, "")
    negative = pc.starts_with(words, NOT)
    absent = None
    if pc.any(negative).as_py():
        absent = _kept(lists, pc.utf8_slice_codeunits(words, len(NOT)), negative)
    return _kept(lists, words, pc.and_not(given, negative)), absent


def _kept(lists: pa.ListArray, words: pa.Array, keep: pa.Array) -> pa.Array:
    """The lists with those words alone that are kept; whole numbers as such."""
    chosen = keep.to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], chosen.cumsum()])[lists.offsets.to_numpy()]
    words = words.filter(keep)
    if pc.all(pc.match_substring_regex(words, r"^\d+$")).as_py():
        words = words.cast(pa.int64())
    return pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), words)


def _both(a: pa.Array, b: pa.Array) -> pa.Array:
    """Two columns of labels or of lists of them, joined row by row."""
    rows = zip(*([cell if isinstance(cell, list) else [cell] for cell in column.to_pylist()] for column in (a, b)))
    return pa.array([[one for one in (*first, *second) if one not in (None, "")] for first, second in rows])
