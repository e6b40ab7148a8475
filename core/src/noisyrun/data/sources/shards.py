"""Which tar shards a path names, and of which split each is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from noisyrun.api import UserError
from noisyrun.data.sources.files import TEST, TRAIN, existing, test_folder, train_folder

#: A pattern that names shards: `train-{000000..000146}.tar`.
_BRACES = re.compile(r"\{([^{}]*)\}")
#: Shards that a pattern may name.
_MOST = 100_000


def is_pattern(path: str | Path) -> bool:
    """Whether a path is a pattern in braces rather than the name of a file."""
    return _BRACES.search(Path(path).name) is not None


def has_shards(folder: Path) -> bool:
    """Whether a folder is a set of shards: tar files, and no folders but those of splits beside them."""
    if not _tars(folder):
        return any(_tars(part) for part in (train_folder(folder), folder / "data") if part is not None)
    names = {entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
    return names <= {*TRAIN, *TEST}


def find_shards(path: Path, test: str | None) -> tuple[list[Path], list[Path]]:
    """Training shards and test shards, either sorted; no test shards where there are none.

    Shards of both splits in one folder are told apart by a word in their names, such as `val`.

    Raises
    ------
    UserError
        When a path or a shard of a pattern is not there.
    """
    given = None if test is None else _named(Path(test).expanduser(), "--data.test")
    if is_pattern(path) or path.is_file():
        return _named(path, "--dataset"), given or []
    below = path if _tars(path) or train_folder(path) is not None else path / "data"
    apart = train_folder(below)
    if apart is not None and _tars(apart):
        beside = test_folder(below)
        return _tars(apart), (given if given is not None else _tars(beside) if beside is not None else [])
    tars = _tars(below)
    train = [shard for shard in tars if _words(shard) & set(TRAIN)]
    train = train or [shard for shard in tars if not _words(shard) & set(TEST)] or tars
    if given is None:
        rest = [shard for shard in tars if shard not in set(train)]
        of_split = ([shard for shard in rest if name in _words(shard)] for name in TEST)
        beside = test_folder(below)
        given = next(filter(None, of_split), []) or (_tars(beside) if beside is not None else [])
    return train, given


def _named(path: Path, flag: str) -> list[Path]:
    """The shards of a pattern, a file or a folder."""
    if is_pattern(path):
        found = sorted(set(itertools.islice(_expanded(str(path), flag), _MOST + 1)))
        if len(found) > _MOST:
            raise UserError(f"{flag}: {path} names more than {_MOST:,} shards")
        absent = [shard for shard in found if not shard.is_file()]
        if absent:
            raise UserError(f"{flag}: {len(absent):,} of {len(found):,} shards are missing, e.g. {absent[0]}")
        return found
    if existing(path, flag).is_file():
        return [path]
    found = _tars(path)
    if not found:
        raise UserError(f"{flag}: {path} holds no tar shards (.tar)")
    return found


def _expanded(pattern: str, flag: str) -> Iterator[Path]:
    """Paths that a pattern with ranges and lists in braces stands for, as a shell expands it."""
    brace = _BRACES.search(pattern)
    if brace is None:
        yield Path(pattern)
        return
    low, dots, high = brace[1].partition("..")
    if dots:
        if not (low.isdecimal() and high.isdecimal()) or int(low) > int(high):
            raise UserError(f"{flag}: {{{brace[1]}}} is no range of numbers, such as {{000000..000146}}")
        width = len(low) if low.startswith("0") else 0
        words: Iterator[str] = (f"{number:0{width}d}" for number in range(int(low), int(high) + 1))
    else:
        words = iter(brace[1].split(","))
    for word in words:
        yield from _expanded(pattern[: brace.start()] + word + pattern[brace.end() :], flag)


def _tars(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.tar") if not path.name.startswith("."))


def _words(shard: Path) -> set[str]:
    """Words of a name: `imagenet1k-val-0003.tar` has `val`."""
    return set(re.split(r"[^a-z]+", shard.stem.lower()))
