"""From a source on disk to the splits of a run: classes, noise, validation, verification and the clean subset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from noisyrun.api import PAD, UserError
from noisyrun.api.labels import Labels
from noisyrun.api.side_info import Text
from noisyrun.api.task import Task
from noisyrun.config.settings import RunSettings
from noisyrun.data import inject, sources
from noisyrun.data.checked import clean_subset, verify
from noisyrun.data.classes import Classes, find_classes
from noisyrun.data.columns import Cells, flags, integers, named, tag_lists, texts
from noisyrun.data.digests import digests
from noisyrun.data.hashing import key, order
from noisyrun.data.images import LazyImages, ResidentImages, common_shape, fit_in_memory, read_images
from noisyrun.data.label_sets import any_pair, of_rows, read_labels
from noisyrun.data.normal import mean_std
from noisyrun.data.raw import Raw, RawData
from noisyrun.data.samples import Data, Images, Samples, no_labels
from noisyrun.data.subsets import draw

#: Names of unreadable images that a note gives before it counts the rest.
_NAMED = 5


def load(settings: RunSettings, *, to_train: bool = True) -> Data:
    """Read a data set, inject what was asked for, and split it.

    Parameters
    ----------
    settings
        The run's; without a data set the run is a demonstration on digits with symmetric noise.
    to_train
        Whether the data will be trained on: if not, training images are decoded only where somebody asks for them.

    Raises
    ------
    UserError
        For anything wrong with the data or with what was asked of it, in one line.
    """
    raw = sources.read(settings)
    data = assemble(raw, settings, to_train=to_train)
    if data.test is not None:
        return data
    note = f"no test set was found beside {raw.train.where}: accuracy is not measured (--data.test PATH)"
    return replace(data, notes=(*data.notes, note))


def assemble(raw: RawData, settings: RunSettings, *, to_train: bool = True) -> Data:
    """The splits of a data set that has been read, or was given from Python; parameters as for `load`.

    Raises
    ------
    UserError
        As for `load`.
    """
    notes = list(raw.notes)
    classes = find_classes(raw, settings.data.classes or sources.beside(settings, "classes.tsv"), settings.data.tree)
    train = _subset(raw.train, settings)
    shape = None
    if train.images is not None:
        shape, note = common_shape(train, settings.data.image_size)
        notes += [note] if note else []
    task = _task(raw, classes, shape, settings.train.loss)
    everything, train = _samples(train, task, classes, settings, notes, hold=to_train)
    _need_classes(train, everything)
    tested = None if raw.test is None else _samples(raw.test, task, classes, settings, notes)
    test = None if tested is None else _test(tested[0])
    everything, noise = inject.inject(everything, settings, raw, notes)
    train_part, val = _split(everything, settings)
    if val is not None and isinstance(val.images, LazyImages) and fit_in_memory(train, val.images.shape):
        val = replace(val, images=val.images.decoded())  # as it would be in a run
    train_part = clean_subset(verify(train_part, settings, raw), settings, raw)
    mean, std = mean_std(train_part.images, settings.seed)
    tried = None if tested is None or test is None else (tested[1], test)
    return Data(
        name=raw.name,
        train=train_part,
        val=val,
        test=test,
        digests=digests(train, everything, train_part, tried, noise),
        notes=(*notes, *train_part.checked(verify=settings.verify is not None)),
        mean=mean,
        std=std,
        lineage=_lineage(raw, settings, train_part, val, test, noise),
        noise=noise,
    )


def _subset(raw: Raw, settings: RunSettings) -> Raw:
    """As many rows as the user asks for, drawn by the seed."""
    wanted = settings.data.subset
    if wanted is None or wanted >= len(raw):
        return raw
    drawn = order(key("subset", settings.seed), torch.from_numpy(raw.index))[:wanted]
    return raw.take(np.sort(drawn.numpy()))


def _task(
    raw: RawData,
    classes: Classes,
    shape: tuple[int, int, int] | None,
    loss: Literal["auto", "cross-entropy", "binary-cross-entropy"],
) -> Task:
    """One task for all splits: a test set in which no sample happens to have two labels is multi-label all the same."""
    splits = [split for split in (raw.train, raw.test) if split is not None]
    multi = any(split.several for split in splits)
    if loss == "auto":
        loss = "binary-cross-entropy" if multi else "cross-entropy"
    return Task(
        classes.names,
        "multi" if multi else "single",
        loss,
        None if shape is None else shape[1:],
        None if shape is None else shape[0],
        None if raw.train.features is None else raw.train.features.shape[1],
    )


def _samples(
    raw: Raw, task: Task, classes: Classes, settings: RunSettings, notes: list[str], hold: bool = True
) -> tuple[Samples, Raw]:
    """One split, with its images decoded and its columns read; and the raw rows that are left."""
    # Labels first: a label out of range is found before an hour of decoding.
    observed = read_labels(raw, "label", classes)
    images: Images | None = None
    if raw.images is not None:
        assert task.image_size is not None
        assert task.channels is not None
        shape, skip = (task.channels, *task.image_size), settings.data.on_bad_image == "skip"
        images, kept, bad = read_images(raw, shape, skip, hold, settings.data.bad_images)
        if isinstance(images, LazyImages):
            images.gpu = settings.data.decode == "gpu"
        if kept is not None:
            more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
            notes.append(f"{len(bad)} images that cannot be read are left out: {'; '.join(bad[:_NAMED])}{more}")
            raw = raw.take(kept)
            observed = read_labels(raw, "label", classes)
    assert observed is not None
    trusted, clean = trusted_labels(raw, classes, observed)
    truth = read_labels(raw, "truth", classes)
    verified = flags(raw, "verified")
    if not task.multi:
        need_one(raw, {"trusted": trusted, "truth": truth})
        need_labels(raw, observed, trusted)
    source, source_names = named(raw, "source")
    return (
        Samples(
            task=task,
            index=torch.tensor(raw.index),
            labels=observed,
            verified=torch.full((len(raw),), -1, dtype=torch.int8) if verified is None else verified,
            verified_held=torch.zeros(len(raw), dtype=torch.bool),
            trusted=trusted,
            clean=clean,
            text=Text(
                classes.names,
                classes.wnids,
                classes.descriptions,
                classes.parents,
                texts(raw, "title"),
                texts(raw, "description"),
                tag_lists(raw),
            ),
            images=images,
            features=None if raw.features is None else _tensor(raw.features),
            logits=None if raw.logits is None else _tensor(raw.logits),
            truth=truth,
            source=source,
            source_names=source_names,
            rank=integers(raw, "rank"),
        ),
        raw,
    )


def trusted_labels(raw: Raw, classes: Classes, observed: Labels) -> tuple[Labels, Tensor]:
    """Trusted labels and the clean subset, as the columns give them.

    A flag without a trusted label says that the observed label can be trusted. Where several labels are trusted pair by
    pair, a sample is in the clean subset from the first pair on, be it one that does not hold.
    """
    trusted, flag = read_labels(raw, "trusted", classes), flags(raw, "clean")
    if flag is None:
        if trusted is None:
            return no_labels(len(raw)), torch.zeros(len(raw), dtype=torch.bool)
        return trusted, any_pair(trusted)
    clean = flag == 1
    if trusted is None:
        return of_rows(observed, clean), clean
    lacking = (clean & ~any_pair(trusted)).nonzero()
    if len(lacking):
        raise UserError(f"{raw.row(int(lacking[0]))} is in the clean subset but has no trusted label")
    return trusted, clean


def _need_classes(raw: Raw, samples: Samples) -> None:
    """What is trained on has labels of two classes; a test set may have those of one."""
    classes = samples.labels.classes
    present = classes[classes != PAD].unique()
    if len(present) < 2 and not bool((samples.trusted.classes != PAD).any()):
        if samples.task.multi:
            only = f"only class {samples.task.classes[int(present[0])]!r}" if len(present) else "no class"
            raise UserError(f"{raw.where}: {only} holds for any sample; training needs labels of two or more")
        only = f"label {int(present[0])}" if len(present) else "nothing"
        raise UserError(f"every sample of {raw.where} has {only}: training needs two classes or more")


def need_labels(raw: Raw, observed: Labels, trusted: Labels) -> None:
    """A sample without an observed label is of use only when it has a trusted one."""
    bare = ((observed.classes == PAD).all(1) & (trusted.classes == PAD).all(1)).nonzero()
    if len(bare):
        raise UserError(f"{raw.row(int(bare[0]))} has no label ({len(bare)} such rows)")


def need_one(raw: Raw, columns: Mapping[str, Labels | None]) -> None:
    """Single observed labels can be held only against single clean and trusted ones."""
    for role, labels in columns.items():
        if labels is not None and bool((labels.classes[:, 1:] != PAD).any()):
            row = int((labels.classes[:, 1:] != PAD).any(1).nonzero()[0])
            raise UserError(
                f"column {raw.names.get(role, role)!r} holds several labels in {raw.row(row)}, but the observed labels "
                f"are single; give those as lists, too"
            )


def _test(samples: Samples) -> Samples:
    """The test set under its clean labels: those are what it is measured by."""
    if samples.truth is None:
        return replace(samples, truth=samples.labels)
    return replace(samples, labels=samples.truth)


def take(samples: Samples, rows: Tensor) -> Samples:
    """Some samples of a split, int64 [r], ascending."""
    if len(rows) == len(samples):
        return samples

    def pick(values: Any) -> Any:
        return None if values is None else values[rows]

    def words(values: Any) -> Any:
        if isinstance(values, Cells):
            return values.take(rows.numpy())
        return None if values is None else [values[row] for row in rows.tolist()]

    text = samples.text
    return replace(
        samples,
        index=samples.index[rows],
        labels=samples.labels.take(rows),
        verified=samples.verified[rows],
        verified_held=samples.verified_held[rows],
        trusted=samples.trusted.take(rows),
        clean=samples.clean[rows],
        text=replace(
            text,
            titles=words(text.titles),
            sample_descriptions=words(text.sample_descriptions),
            tags=words(text.tags),
        ),
        images=_take_images(samples.images, rows),
        features=pick(samples.features),
        logits=pick(samples.logits),
        truth=None if samples.truth is None else samples.truth.take(rows),
        source=pick(samples.source),
        rank=pick(samples.rank),
    )


def _take_images(images: Images | None, rows: Tensor) -> Images | None:
    if isinstance(images, LazyImages):
        return images.take(rows.numpy())
    return None if images is None else ResidentImages(images.load(rows))


def _split(samples: Samples, settings: RunSettings) -> tuple[Samples, Samples | None]:
    """Training and noisy validation, stratified by the first observed label."""
    held = draw(samples.labels.classes[:, 0], settings.data.val, samples.index, key("val", settings.seed))
    # The clean subset is there to be trained on.
    held &= ~samples.clean
    if not bool(held.any()):
        return samples, None
    return take(samples, (~held).nonzero()[:, 0]), take(samples, held.nonzero()[:, 0])


def _lineage(
    raw: RawData, settings: RunSettings, train: Samples, val: Samples | None, test: Samples | None, noise: Any
) -> dict[str, Any]:
    """What a tracker records of the data."""
    return {
        "name": raw.name,
        "format": raw.format,
        "path": None if raw.format == "digits" else str(Path(raw.train.where)),
        "columns": dict(raw.train.names),
        "train": len(train),
        "val": 0 if val is None else len(val),
        "test": 0 if test is None else len(test),
        "classes": train.task.num_classes,
        "noise": None if noise is None else {name: noise.header[name] for name in ("noise", "seed", "flipped")},
        "verified": int((train.verified >= 0).sum()),
        "clean": int(train.clean.sum()),
        "seed": settings.seed,
    }


def _tensor(values: np.ndarray) -> torch.Tensor:
    """The array without a copy where it may be written to, as torch wants; Arrow's may not."""
    return torch.from_numpy(values if values.flags.writeable else values.copy())
