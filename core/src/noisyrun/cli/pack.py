"""``noisyrun data pack``: a data set as tar shards or Parquet."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Literal, TypeVar

from noisyrun.api.errors import UserError
from noisyrun.cli.common import configure, nothing_left
from noisyrun.config import flags
from noisyrun.printable import printable

if TYPE_CHECKING:
    from noisyrun.data.pack.write import Watch

USAGE = """\
noisyrun data pack SOURCE --to DIR --as shards|parquet [--shard-size 512MB] [--samples N] [--image-size S]

Write the data set SOURCE, whatever noisyrun reads, as WebDataset tar shards with an index, or as Parquet in the Hugging
Face layout; with its labels, verification, trusted labels, words, sources and class names, and its test set. Images
keep their bytes. DIR appears when all is written; a pack that was stopped goes on with the same command.

  --to DIR             a new folder
  --as FORM            shards or parquet; features without images go into parquet
  --shard-size SIZE    a shard is closed before it grows larger (default 512MB)
  --samples N          or when it has so many samples
  --image-size S       bring images to a shorter side of S pixels where theirs is longer, as JPEG
  --quality Q          of those JPEGs, 1 to 100 (default 95)
  --images none        decode no image, look at headers alone; all are decoded by default, to find truncated ones
  --data.FIELD         how to read SOURCE: format, label, clean-label, test, root, classes, tree, on-bad-image

  noisyrun data pack photos/ --to photos-packed --as shards"""

_FORMS: tuple[Literal["shards", "parquet"], ...] = ("shards", "parquet")
_DEPTHS: Mapping[str, Literal["header", "decode"]] = {"none": "header", "all": "decode"}
_READING = ("format", "label", "clean-label", "test", "root", "classes", "tree", "on-bad-image")
_OWN = ["to", "as", "shard-size", "samples", "image-size", "quality", "images"]

T = TypeVar("T", bound=str)


def main(words: list[str]) -> int:
    """Pack a data set; `words` begin with its path."""
    if not words or words[0].startswith("-"):
        raise UserError("data pack: name the data set first: noisyrun data pack SOURCE --to DIR --as shards")
    given = flags.parse(words[1:])
    to, form = flags.take(given, "to"), _one_of(given, "as", _FORMS)
    if to is None or form is None:
        raise UserError("data pack: say where to and as what: --to DIR --as shards, or --as parquet")
    size = flags.take(given, "shard-size")
    samples, side = _number(given, "samples", 1), _number(given, "image-size", 8)
    quality = _number(given, "quality", 1, 100)
    if quality is not None and side is None:
        raise UserError("--quality: images keep their bytes unless --image-size S asks for smaller ones")
    depth = _DEPTHS[_one_of(given, "images", tuple(_DEPTHS)) or "all"]
    reading = [flag for flag in given if flag.path[0] == "data" and flag.name.removeprefix("data.") in _READING]
    nothing_left([flag for flag in given if flag not in reading], [*_OWN, *(f"data.{name}" for name in _READING)])
    settings = configure([flags.Flag(("dataset",), words[0]), *reading]).settings
    from noisyrun.data.pack import pack
    from noisyrun.data.pack.encode import Encoding
    from noisyrun.data.pack.write import Options

    options = Options(
        form,
        Options.shard_bytes if size is None else parse_bytes(size),
        samples,
        Encoding(side, quality or Encoding.quality, depth),
        settings.data.on_bad_image == "skip",
    )
    with watching() as watch:
        found = pack(settings, Path(to), options, watch)
    for note in found.notes:
        print(printable(note))
    for line in told(found.pack, Path(to), found.made):
        print(printable(line))
    return 0


def told(pack: object, to: Path, made: bool) -> Iterator[str]:
    """Lines that say what a pack holds."""
    from noisyrun.data.pack.read import Pack

    assert isinstance(pack, Pack)
    for split, part in pack.splits.items():
        size = sum(shard.bytes for shard in part.shards)
        files = "1 file" if len(part.shards) == 1 else f"{len(part.shards):,} files"
        yield f"{split}: {part.samples:,} samples, {files}, {size / 1e6:,.1f} MB"
        if part.skipped:
            yield f"{split}: {len(part.skipped):,} images that cannot be read are left out: {part.skipped[0]}"
    yield f"{'wrote' if made else 'nothing to do: this very pack is in'} {to}  (noisyrun --dataset {quote(str(to))})"


@contextmanager
def watching() -> Iterator[Watch | None]:
    """A bar on a terminal, with samples and bytes a second; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        tasks = {}

        def watch(split: str, done: int, total: int, written: int) -> None:
            if split not in tasks:
                tasks[split] = bar.add_task(split, total=total, completed=done, rate="")
            task = bar.tasks[tasks[split]]
            speed = f"{task.speed:,.0f}/s" if task.speed else ""
            bar.update(tasks[split], completed=done, rate=f"{speed}  {written / 1e6:,.0f} MB")

        yield watch


def _one_of(given: list[flags.Flag], name: str, values: tuple[T, ...]) -> T | None:
    asked = flags.take(given, name)
    found = next((value for value in values if value == asked), None)
    if asked is not None and found is None:
        raise UserError(f"--{name}: must be one of {', '.join(values)} (got {asked})")
    return found


def _number(given: list[flags.Flag], name: str, least: int, most: int | None = None) -> int | None:
    asked = flags.take(given, name)
    if asked is None:
        return None
    if not asked.isascii() or not asked.isdigit() or int(asked) < least or (most is not None and int(asked) > most):
        upper = "" if most is None else f" to {most}"
        raise UserError(f"--{name}: must be a whole number from {least}{upper or ' on'} (got {asked!r})")
    return int(asked)


def parse_bytes(text: str) -> int:
    """Bytes of --shard-size."""
    from noisyrun.bank.sizes import parse_memory

    try:
        return parse_memory(text)
    except UserError as error:
        raise UserError(str(error).replace("--bank.memory", "--shard-size", 1)) from None
