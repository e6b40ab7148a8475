"""Which column plays which role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.hints import did_you_mean
from noisyrun.data.raw import ROLES

#: Separates several labels in one cell of a text file.
LIST_MARK = "|"


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
    if "label" not in found:
        raise UserError(
            f"{where} has no column of labels by a usual name; name it with --data.label (it has {', '.join(present)})"
        )
    return found


def take_roles(table: pa.Table, roles: Mapping[str, str], *, text_lists: bool) -> dict[str, pa.Array]:
    """Columns by role, each as one Arrow array, dictionaries decoded.

    Parameters
    ----------
    text_lists
        Cells of label columns may hold several labels, separated by ``|``.
    """
    columns: dict[str, pa.Array] = {}
    for role, name in roles.items():
        column = table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        if text_lists and role in ("label", "truth", "trusted", "known") and pa.types.is_string(column.type):
            column = _split(column)
        columns[role] = column
    return columns


def _split(column: pa.Array) -> pa.Array:
    """Text with ``|`` in any cell as a list of labels, whole numbers as such."""
    if not pc.any(pc.match_substring(column, LIST_MARK)).as_py():
        return column
    lists = pc.split_pattern(column, LIST_MARK)
    words = pc.utf8_trim_whitespace(lists.values)
    if pc.all(pc.match_substring_regex(words, r"^\d+$")).as_py():
        words = words.cast(pa.int64())
    return pa.ListArray.from_arrays(lists.offsets, words)
