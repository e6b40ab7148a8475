"""Small tables in text files: classes, trees, maps and matrices."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from noisyrun.api import UserError


def _rows(path: Path, flag: str) -> list[list[str]]:
    if not path.is_file():
        raise UserError(f"{flag}: no file {path}")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            comma = path.suffix.lower() == ".csv"
            # In a TSV a quotation mark is a letter like any other.
            reader = (
                csv.reader(file, delimiter=",") if comma else csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            )
            return [row for row in reader if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{flag}: {path} is no table of text ({error})") from None


def read_table(path: Path, flag: str, *, header: tuple[str, ...] | None = None) -> dict[str, list[str]]:
    """A table by column: CSV by its ending, else TSV.

    Parameters
    ----------
    flag
        Setting that names the file, for messages.
    header
        Columns of a file that may lack a header; None: its first row is one.

    Raises
    ------
    UserError
        When the file is missing, empty, or has a row of another length.
    """
    rows = _rows(path, flag)
    if header is not None and (not rows or tuple(cell.strip().lower() for cell in rows[0]) != header):
        names = list(header)
    elif rows:
        names = [cell.strip() for cell in rows.pop(0)]
    if not rows:
        raise UserError(f"{flag}: {path} is empty")
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise UserError(
                f"{flag}: row {number} of {path} has {len(row)} cells, not {len(names)} ({', '.join(names)})"
            )
    return {name: [row[place].strip() for row in rows] for place, name in enumerate(names)}


def read_matrix(path: Path, flag: str) -> np.ndarray:
    """A matrix of numbers, float64 [rows, columns]."""
    rows = _rows(path, flag)
    try:
        return np.array([[float(cell) for cell in row] for row in rows])
    except ValueError as error:
        raise UserError(f"{flag}: {path} must hold rows of numbers, all of one length ({error})") from None
