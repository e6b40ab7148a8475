"""Columns of a pack: what a split carries beside its images, under names that every reader finds again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from noisyrun.api import PAD, UserError
from noisyrun.data.classes import Classes, encode
from noisyrun.data.columns import flags, integers, tag_lists
from noisyrun.data.raw import ABSENT, KNOWN, Raw

#: Name of the column that plays each role in whatever is packed or exported: the one that is found first.
NAMES: Mapping[str, str] = {
    "label": "label",
    "truth": "clean_label",
    "known": "known",
    "absent": "labels_absent",
    "truth_known": "clean_known",
    "truth_absent": "clean_labels_absent",
    "verified": "verified",
    "trusted": "trusted",
    "trusted_known": "trusted_known",
    "trusted_absent": "trusted_labels_absent",
    "clean": "clean",
    "title": "title",
    "description": "description",
    "tags": "tags",
    "source": "source",
    "rank": "rank",
}
#: Column of the stable index.
INDEX = "index"
#: Key of a Parquet schema's metadata under which noisyrun notes what a reader should know.
METADATA = b"noisyrun"
#: Under it, the columns that a split lacks.
ABSENT_NOTE = "absent"
_CLASSES = (*KNOWN, *KNOWN.values(), *ABSENT.values())
_TEXTS = ("title", "description", "source")


@dataclass(frozen=True)
class Column:
    """One column of a split.

    Attributes
    ----------
    values
        One a row.
    feature
        What the values are, as Hugging Face's `datasets` writes it into a schema; None: told from their type.
    absent
        The split lacks it, and it is there, null, because `datasets` wants the same columns in all splits.
    """

    values: pa.Array
    feature: Mapping[str, Any] | None = None
    absent: bool = False

    @property
    def described(self) -> Mapping[str, Any]:
        """What the values are."""
        return self.feature or value_feature(self.values.type)

    def take(self, rows: np.ndarray) -> pa.Array:
        """The values of some rows."""
        return self.values.take(pa.array(rows))


def value_feature(kind: pa.DataType) -> Mapping[str, Any]:
    """A type of plain values, or of lists of them, as `datasets` describes it."""
    if pa.types.is_fixed_size_list(kind):
        return {"feature": value_feature(kind.value_type), "length": kind.list_size, "_type": "Sequence"}
    if pa.types.is_list(kind):
        return {"feature": value_feature(kind.value_type), "_type": "Sequence"}
    names = {pa.float16(): "float16", pa.float32(): "float32", pa.float64(): "float64"}
    return {"dtype": names.get(kind, str(kind)), "_type": "Value"}


def class_feature(names: tuple[str, ...], several: bool) -> Mapping[str, Any]:
    """A column of classes, or of lists of them."""
    label = {"names": list(names), "_type": "ClassLabel"}
    return {"feature": label, "_type": "Sequence"} if several else label


def columns_of(raw: Raw, classes: Classes) -> dict[str, Column]:
    """All that a split carries by role, classes as indices, under the names of `NAMES`; first the stable index.

    Raises
    ------
    UserError
        For a value that a run would refuse as well.
    """
    if (np.diff(raw.index) <= 0).any():
        raise UserError(f"{raw.where}: the stable index of its rows must ascend")
    columns = {INDEX: Column(pa.array(raw.index.astype(np.int64)))}
    for role, name in NAMES.items():
        if role not in raw.columns:
            continue
        if role in _CLASSES:
            columns[name] = class_column(raw, role, classes)
        elif role in ("verified", "clean"):
            given = flags(raw, role)
            assert given is not None
            columns[name] = Column(pa.array(given.numpy(), mask=given.numpy() < 0))
        elif role == "rank":
            ranks = integers(raw, role)
            assert ranks is not None
            columns[name] = Column(pa.array(ranks.numpy()))
        elif role == "tags":
            columns[name] = Column(pa.array([list(tags) for tags in tag_lists(raw) or ()], pa.list_(pa.string())))
        else:
            columns[name] = Column(_text(raw, role))
    return columns


def class_column(raw: Raw, role: str, classes: Classes) -> Column:
    """A column of classes as indices: null, or a list without it, where a row has none."""
    found = encode(raw, role, classes)
    assert found is not None
    several = raw.is_list(role)
    return Column(class_values(found.numpy(), several), class_feature(classes.names, several))


def class_values(padded: np.ndarray, several: bool) -> pa.Array:
    """Padded class indices int64 [n, k] as lists, or for k = 1 as plain values with null for none."""
    if not several:
        return pa.array(padded[:, 0], mask=padded[:, 0] == PAD)
    held = padded != PAD
    ends = np.concatenate([[0], held.sum(1).cumsum()])
    return pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), pa.array(padded[held]))


def _text(raw: Raw, role: str) -> pa.Array:
    try:
        return raw.columns[role].cast(pa.large_string()).cast(pa.string())
    except pa.ArrowException:
        raise UserError(f"{raw.where}: column {raw.names.get(role, role)!r} must hold text") from None


def matrix_column(values: np.ndarray) -> Column:
    """A matrix [n, D] as a column of lists of one length."""
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return Column(pa.FixedSizeListArray.from_arrays(flat, values.shape[1]))


def uniform(splits: Sequence[Mapping[str, Column]]) -> list[dict[str, Column]]:
    """The columns of splits, each with those that only others have, marked as absent."""
    every = {name: column for columns in reversed(splits) for name, column in columns.items()}
    order = list(dict.fromkeys(name for columns in splits for name in columns))
    counts = [len(next(iter(columns.values())).values) for columns in splits]
    return [
        {
            name: columns.get(name) or Column(_nothing(count, every[name].values.type), every[name].described, True)
            for name in order
        }
        for columns, count in zip(splits, counts, strict=True)
    ]


def _nothing(count: int, kind: pa.DataType) -> pa.Array:
    """Nulls; of lists of one length, which Parquet does not give back as nulls, lists of NaN."""
    if not pa.types.is_fixed_size_list(kind):
        return pa.nulls(count, kind)
    nothing = np.full(count * kind.list_size, np.nan, kind.value_type.to_pandas_dtype())
    return pa.FixedSizeListArray.from_arrays(pa.array(nothing), kind.list_size)


def schema_of(
    columns: Mapping[str, Column], features: Mapping[str, Any], fields: list[pa.Field], notes: Mapping[str, Any]
) -> pa.Schema:
    """The schema of a table of columns.

    Parameters
    ----------
    features
        What columns beside `columns` are, by name, as `datasets` describes it.
    fields
        Those columns' fields, which come first.
    notes
        What noisyrun notes for its own readers, JSON values.
    """
    described = {**features, **{name: column.described for name, column in columns.items()}}
    absent = [name for name, column in columns.items() if column.absent]
    notes = {**notes, ABSENT_NOTE: absent} if absent else notes
    return pa.schema(
        [*fields, *(pa.field(name, column.values.type) for name, column in columns.items())],
        metadata={
            b"huggingface": json.dumps({"info": {"features": described}}).encode(),
            METADATA: json.dumps(notes).encode(),
        },
    )
