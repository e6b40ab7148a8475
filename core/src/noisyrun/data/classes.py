"""The classes of a data set, and its label columns as class indices."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from noisyrun.api import UserError
from noisyrun.data.hints import did_you_mean
from noisyrun.data.raw import ABSENT, KNOWN, Raw, RawData
from noisyrun.data.tables import read_table

#: Roles of columns that hold classes.
_LABELS = (*KNOWN, *KNOWN.values(), *ABSENT.values())
_WNID = re.compile(r"[nvars]\d{8}\Z")


@dataclass(frozen=True)
class Classes:
    """The C classes of a data set.

    Attributes
    ----------
    names
        Unique names by index.
    wnids, descriptions
        By class, or None.
    parents
        A tree over them, child → parent, or None.
    aliases
        Index by every other word that a label column may use for a class.
    """

    names: tuple[str, ...]
    wnids: tuple[str, ...] | None = None
    descriptions: tuple[str, ...] | None = None
    parents: Mapping[str, str] | None = None
    aliases: Mapping[str, int] = field(default_factory=dict)


def find_classes(raw: RawData, table: Path | None, tree: Path | None) -> Classes:
    """The classes, from a table of classes, from the source, or else from the labels.

    Parameters
    ----------
    table
        TSV with a header: label, wnid, words, description; any but the label may be absent.
    tree
        TSV of child, parent, with or without a header of these words; in place of the source's own tree.

    Raises
    ------
    UserError
        When the table contradicts the source, names a class twice, or there are fewer than two classes.
    """
    if table is not None:
        found = _from_table(table, raw.classes)
    elif raw.classes is not None:
        found = Classes(raw.classes, raw.wnids, raw.descriptions)
    else:
        found = Classes(_from_labels(raw))
    for split in (raw.train, raw.test):
        if split is not None and split.num_classes not in (None, len(found.names)):
            raise UserError(
                f"{split.where}: labels have a column for each of {split.num_classes} classes, but there are "
                f"{len(found.names)} ({raw.train.where})"
            )
    if len(found.names) < 2:
        only = f"only class {found.names[0]!r}" if found.names else "no class at all"
        raise UserError(f"{raw.train.where}: {only}; training needs two or more")
    repeated = [name for name, count in Counter(found.names).items() if count > 1]
    if repeated:
        raise UserError(f"{raw.name}: class {repeated[0]!r} is named twice")
    wnids = found.wnids
    if wnids is None and all(_WNID.match(name) for name in found.names):
        wnids = found.names
    if tree is None and raw.parents is not None:
        _no_circle(raw.parents, f"{raw.name}: its tree")
    parents = raw.parents if tree is None else _tree(tree)
    return Classes(found.names, wnids, found.descriptions, parents, found.aliases)


def _from_labels(raw: RawData) -> tuple[str, ...]:
    """Names in the label columns of the training set; for integers, all up to the highest."""
    if raw.train.num_classes is not None:
        return tuple(str(c) for c in range(raw.train.num_classes))
    given = {role: _flat(column) for role, column in raw.train.columns.items() if role in _LABELS}
    # Of a column without a value nobody can tell whether it holds names or numbers.
    filled = {role: part for role, part in given.items() if len(part) > part.null_count}
    roles, parts = list(filled), list(filled.values())
    named = [_is_text(part) for part in parts]
    if any(named):
        if not all(named):
            columns = " and ".join(repr(raw.train.names.get(role, role)) for role in roles)
            raise UserError(f"{raw.train.where}: columns {columns} must all hold names or all hold numbers")
        if raw.test is not None:
            _also_names(raw.test, raw.train)
        values = {value for part in parts for value in pc.unique(part).to_pylist()}
        return tuple(sorted(values - {None, ""}))
    highest, distinct = -1, set[int]()
    for role, part in zip(roles, parts):
        values = pc.unique(_integers(raw.train, role, part)).drop_null().to_numpy(zero_copy_only=False)
        distinct.update(values.tolist())
        highest = max(highest, int(values.max(initial=-1)))
    if highest >= max(1000, 10 * len(distinct)):
        raise UserError(
            f"{raw.train.where}: labels run up to {highest} but only {len(distinct)} differ; "
            "number classes from 0, or name them with --data.classes"
        )
    return tuple(str(c) for c in range(highest + 1))


def _also_names(test: Raw, train: Raw) -> None:
    """Numbers count classes, and names give no count: "10" comes before "2". One stray word makes names of numbers."""
    for role, column in test.columns.items():
        flat = _flat(column)
        if role in _LABELS and len(flat) > flat.null_count and not _is_text(flat):
            raise UserError(
                f"labels of {train.where} are names, or not all of them are numbers, but those of {test.where} are "
                "numbers: name the classes with --data.classes, or write both in one way"
            )


def _from_table(path: Path, source: tuple[str, ...] | None) -> Classes:
    columns = {name.lower(): values for name, values in read_table(path, "--data.classes").items()}
    if "label" not in columns:
        raise UserError(f"--data.classes: {path} has no column 'label' (it has {', '.join(columns)})")
    labels = columns["label"]
    numbered = all(label.isdigit() for label in labels)
    if numbered:
        places = [int(label) for label in labels]
        if sorted(places) != list(range(len(places))):
            raise UserError(f"--data.classes: labels in {path} must run from 0 to {len(places) - 1}, each once")
        columns = _reordered(columns, np.argsort(places).tolist())
    elif source is not None:
        columns = _reordered(columns, _rows_of(path, columns, source))
    wnids, words = columns.get("wnid"), columns.get("words")
    if words is not None:
        names = [line.split(",")[0].strip() for line in words]
        counts = Counter(names)
        names = [line if counts[name] > 1 else name for name, line in zip(names, words)]
        if wnids is not None:
            counts = Counter(names)
            names = [f"{name} ({wnid})" if counts[name] > 1 else name for name, wnid in zip(names, wnids)]
    else:
        names = columns["name"] if "name" in columns else wnids or columns["label"]
    aliases: dict[str, int] = {}
    for values in (columns["label"], words, wnids, names):
        aliases.update({value: c for c, value in enumerate(values or ())})
    if numbered and source is not None:
        _agree(path, source, names, aliases)
    descriptions = columns.get("description")
    return Classes(
        tuple(names),
        None if wnids is None else tuple(wnids),
        None if descriptions is None else tuple(descriptions),
        aliases=aliases,
    )


def _reordered(columns: dict[str, list[str]], rows: Sequence[int]) -> dict[str, list[str]]:
    return {name: [values[row] for row in rows] for name, values in columns.items()}


def _rows_of(path: Path, columns: Mapping[str, list[str]], source: tuple[str, ...]) -> list[int]:
    """Row of a table of classes for each name that the data itself carries."""
    rows: dict[str, int] = {}
    for column in ("words", "wnid", "label"):
        rows.update({value: row for row, value in enumerate(columns.get(column, ()))})
    for name in source:
        if name not in rows:
            raise UserError(f"--data.classes: {path} has no row for class {name!r}{did_you_mean(name, rows)}")
    return [rows[name] for name in source]


def _agree(path: Path, source: tuple[str, ...], names: Sequence[str], aliases: Mapping[str, int]) -> None:
    """Hold a table of classes against the names the data itself carries: another order would mix up all classes."""
    if len(source) != len(names):
        raise UserError(f"--data.classes: {path} has {len(names)} classes, the data has {len(source)}")
    for c, name in enumerate(source):
        if name in aliases and aliases[name] != c:
            raise UserError(f"--data.classes: {path} gives {name!r} as class {aliases[name]}, the data as class {c}")


def _tree(path: Path) -> dict[str, str]:
    columns = read_table(path, "--data.tree", header=("child", "parent"))
    tree = dict(zip(columns["child"], columns["parent"]))
    _no_circle(tree, f"--data.tree: {path}")
    return tree


def _no_circle(tree: Mapping[str, str], where: str) -> None:
    for start in tree:
        node, seen = start, {start}
        while node in tree:
            node = tree[node]
            if node in seen:
                raise UserError(f"{where} has a circle through {node!r}")
            seen.add(node)


def _flat(column: pa.Array) -> pa.Array:
    return pc.list_flatten(column) if _is_list(column) else column


def _is_list(column: pa.Array) -> bool:
    return pa.types.is_list(column.type) or pa.types.is_large_list(column.type)


def _is_text(column: pa.Array) -> bool:
    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)


def _integers(raw: Raw, role: str, values: pa.Array) -> pa.Array:
    """Numbers as int64; a fraction is an error, a missing number in a column of floats is none."""
    if pa.types.is_null(values.type):
        return values.cast(pa.int64())
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
    try:
        return values.cast(pa.int64())
    except pa.ArrowException:
        raise UserError(f"{raw.where}: column {raw.names.get(role, role)!r} holds numbers that are no class") from None


def encode(raw: Raw, role: str, classes: Classes) -> Tensor | None:
    """A label column as class indices.

    Returns
    -------
    Tensor or None
        int64 [n, k], `PAD` where a sample has fewer; k = 1 for a column of plain values. None without such a column.

    Raises
    ------
    UserError
        Naming the first row with a label out of range, or a name that is no class.
    """
    column = raw.columns.get(role)
    if column is None:
        return None
    flat = _flat(column)
    if _is_text(flat):
        codes = _look_up(raw, role, flat, column, classes)
    else:
        codes = _integers(raw, role, flat).fill_null(-1).to_numpy(zero_copy_only=False)
        given = flat.is_valid().to_numpy(zero_copy_only=False)
        if pa.types.is_floating(flat.type):
            given = given & np.isfinite(flat.fill_null(np.nan).to_numpy(zero_copy_only=False))
        wrong = given & ((codes < 0) | (codes >= len(classes.names)))
        if wrong.any():
            place = int(np.flatnonzero(wrong)[0])
            raise UserError(
                f"label {codes[place]} in {raw.row(_row(column, place))} is out of range: "
                f"there are {len(classes.names)} classes, 0 to {len(classes.names) - 1}"
            )
    return torch.from_numpy(_padded(column, codes))


def _look_up(raw: Raw, role: str, flat: pa.Array, column: pa.Array, classes: Classes) -> np.ndarray:
    # An empty cell of a text file is no label.
    table = {"": -1, **classes.aliases, **{name: c for c, name in enumerate(classes.names)}}
    words = pc.unique(flat).drop_null()
    known = np.array([table.get(word, -2) for word in words.to_pylist()] or [-1], np.int64)
    places = pc.index_in(flat, words)
    codes = np.where(
        flat.is_valid().to_numpy(zero_copy_only=False),
        known[places.fill_null(0).to_numpy(zero_copy_only=False)],
        -1,
    )
    wrong = np.flatnonzero(codes == -2)
    if len(wrong):
        place = int(wrong[0])
        word = flat[place].as_py()
        hint = did_you_mean(word, classes.names)
        raise UserError(
            f"label {word!r} in {raw.row(_row(column, place))} is none of the {len(classes.names)} classes{hint}"
        )
    return codes


def _row(column: pa.Array, place: int) -> int:
    """Row of the n-th flat value of a column."""
    if not _is_list(column):
        return place
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    return int(np.searchsorted(np.cumsum(lengths), place, side="right"))


def _padded(column: pa.Array, codes: np.ndarray) -> np.ndarray:
    if not _is_list(column):
        return codes.astype(np.int64)[:, None]
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    out = np.full((len(column), max(1, int(lengths.max(initial=0)))), -1, np.int64)
    rows = np.repeat(np.arange(len(column)), lengths)
    slots = np.arange(len(codes)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    out[rows, slots] = codes
    return _without_repeats(out)


def _without_repeats(labels: np.ndarray) -> np.ndarray:
    """Padded rows in which no class stands twice, and none behind padding."""
    repeated = np.zeros(labels.shape, bool)
    for slot in range(1, labels.shape[1]):
        repeated[:, slot] = (labels[:, :slot] == labels[:, slot : slot + 1]).any(1) & (labels[:, slot] >= 0)
    if not repeated.any() and not ((labels[:, :-1] < 0) & (labels[:, 1:] >= 0)).any():
        return labels
    labels = np.where(repeated, -1, labels)
    return np.take_along_axis(labels, np.argsort(labels < 0, axis=1, kind="stable"), 1)
