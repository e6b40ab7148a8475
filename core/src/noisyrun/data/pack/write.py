"""A data set into tar shards or Parquet, shard by shard: killed at any moment, it goes on from the last whole one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from noisyrun.api import UserError
from noisyrun.data.classes import Classes
from noisyrun.data.hashing import digest
from noisyrun.data.images import bad_image
from noisyrun.data.pack import card
from noisyrun.data.pack.columns import Column, matrix_column, uniform
from noisyrun.data.pack.encode import Encoded, Encoding, encoded
from noisyrun.data.pack.index import PART, IndexPart, endings, write_index
from noisyrun.data.pack.read import PACK, Pack, Shard, SplitPart, read_pack
from noisyrun.data.pack.sinks import ParquetSink, Sink, TarSink
from noisyrun.data.pack.work import Progress, Work, refuse_target
from noisyrun.data.raw import Raw
from noisyrun.data.refs import ImageRefs
from noisyrun.files import sync, write_text, writing

#: Told of the split, the rows finished, the rows of the split, and the bytes written so far.
Watch = Callable[[str, int, int, int], None]


@dataclass(frozen=True)
class Options:
    """How to pack.

    Attributes
    ----------
    form
        Tar shards or Parquet.
    shard_bytes
        A shard is closed before the image that would make it larger.
    samples
        Or when it has so many samples; None: by size alone.
    encoding
        What becomes of images.
    skip
        Leave out images that cannot be read, rather than stop at the first.
    """

    form: Literal["shards", "parquet"]
    shard_bytes: int = 512_000_000
    samples: int | None = None
    encoding: Encoding = field(default_factory=Encoding)
    skip: bool = False

    def as_dict(self, images: bool) -> dict[str, str | int | None]:
        """JSON values; those of images only where there are any."""
        of_images: dict[str, str | int | None] = {
            "image_size": self.encoding.side,
            "quality": None if self.encoding.side is None else self.encoding.quality,
            "images": self.encoding.check,
            # What encodes an image decides on its bytes.
            "pillow": version("pillow"),
        }
        shared: dict[str, str | int | None] = {
            "form": self.form,
            "shard_bytes": self.shard_bytes,
            "samples": self.samples,
            "pyarrow": version("pyarrow"),
        }
        return {**shared, **(of_images if images else {})}


@dataclass(frozen=True)
class Content:
    """One split to pack: where its images or features stand, and the columns beside them."""

    raw: Raw
    columns: Mapping[str, Column]


def write_pack(
    name: str,
    splits: Mapping[str, Content],
    classes: Classes,
    to: Path,
    options: Options,
    files: Mapping[str, str] | None = None,
    watch: Watch | None = None,
) -> tuple[Pack, bool]:
    """Pack some splits into a folder that appears when it is whole.

    Parameters
    ----------
    name
        What the data set is called.
    files
        Texts of further files to lie in the folder, by name.
    watch
        Told how far it is.

    Returns
    -------
    pack
        The content of ``pack.json``.
    made
        False when the folder held this very pack already.

    Raises
    ------
    UserError
        When the folder holds something else, features are to go into tar shards, or an image cannot be read.
    """
    images = next(iter(splits.values())).raw.images is not None
    if not images and options.form == "shards":
        raise UserError("--as shards: tar shards hold images, and this data has features alone; use --as parquet")
    splits = splits if images else {split: _with_features(content) for split, content in splits.items()}
    columns = uniform([content.columns for content in splits.values()])
    splits = {split: Content(splits[split].raw, part) for split, part in zip(splits, columns, strict=True)}
    found, said = _digest(splits, classes), options.as_dict(images)
    to = to.absolute()
    if refuse_target(to, found, said):
        there = read_pack(to)
        assert there is not None
        return there, False
    ending = "tar" if options.form == "shards" else "parquet"
    work = Work(to, {**said, "digest": found, "ending": ending})
    with writing(to), work.opened():
        for split, content in splits.items():
            _split(work, split, content, options, watch)
        work.settle()
        pack = _described(name, splits, classes, work, found, said)
        features = None
        if options.form == "shards":
            for split, content in splits.items():
                write_index(work, split, content.columns)
            found_endings = sorted({ending for split in splits for ending in endings(work, split)})
            features = card.features_of_shards(columns[0], found_endings)
        texts = {PACK: pack.model_dump_json(indent=1) + "\n", "README.md": card.text(pack, features), **(files or {})}
        if options.form == "shards" and not any("\n" in name for name in classes.names):
            texts["classes.txt"] = "".join(f"{name}\n" for name in classes.names)
        for file, text in texts.items():
            write_text(work.path / file, text)
        work.finish()
    return pack, True


def _with_features(content: Content) -> Content:
    raw = content.raw
    assert raw.features is not None
    matrices = {"features": matrix_column(raw.features)}
    if raw.logits is not None:
        matrices["logits"] = matrix_column(raw.logits)
    return Content(raw, {**content.columns, **matrices})


def _split(work: Work, split: str, content: Content, options: Options, watch: Watch | None) -> None:
    """All shards of a split that are not there yet."""
    progress = work.splits.setdefault(split, Progress())
    written = sum(shard["bytes"] for shard in progress.shards)
    waiting: list[str] = []
    sink: Sink | None = None
    samples = _samples(content.raw, progress.next, options.encoding)
    total, ending, temporary = len(content.raw), work.plan["ending"], work.path / f".{split}.tmp"

    def finish(last: int, *, done: bool = False) -> None:
        """Put the shard in its place, and note that all rows up to one are done."""
        nonlocal sink, waiting, written
        if sink is not None:
            sink.close()
            sync(temporary)
            number = len(progress.shards)
            shard = {"samples": len(sink.rows), "bytes": temporary.stat().st_size, "sha256": _sha256(temporary)}
            if isinstance(sink, TarSink):
                IndexPart.of(sink).write(work.path / PART.format(split, number))
            temporary.replace(work.path / f"{split}-{number:06d}.{ending}")
            progress.shards.append(shard)
            written += shard["bytes"]
        progress.next, progress.skipped, progress.done = last, progress.skipped + waiting, done
        work.save()
        sink, waiting = None, []

    if progress.done:
        return
    try:
        for sample in samples:
            if sample.bad is not None:
                if not options.skip:
                    raise UserError(bad_image(content.raw, sample.row, OSError(sample.bad)))
                waiting.append(f"{content.raw.row(sample.row)}: {sample.bad}")
                continue
            if sink is not None and _full(sink, sample, options):
                finish(sample.row)
            if sink is None:
                sink = _sink(temporary, content, options)
            sink.add(sample)
            if watch is not None:
                watch(split, sample.row + 1, total, written + sink.size)
        finish(total, done=True)
    finally:
        samples.close()
        temporary.unlink(missing_ok=True)
    if not progress.shards:
        raise UserError(f"no image of {content.raw.where} can be read, e.g. {progress.skipped[0]}")


def _samples(raw: Raw, start: int, encoding: Encoding) -> Any:
    """The images from one row on; of features, the rows alone."""
    if raw.images is not None:
        return encoded(raw, start, encoding)
    return _rows(start, len(raw))


def _rows(start: int, stop: int) -> Iterator[Encoded]:
    yield from (Encoded(row) for row in range(start, stop))


def _full(sink: Sink, sample: Encoded, options: Options) -> bool:
    if options.samples is not None and len(sink.rows) >= options.samples:
        return True
    return sink.size + len(sample.data) > options.shard_bytes


def _sink(path: Path, content: Content, options: Options) -> Sink:
    if options.form == "shards":
        return TarSink(path, content.columns)
    return ParquetSink(path, content.columns, content.raw.images is not None)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(splits: Mapping[str, Content], classes: Classes) -> str:
    """SHA-256 of all that is packed; of images what a run's digest covers."""
    total = hashlib.sha256(repr((classes.names, classes.wnids, classes.descriptions)).encode())
    total.update(repr(sorted((classes.parents or {}).items())).encode())
    for split, content in splits.items():
        total.update(split.encode())
        images = content.raw.images
        if isinstance(images, ImageRefs):
            total.update(images.digest().encode())
        elif isinstance(images, np.ndarray):
            total.update(digest(images).encode())
        for name, column in content.columns.items():
            total.update(f"{name}:{column.values.type}".encode())
            for start in range(0, len(column.values), 1 << 16):
                part = pa.table({"column": column.values[start : start + (1 << 16)]})
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, part.schema) as stream:
                    stream.write_table(part)
                total.update(sink.getvalue())
    return total.hexdigest()


def _described(
    name: str,
    splits: Mapping[str, Content],
    classes: Classes,
    work: Work,
    found: str,
    options: dict[str, str | int | None],
) -> Pack:
    return Pack(
        noisyrun=version("noisyrun"),
        form=str(options["form"]),
        name=name,
        digest=found,
        options=options,
        classes=list(classes.names),
        wnids=None if classes.wnids is None else list(classes.wnids),
        descriptions=None if classes.descriptions is None else list(classes.descriptions),
        parents=None if classes.parents is None else dict(classes.parents),
        splits={
            split: SplitPart(
                samples=sum(shard["samples"] for shard in work.splits[split].shards),
                skipped=work.splits[split].skipped,
                shards=[Shard(**shard) for shard in work.splits[split].shards],
            )
            for split in splits
        },
    )
