"""Verification labels from a file of a reviewer's verdicts."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from noisyrun.api import PAD, UserError
from noisyrun.data.hints import did_you_mean
from noisyrun.data.tables import read_table

#: Files that ``--verify`` reads as verdicts.
SUFFIXES = (".csv", ".tsv", ".parquet")

_MEANING = {
    **dict.fromkeys(("1", "right", "yes", "true", "relevant", "1.0"), 1),
    **dict.fromkeys(("0", "wrong", "no", "false", "irrelevant", "0.0"), 0),
    **dict.fromkeys(("-1", "unsure", "", "none", "nan", "-1.0"), -1),
}


def is_file(text: str) -> bool:
    """Whether a setting names a file of verdicts."""
    return text.lower().endswith(SUFFIXES)


def read_verdicts(
    path: Path, flag: str, samples: Tensor, index: Tensor, labels: Tensor, names: tuple[str, ...]
) -> Tensor:
    """Verification labels from a table of index, verdict and, where there is one, the label that was judged.

    The verdict is right, wrong or unsure, or 1, 0 or −1. Without a label it is about all observed labels of the sample.
    A verdict on a label that the sample does not carry (the file is older than its labels, say) counts as far as it
    goes: another label that is right makes the observed one wrong; one that is wrong says nothing.

    Parameters
    ----------
    samples
        int64, ascending: stable index of every sample of the source, also of those that are held out or left out.
    index
        int64 [N], ascending: stable index of the samples to verify.
    labels
        int64 [N, k]: their observed labels.
    names
        Class names; a label in the file is one of them, or a class index.

    Returns
    -------
    Tensor
        int8 [N]: 1 where all observed labels are right, 0 where one is wrong, −1 elsewhere.

    Raises
    ------
    UserError
        For what the file lacks, a word that is no verdict, a sample or class that is not there, or two verdicts on one
        label that differ.
    """
    columns = _columns(path, flag)
    verdicts = _verdicts(path, flag, columns["verdict"])
    rows = _rows(path, flag, columns["index"], samples, index)
    classes = _classes(path, flag, columns["label"], names) if "label" in columns else [PAD] * len(rows)
    said: dict[tuple[int, int], tuple[int, int]] = {}
    for number, (row, c, verdict) in enumerate(zip(rows, classes, verdicts), 1):
        if row < 0 or verdict < 0:
            continue
        first, at = said.setdefault((row, c), (verdict, number))
        if first != verdict:
            raise UserError(f"{flag}: rows {at} and {number} of {path} contradict each other on one label")
    out = torch.full((len(index),), -1, dtype=torch.int8)
    for row in {row for row, _ in said}:
        out[row] = _of_sample([c for c in labels[row].tolist() if c != PAD], row, said)
    return out


def _of_sample(observed: list[int], row: int, said: dict[tuple[int, int], tuple[int, int]]) -> int:
    """What verdicts on single labels say of all labels of one sample."""
    if (row, PAD) in said:
        return said[row, PAD][0]
    verdicts = [said[row, c][0] if (row, c) in said else -1 for c in observed]
    if 0 in verdicts:
        return 0
    if verdicts and -1 not in verdicts:
        return 1
    # A label that is right but not among those observed: they are not what they should be.
    others = {c for (of, c), (verdict, _) in said.items() if of == row and verdict == 1} - set(observed)
    return 0 if others else -1


def _columns(path: Path, flag: str) -> dict[str, list[str]]:
    if path.suffix.lower() == ".parquet":
        columns = _parquet(path, flag)
    else:
        columns = read_table(path, flag)
    columns = {name.lower(): values for name, values in columns.items()}
    for needed in ("index", "verdict"):
        if needed not in columns:
            raise UserError(f"{flag}: {path} has no column {needed!r} (it has {', '.join(columns)})")
    return columns


def _parquet(path: Path, flag: str) -> dict[str, list[str]]:
    from noisyrun.data.arrow import read_parquet

    if not path.is_file():
        raise UserError(f"{flag}: no file {path}")
    try:
        table = read_parquet(path).to_pydict()
    except UserError as error:
        raise UserError(f"{flag}: {error}") from None
    return {name: ["" if cell is None else str(cell) for cell in cells] for name, cells in table.items()}


def _verdicts(path: Path, flag: str, cells: list[str]) -> list[int]:
    for number, cell in enumerate(cells, 1):
        if cell.strip().lower() not in _MEANING:
            raise UserError(
                f"{flag}: row {number} of {path}: a verdict is right, wrong or unsure, or 1, 0 or -1 (got {cell!r})"
            )
    return [_MEANING[cell.strip().lower()] for cell in cells]


def _rows(path: Path, flag: str, cells: list[str], samples: Tensor, index: Tensor) -> list[int]:
    """Position of each verdict's sample among those to verify; −1 for one that is not among them."""
    try:
        wanted = torch.tensor([int(cell) for cell in cells], dtype=torch.int64)
    except ValueError:
        number = next(number for number, cell in enumerate(cells, 1) if not cell.lstrip("-").isdigit())
        raise UserError(
            f"{flag}: row {number} of {path}: an index is a whole number (got {cells[number - 1]!r})"
        ) from None
    strange = (~torch.isin(wanted, samples)).nonzero()[:, 0]
    if len(strange):
        number = int(strange[0])
        raise UserError(f"{flag}: row {number + 1} of {path}: the data has no sample {int(wanted[number])}")
    if len(index) == 0:
        return [-1] * len(cells)
    places = torch.searchsorted(index, wanted).clamp(max=len(index) - 1)
    rows: list[int] = torch.where(index[places] == wanted, places, -1).tolist()
    return rows


def _classes(path: Path, flag: str, cells: list[str], names: tuple[str, ...]) -> list[int]:
    named = {str(c): c for c in range(len(names))} | {name: c for c, name in enumerate(names)}
    for number, cell in enumerate(cells, 1):
        if cell not in named and cell.strip() != "":
            raise UserError(f"{flag}: row {number} of {path}: no class {cell!r}{did_you_mean(cell, names)}")
    return [named.get(cell, PAD) for cell in cells]
