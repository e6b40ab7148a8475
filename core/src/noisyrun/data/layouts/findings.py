"""What a layout's files are held against, alike when a run reads them and when ``noisyrun data check`` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noisyrun.api import UserError
from noisyrun.data.refs import FileRefs
from noisyrun.data.sources.paths import checked_paths
from noisyrun.printable import printable

#: Names that a line about many files gives.
NAMED = 5
#: Names of files that are Python's before they become Arrow's.
_LISTED = 1 << 16
#: A part of a path that is empty, one dot or two: the path may lead elsewhere than it seems.
_DEVIOUS = r"(?:\A|/)\.{0,2}(?:/|\z)"


@dataclass
class Findings:
    """What is wrong with a data set, and what looks odd, a line each.

    Attributes
    ----------
    skip_missing
        Whether missing files are left out later rather than wrong.
    fewer
        Counts that are below the published ones, told in one line by `tell_subset`.
    """

    skip_missing: bool = False
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    fewer: list[str] = field(default_factory=list)

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
            self.fewer.append(f"{what}: {count:,} of the {official:,}")

    def tell_subset(self) -> None:
        """Say in one line which counts are below the published ones."""
        if self.fewer:
            self.warn(f"a subset of what was published ({'; '.join(self.fewer)})")
            self.fewer.clear()

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

    def images(self, root: Path, paths: Sequence[str] | pa.Array, where: Path | str) -> FileRefs:
        """Images below a root, of which those that are missing are counted and the first named.

        Raises
        ------
        UserError
            When a path leads outside the root.
        """
        inside = below(root, paths, where)
        absent = [] if self.skip_missing else missing(root, inside)
        if absent:
            self.problem(
                f"{where}: {len(absent):,} of {len(inside):,} images are missing: {some(absent)} "
                "(--data.on-bad-image skip trains without them)"
            )
        return FileRefs(root, inside)


def below(root: Path, paths: Sequence[str] | pa.Array, where: Path | str) -> pa.Array:
    """Paths that lead to places below a root, large strings [n].

    What a link leads to is nobody's business here: whoever links a folder of images on another disk has done so
    himself. A list from elsewhere can name no link that is not there.

    Raises
    ------
    UserError
        Naming the first row that leads outside.
    """
    column = paths if isinstance(paths, pa.Array) else pa.array(paths, pa.large_string())
    if pc.any(pc.match_substring_regex(column, _DEVIOUS)).as_py() or column.null_count:
        try:
            return pa.array(checked_paths(column.to_pylist(), root, str(where)), pa.large_string())
        except UserError as error:
            raise UserError(str(error).split("; --data.root")[0]) from None
    return column


def some(names: Sequence[str], count: int | None = None) -> str:
    """The first few of many names, which may be more than are given."""
    more = (len(names) if count is None else count) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def missing(root: Path, paths: Sequence[str] | pa.Array) -> list[str]:
    """Paths at which there is no file, by listing each folder once: far faster than asking for each file."""
    column = paths if isinstance(paths, pa.Array) else pa.array(paths, pa.large_string())
    folders = pc.replace_substring_regex(column, "[^/]*\\z", "").dictionary_encode()
    names = pc.replace_substring_regex(column, ".*/", "").cast(pa.large_binary())
    codes = folders.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(len(folders.dictionary) + 1))
    absent = np.zeros(len(column), bool)
    for code, folder in enumerate(folders.dictionary.to_pylist()):
        rows = order[ends[code] : ends[code + 1]]
        there = pc.is_in(names.take(pa.array(rows)), _files(root / folder))
        absent[rows] = ~there.to_numpy(zero_copy_only=False)
    gone: list[str] = column.filter(pa.array(absent)).to_pylist()
    return gone


def _files(folder: Path) -> pa.Array:
    """Names of the files in a folder: neither folders nor pipes, which would never end, nor links to nothing."""
    chunks, names = [], []
    try:
        with os.scandir(os.fsencode(folder)) as entries:
            for entry in entries:
                if entry.is_file():
                    names.append(entry.name)
                if len(names) == _LISTED:
                    chunks.append(pa.array(names, pa.large_binary()))
                    names = []
    except (OSError, ValueError):
        pass
    return pa.concat_arrays([*chunks, pa.array(names, pa.large_binary())])


def glued(*parts: pa.Array | str) -> pa.Array:
    """Texts put together row by row, large strings [n]; those that are no column stand in each row."""
    text = pa.large_string()
    columns = [pa.scalar(part, text) if isinstance(part, str) else part.cast(text) for part in parts]
    return pc.binary_join_element_wise(*columns, pa.scalar("", text))


def whole(values: np.ndarray, missing: int = -1) -> pa.Array:
    """Whole numbers as a column, nothing where they are `missing`."""
    return pa.array(values, pa.int64(), mask=values == missing)


def brings_its_own(test: str | None, title: str) -> None:
    """Refuse another test set for a layout that has one."""
    if test is not None:
        raise UserError(f"--data.test: {title} brings its own test set")
