"""What a layout's files are held against, alike when a run reads them and when ``noisyrun data check`` does."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from noisyrun.api import UserError
from noisyrun.data.refs import FileRefs
from noisyrun.data.sources.paths import checked_paths
from noisyrun.printable import printable

#: Names that a line about many files gives.
NAMED = 5
_INTEGER = re.compile(r"-?[0-9]{1,18}")


@dataclass
class Findings:
    """What is wrong with a data set, and what looks odd, a line each.

    Attributes
    ----------
    skip_missing
        Whether missing files are left out later rather than wrong.
    """

    skip_missing: bool = False
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def problem(self, line: str) -> None:
        """Something with which no run may start."""
        self.problems.append(printable(line))

    def warn(self, line: str) -> None:
        """Something that may be meant."""
        self.warnings.append(printable(line))

    def size(self, what: str, count: int, official: int) -> None:
        """Hold a count against the published one: fewer may be a subset, more cannot be right."""
        if count > official:
            self.problem(f"{what}: {count:,}, more than the {official:,} that were published")
        elif count < official:
            self.warn(f"{what}: {count:,} of the {official:,} that were published")

    def labels(self, labels: np.ndarray, num_classes: int, where: Path | str) -> None:
        """Hold labels, int64 [n] counted from 0, against the number of classes."""
        if not len(labels):
            return
        low, high = int(labels.min()), int(labels.max())
        if low >= 1 and high == num_classes:
            self.problem(
                f"{where}: labels run from {low} to {high}: off by one, they are counted from 0 in this layout"
            )
        elif low < 0 or high >= num_classes:
            worst = high if high >= num_classes else low
            row = int((labels == worst).argmax())
            self.problem(
                f"{where}: label {worst} (line {row + 1}) is out of range: there are {num_classes} classes, "
                f"0 to {num_classes - 1}"
            )
        elif low >= 1 and len(np.unique(labels)) == num_classes - 1:
            self.warn(f"{where}: every label but 0 is there: are they counted from 1?")

    def images(self, root: Path, paths: Sequence[str], where: Path | str) -> FileRefs:
        """Images below a root, of which those that are missing are counted and the first named.

        Raises
        ------
        UserError
            When a path leads outside the root.
        """
        try:
            inside = checked_paths(paths, root, str(where))
        except UserError as error:
            raise UserError(str(error).split("; --data.root")[0]) from None
        absent = [] if self.skip_missing else missing(root, inside)
        if absent:
            self.problem(
                f"{where}: {len(absent):,} of {len(inside):,} images are missing: {some(absent)} "
                "(--data.on-bad-image skip trains without them)"
            )
        return FileRefs(root, inside)


def some(names: Sequence[str]) -> str:
    """The first few of many names."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def missing(root: Path, paths: Sequence[str]) -> list[str]:
    """Paths at which there is no file, by listing each folder once: far faster than asking for each file."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_folder[os.path.dirname(path)].append(path)
    absent: set[str] = set()
    for folder, members in by_folder.items():
        try:
            with os.scandir(root / folder) as entries:
                # Neither folders nor pipes, which would never end, nor links to nothing.
                there = {entry.name for entry in entries if entry.is_file()}
        except (OSError, ValueError):
            there = set()
        absent.update(path for path in members if os.path.basename(path) not in there)
    return [path for path in paths if path in absent]


def lines(file: Path) -> list[str]:
    """Lines of a text file that hold something.

    Raises
    ------
    UserError
        When the file is missing, empty or no text.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{file} is missing") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 (byte {error.start}: {error.reason}); convert it to UTF-8") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from None
    if "\0" in text:
        raise UserError(f"{file} is no text: it holds zero bytes; write it again as UTF-8")
    found = [line.strip("\r") for line in text.split("\n") if line.strip()]
    if not found:
        raise UserError(f"{file} is empty")
    return found


def labelled(file: Path) -> tuple[list[str], np.ndarray]:
    """A file of ``path label`` lines: paths, which may hold spaces and commas, and labels, int64 [n].

    Raises
    ------
    UserError
        Naming the first line that is neither.
    """
    paths, labels = [], []
    for number, line in enumerate(lines(file), 1):
        path, _, label = line.rstrip().rpartition(" ")
        if not path or not _INTEGER.fullmatch(label):
            raise UserError(f"{file}, line {number}: {line[:80]!r} is no path and label with a space between")
        paths.append(path.rstrip())
        labels.append(int(label))
    return paths, np.array(labels, np.int64)


def tsv(file: Path, header: Sequence[str], found: Findings) -> list[list[str]]:
    """Rows of a TSV with a header; a header that is missing is a problem, and the first line then a row.

    Raises
    ------
    UserError
        Naming the first row of another length.
    """
    rows = [line.rstrip().split("\t") for line in lines(file)]
    if rows[0][0].strip() != header[0]:
        found.problem(f"{file}: the header ({', '.join(header)}) is missing")
    else:
        rows.pop(0)
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise UserError(f"{file}, line {number}: {len(row)} cells, not {len(header)} ({', '.join(header)})")
    return rows


def whole(values: np.ndarray, missing: int = -1) -> pa.Array:
    """Whole numbers as a column, nothing where they are `missing`."""
    return pa.array(values, pa.int64(), mask=values == missing)


def brings_its_own(test: str | None, title: str) -> None:
    """Refuse another test set for a layout that has one."""
    if test is not None:
        raise UserError(f"--data.test: {title} brings its own test set")


def load_json(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises
    ------
    UserError
        When the file is missing, no JSON, or holds anything else.
    """
    try:
        value = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{file} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is no JSON file ({' '.join(str(error).split())})") from None
    if not isinstance(value, dict):
        raise UserError(f"{file} holds no JSON object")
    return value


def is_text(value: str) -> bool:
    """Whether text can be written as UTF-8 and stand in a path: JSON can hold halves of letters and zero bytes."""
    return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def records(held: dict[str, Any], key: str, fields: Mapping[str, type | tuple[type, ...]], file: Path) -> list[Any]:
    """A list of objects in a JSON object, each with some fields.

    Raises
    ------
    UserError
        Naming the first object that lacks a field, or has one of another type.
    """
    rows = held.get(key)
    if not isinstance(rows, list):
        raise UserError(f"{file} holds no list {key!r}")
    for number, row in enumerate(rows):
        for name, kind in fields.items():
            if not isinstance(row, dict) or not isinstance(row.get(name), kind):
                raise UserError(f"{file}: entry {number} of {key!r}, from 0, has no {name!r} of the right type")
            if isinstance(row[name], str) and not is_text(row[name]):
                raise UserError(f"{file}: entry {number} of {key!r}, from 0, has {name!r} that is no text")
    return rows
