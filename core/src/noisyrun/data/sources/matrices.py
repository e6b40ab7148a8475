"""Labels of several classes a sample given as matrices: multi-hot, −1 / 0 / 1 with unknown pairs, padded indices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from noisyrun.api import UserError
from noisyrun.data.raw import ABSENT, KNOWN


def label_columns(
    arrays: Mapping[str, np.ndarray], names: Mapping[str, str], where: str
) -> tuple[dict[str, pa.Array], int | None]:
    """Arrays by role as columns, matrices of labels as lists; and the number of classes where a matrix fixes it.

    Parameters
    ----------
    arrays
        One value a row, [N], or for labels and masks of known pairs matrices.
    names
        Of the array that plays each role, for messages.

    Raises
    ------
    UserError
        For an array that is no labels, naming the row and column where one value is wrong.
    """
    columns, widths = {}, dict[str, int]()
    for role, values in arrays.items():
        name = names.get(role, role)
        if role in KNOWN.values() and values.dtype.kind == "b" and (values.ndim != 2 or values.shape[1] == 1):
            raise UserError(
                f"{name!r} in {where}: a mask of known pairs has a column for each class "
                f"(its shape is {list(values.shape)})"
            )
        matrix = values.ndim == 2 and values.shape[1] > 1 and values.dtype.kind in "iubf"
        if not matrix or role not in (*KNOWN, *KNOWN.values(), *ABSENT.values()):
            columns[role] = plain_column(values, name, where)
        elif role in KNOWN:
            known = KNOWN[role]
            mask = None if known not in arrays else read_mask(arrays[known], names.get(known, known), where)
            lists = read_lists(
                values, name, where, mask if mask is not None and mask.ndim == 2 and by_class(mask) else None
            )
            columns[role] = lists.holds
            if lists.known is not None:
                columns[known] = lists.known
            if lists.width is not None:
                widths[name] = lists.width
        else:
            columns.setdefault(role, known_lists(values))
    if len(set(widths.values())) > 1:
        listed = ", ".join(f"{name!r} {width}" for name, width in widths.items())
        raise UserError(f"{where}: labels have a column for each class, but not of as many classes ({listed})")
    return columns, next(iter(widths.values()), None)


def plain_column(values: np.ndarray, name: str, where: str) -> pa.Array:
    """An array with one value a row.

    Raises
    ------
    UserError
        When it holds neither numbers nor text, or more than one a row.
    """
    if values.dtype.kind not in "iubfUS":
        raise UserError(f"{name!r} in {where} must hold numbers or text (it holds {values.dtype})")
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise UserError(f"{name!r} in {where} must have one label a row (its shape is {list(values.shape)})")
    return pa.array(values)


@dataclass(frozen=True)
class Lists:
    """A matrix of labels as lists of classes.

    Attributes
    ----------
    holds
        Classes of each row that hold.
    known
        Classes of each row of which it is known; None: all are.
    width
        Number of classes, where the matrix has a column for each; None for padded indices.
    """

    holds: pa.Array
    known: pa.Array | None = None
    width: int | None = None


def read_lists(values: np.ndarray, name: str, where: str, mask: np.ndarray | None = None) -> Lists:
    """A matrix of labels.

    A matrix of truth values, of one-byte integers or of floats, or one in which a value stands twice in a row, has a
    column for each class: 1 holds, 0 does not, −1 or NaN is not known. Other integers are class indices, −1 beyond
    them.

    Parameters
    ----------
    values
        [N, C] or [N, k].
    name, where
        Of the array, for messages.
    mask
        [N, C], which pairs are known. What a matrix says of a pair that is not counts nothing.

    Raises
    ------
    UserError
        Naming the first row and column with a value that is none of these.
    """
    if not by_class(values):
        if mask is not None:
            raise UserError(f"{where}: a mask of known pairs goes with a multi-hot {name!r}, not with class indices")
        return Lists(_listed(values != -1, values))
    hot = _ternary(values, name, where)
    known = hot >= 0
    if mask is not None:
        if mask.shape != values.shape:
            shapes = f"{list(mask.shape)} and {list(values.shape)}"
            # A mask of another shape would be spread over the rows without a word.
            raise UserError(f"{where}: the mask of known pairs and {name!r} must be of one shape (they are {shapes})")
        known &= mask == 1
    whole = bool(known.all())
    return Lists(_listed((hot == 1) & known), None if whole else _listed(known), values.shape[1])


def read_mask(values: np.ndarray, name: str, where: str) -> np.ndarray:
    """A mask of known pairs [N, C] as int8: 1 known, 0 not; or class indices [N, k], as they are.

    Raises
    ------
    UserError
        Naming the first row and column with a value that is neither.
    """
    if values.ndim != 2 or not by_class(values):
        return values
    mask = _ternary(values, name, where)
    if (mask < 0).any():
        row, column = np.argwhere(mask < 0)[0]
        raise UserError(
            f"row {row}, column {column} of {name!r} in {where} must be 1 (known) or 0 (got {values[row, column]})"
        )
    return mask


def known_lists(mask: np.ndarray) -> pa.Array:
    """Classes that are known in each row, from a mask [N, C] or class indices [N, k]."""
    return _listed(mask == 1) if by_class(mask) else _listed(mask != -1, mask)


def by_class(values: np.ndarray) -> bool:
    """Whether a matrix has a column for each class, rather than a list of class indices in each row."""
    if values.dtype.kind in "bf":
        return True
    small = bool(((values >= -1) & (values <= 1)).all())
    if small and values.dtype.itemsize == 1:
        return True
    # Class indices stand once in a row, and nothing stands behind padding.
    ordered = np.sort(values, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    gaps = (values[:, :-1] == -1) & (values[:, 1:] != -1)
    if small:
        return bool(twice.any() or gaps.any())
    return bool(twice.any(1).mean() > 0.5)


def _ternary(values: np.ndarray, name: str, where: str) -> np.ndarray:
    """int8 [N, C]: 1 holds, 0 does not, −1 is not known."""
    unknown = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    fits = unknown | (values == 0) | (values == 1)
    if values.dtype.kind in "if":
        fits |= values == -1
    if not fits.all():
        row, column = np.argwhere(~fits)[0]
        raise UserError(
            f"row {row}, column {column} of {name!r} in {where} must be 1, 0, or −1 for not known "
            f"(got {values[row, column]})"
        )
    return np.where(unknown, -1, values).astype(np.int8)


def _listed(chosen: np.ndarray, values: np.ndarray | None = None) -> pa.Array:
    """Lists of the chosen columns of each row, or of the values there."""
    offsets = np.concatenate([[0], chosen.sum(1).cumsum()]).astype(np.int32)
    flat = np.nonzero(chosen)[1] if values is None else values[chosen]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.astype(np.int64)))
