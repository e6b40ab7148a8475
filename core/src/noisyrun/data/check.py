"""What a data set holds and what is wrong with it, without training."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow.compute as pc

from noisyrun.api import PAD, UserError
from noisyrun.config.settings import RunSettings
from noisyrun.data import layouts, sources
from noisyrun.data.build import need_labels, need_one, trusted_labels
from noisyrun.data.classes import Classes, find_classes
from noisyrun.data.columns import flags
from noisyrun.data.decode import BadImage, decode
from noisyrun.data.images import in_threads
from noisyrun.data.label_sets import any_pair, read_labels
from noisyrun.data.layouts.findings import NAMED, Findings, missing, some
from noisyrun.data.raw import Raw, RawData
from noisyrun.data.refs import FileRefs, ImageRefs

#: Which images are decoded: none, a thousand of each split spread over it, or all. Missing files are always told.
Depth = Literal["none", "sample", "all"]
_SAMPLE = 1000
_CHUNK = 64
_TEXTS = ("title", "description", "tags")


@dataclass
class Report:
    """What a check found.

    Attributes
    ----------
    format
        Name of the reader, as ``--data.format`` takes it; None where no data set was found.
    facts
        Terms and what was found, for people.
    problems, warnings
        A line each; a data set with problems cannot be trained on as it is.
    """

    title: str
    format: str | None = None
    facts: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check(settings: RunSettings, depth: Depth = "sample") -> Report:
    """Read a data set as a run would, and go on where a run would stop."""
    found = Findings()
    try:
        place = sources.locate(settings)
        if place.format in layouts.LAYOUTS:
            assert place.path is not None
            title = f"{layouts.LAYOUTS[place.format].title} ({place.format})"
        else:
            title = place.format
    except UserError as error:
        return Report("no data set", problems=[str(error)])
    report = Report(title, place.format, problems=found.problems, warnings=found.warnings)
    try:
        if place.format in layouts.LAYOUTS:
            assert place.path is not None
            raw = layouts.scan(place.path, settings.data, found, place.format)
        else:
            raw = sources.read(settings)
        _describe(raw, settings, report)
    except UserError as error:
        # What stops the reading is often told apart already.
        if str(error) not in found.problems:
            found.problem(str(error))
        return report
    for name, split in (("train", raw.train), ("test", raw.test)):
        if split is not None and isinstance(split.images, ImageRefs):
            report.facts.append((f"{name}: images", _look(split, split.images, depth, found)))
    return report


def _describe(raw: RawData, settings: RunSettings, report: Report) -> None:
    classes = find_classes(raw, settings.data.classes or sources.beside(settings, "classes.tsv"), settings.data.tree)
    report.facts.append(("classes", f"{len(classes.names):,}: {some(classes.names)}"))
    multi = any(split.several for split in (raw.train, raw.test) if split is not None)
    for name, split in (("train", raw.train), ("test", raw.test)):
        if split is None:
            report.facts.append((name, "none"))
            continue
        report.facts.append((name, f"{len(split):,} samples ({split.where})"))
        try:
            report.facts.extend(_of_split(split, classes, name, multi))
        except UserError as error:
            # A label out of range has its line already, where the layout knows what may have led to it.
            if not report.problems:
                report.problems.append(str(error))
    report.facts.extend(("note", note) for note in raw.notes)


def _of_split(raw: Raw, classes: Classes, name: str, multi: bool) -> Iterator[tuple[str, str]]:
    labels = {role: read_labels(raw, role, classes) for role in ("label", "truth", "trusted")}
    observed = labels["label"]
    if observed is not None:
        present = observed.classes[observed.classes != PAD].unique()
        yield (
            f"{name}: observed",
            f"labels of {len(present):,} classes, from column {raw.names.get('label', 'label')!r}",
        )
    for role, term in (("truth", "clean labels"), ("trusted", "trusted labels")):
        given = labels[role]
        if given is not None:
            yield f"{name}: {term}", f"{int(any_pair(given).sum()):,}"
    if observed is not None:
        trusted, _ = trusted_labels(raw, classes, observed)
        if not multi:
            need_one(raw, {"trusted": trusted, "truth": labels["truth"]})
            need_labels(raw, observed, trusted)
    verified = flags(raw, "verified")
    if verified is not None:
        right, wrong = int((verified == 1).sum()), int((verified == 0).sum())
        yield f"{name}: verification", f"{right + wrong:,} labels: {right:,} right, {wrong:,} wrong"
    for role in _TEXTS:
        column = raw.columns.get(role)
        if column is not None:
            lengths = pc.list_value_length(column) if raw.is_list(role) else pc.binary_length(column)
            filled = pc.sum(pc.greater(lengths.fill_null(0), 0)).as_py() or 0
            yield f"{name}: {role}", f"{filled:,} samples"
    if "source" in raw.columns:
        found = raw.columns["source"].unique().drop_null()
        yield f"{name}: source", f"{len(found):,}: {some(found.slice(0, NAMED).to_pylist(), len(found))}"
    if "rank" in raw.columns:
        limits = pc.min_max(raw.columns["rank"])
        yield f"{name}: rank", f"{limits['min']} to {limits['max']}"


def _look(raw: Raw, images: ImageRefs, depth: Depth, found: Findings) -> str:
    """Hold the images of a split against what a run will ask of them, and say how many were looked into."""
    absent: set[str] = set()
    if isinstance(images, FileRefs):
        names = missing(images.root, images.paths)
        absent = set(names)
        told = any(f"{raw.where}: " in line and "missing" in line for line in found.problems)
        if names and not told:
            found.problem(f"{raw.where}: {len(names):,} of {len(images):,} images are missing: {some(names)}")
    if depth == "none":
        return f"{len(images):,}, none decoded"
    count = len(images) if depth == "all" else min(_SAMPLE, len(images))
    positions = np.unique(np.linspace(0, len(images) - 1, count).astype(np.int64))

    def work(start: int) -> list[str]:
        bad = []
        for position in positions[start : start + _CHUNK].tolist():
            if absent and images.name(position) in absent:
                continue
            try:
                with images.open(position) as stream:
                    decode(stream, 3, None)
            except (BadImage, OSError) as error:
                bad.append(f"{images.name(position)} ({error})")
        return bad

    starts = range(0, len(positions), _CHUNK)
    bad = [line for part in _told(in_threads(work, starts), len(starts)) for line in part]
    if bad:
        among = f"{len(images):,} images" if count == len(images) else f"{count:,} images that were decoded"
        found.problem(
            f"{raw.where}: {len(bad):,} of {among} cannot be read: {some(bad)} "
            "(--data.on-bad-image skip trains without such)"
        )
    more = "" if count == len(images) else " (--images all decodes the others, too)"
    return f"{len(images):,}, {count - len(absent & _names(images, positions, absent)):,} decoded{more}"


def _names(images: ImageRefs, positions: np.ndarray, absent: set[str]) -> set[str]:
    return {images.name(position) for position in positions.tolist()} if absent else set()


def _told(parts: Iterable[list[str]], count: int) -> Iterable[list[str]]:
    """The parts, with a bar that tells how far it is, on a terminal."""
    if count < 2 or not sys.stderr.isatty():
        return parts
    from rich.console import Console
    from rich.progress import track

    return track(parts, "decoding images", count, console=Console(stderr=True), transient=True)
