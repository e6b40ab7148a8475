"""Predictions as rows: Parquet, CSV or JSON lines, written batch by batch and whole or not there."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from noisyrun.api.errors import UserError
from noisyrun.exports.card import KEY, Card
from noisyrun.files import atomic

#: Rows of a row group: few enough to hold, enough to read quickly.
_GROUP = 1 << 14
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
SUFFIXES = (".parquet", ".csv", ".jsonl")

_LISTS = [("labels", pa.list_(pa.string())), ("probabilities", pa.list_(pa.float32()))]


def schema(card: Card) -> pa.Schema:
    """Columns of predictions.

    ``path``; with one class an image ``label`` and ``probability`` of the likeliest; ``labels`` and ``probabilities``,
    lists of the likeliest first; ``given``, the classes that folders or a data set name; ``error``, why an image could
    not be read, all else being null then.
    """
    best = [] if card.multi else [("label", pa.string()), ("probability", pa.float32())]
    fields = [("path", pa.string()), *best, *_LISTS, ("given", pa.list_(pa.string())), ("error", pa.string())]
    return pa.schema(fields, metadata={KEY: card.as_json()})


class Writer(Protocol):
    """Takes batches of rows."""

    def write(self, rows: pa.RecordBatch) -> None: ...


@contextmanager
def writer(path: Path, card: Card, top: int) -> Iterator[Writer]:
    """A writer by the file's ending; the file takes its name when the block ends without an error.

    Raises
    ------
    UserError
        When the ending is none of `SUFFIXES`, or a class would be a formula in a spreadsheet.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"--out: must end in {', '.join(SUFFIXES)} (got {path})")
    if suffix == ".csv":
        _refuse_formulas(path, card)
    with atomic(path) as temporary:
        if suffix == ".parquet":
            with _Parquet(temporary, schema(card)) as made:
                yield made
        else:
            with open(temporary, "w", encoding="utf-8", newline="", errors="replace") as file:
                yield _Csv(file, card, top) if suffix == ".csv" else _Lines(file)


def _refuse_formulas(path: Path, card: Card) -> None:
    bad = next((name for name in card.classes if name.startswith(_FORMULA)), None)
    if bad is not None:
        raise UserError(f"--out: {path}: class {bad!r} would be a formula in a spreadsheet; write .parquet or .jsonl")
    if card.multi and any("|" in name for name in card.classes):
        raise UserError(f"--out: {path}: names of classes hold |, which separates labels in a cell; write .parquet")


class _Parquet:
    def __init__(self, path: Path, columns: pa.Schema) -> None:
        self.file = pq.ParquetWriter(path, columns)
        self.waiting: list[pa.RecordBatch] = []

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self._flush()
        self.file.close()

    def write(self, rows: pa.RecordBatch) -> None:
        self.waiting.append(rows)
        if sum(map(len, self.waiting)) >= _GROUP:
            self._flush()

    def _flush(self) -> None:
        if self.waiting:
            self.file.write_table(pa.Table.from_batches(self.waiting), row_group_size=_GROUP)
            self.waiting = []


class _Lines:
    def __init__(self, file: IO[str]) -> None:
        self.file = file

    def write(self, rows: pa.RecordBatch) -> None:
        for row in rows.to_pylist():
            self.file.write(json.dumps(row, ensure_ascii=False) + "\n")


class _Csv:
    """With one class an image the next likeliest have columns of their own; with several, ``|`` separates them."""

    def __init__(self, file: IO[str], card: Card, top: int) -> None:
        self.file, self.multi, self.top = csv.writer(file), card.multi, min(top, len(card.classes))
        more = [f"{name}_{place}" for place in range(2, self.top + 1) for name in ("label", "probability")]
        best = ["labels", "probabilities"] if self.multi else ["label", "probability", *more]
        self.file.writerow(["path", *best, "given", "error"])

    def write(self, rows: pa.RecordBatch) -> None:
        for row in rows.to_pylist():
            labels, probabilities = row["labels"] or [], [f"{value:.6g}" for value in row["probabilities"] or []]
            if self.multi:
                best = ["|".join(labels), "|".join(probabilities)]
            else:
                best = [cell for pair in zip(labels, probabilities, strict=True) for cell in pair]
                best += [""] * (2 * self.top - len(best))
            self.file.writerow([_harmless(row["path"]), *best, "|".join(row["given"] or []), row["error"] or ""])


def _harmless(path: str) -> str:
    """The same path, but none that a spreadsheet takes for a formula."""
    return f".{os.sep}{path}" if path.startswith(_FORMULA) else path
