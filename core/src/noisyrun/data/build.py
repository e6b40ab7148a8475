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
from noisyrun.data.classes import Classes, find_classes
from noisyrun.data.columns import Cells, flags, integers, named, tag_lists, texts
from noisyrun.data.digests import digests
from noisyrun.data.hashing import key, order
from noisyrun.data.images import LazyImages, ResidentImages, common_shape, fit_in_memory, read_images
from noisyrun.data.label_sets import any_pair, of_rows, read_labels, some_pairs
from noisyrun.data.normal import mean_std
from noisyrun.data.pairs import agreement
from noisyrun.data.raw import Raw, RawData
from noisyrun.data.samples import Data, Images, Samples, no_labels
from noisyrun.data.subsets import (
    among_top,
    chosen_classes,
    draw,
    held_half,
    of_classes,
    parse_selection,
    select,
)
from noisyrun.data.verdicts import is_file as is_verdicts
from noisyrun.data.verdicts import read_verdicts

#: Names of unreadable images that a note gives before it counts the rest.
_NAMED = 5
#: What a flag simulates from clean labels, and the column that would give it.
_SIMULATED = {"--verify": ("verification labels", "verified"), "--clean": ("trusted labels", "trusted")}


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
    train_part = _clean_subset(_verify(train_part, settings, raw), settings, raw)
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
    trusted, clean = _trusted(raw, classes, observed)
    truth = read_labels(raw, "truth", classes)
    verified = flags(raw, "verified")
    if not task.multi:
        _need_one(raw, {"trusted": trusted, "truth": truth})
        _need_labels(raw, observed, trusted)
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


def _trusted(raw: Raw, classes: Classes, observed: Labels) -> tuple[Labels, Tensor]:
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


def _need_labels(raw: Raw, observed: Labels, trusted: Labels) -> None:
    """A sample without an observed label is of use only when it has a trusted one."""
    bare = ((observed.classes == PAD).all(1) & (trusted.classes == PAD).all(1)).nonzero()
    if len(bare):
        raise UserError(f"{raw.row(int(bare[0]))} has no label ({len(bare)} such rows)")


def _need_one(raw: Raw, columns: Mapping[str, Labels | None]) -> None:
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


def _verify(samples: Samples, settings: RunSettings, raw: RawData) -> Samples:
    """Verification labels as given, read from a file of verdicts, or simulated; half of them held for thresholds."""
    verified = samples.verified
    if settings.verify is not None and is_verdicts(settings.verify):
        path, every = Path(settings.verify), torch.from_numpy(raw.train.index)
        verified = read_verdicts(path, "--verify", every, samples.index, samples.labels.classes, samples.task.classes)
    elif settings.verify is not None and _given(settings.verify, samples):
        drawn = _select("--verify", settings.verify, samples, samples.labels.classes, settings.seed, verified >= 0)
        verified = torch.where(drawn, verified, torch.tensor(-1, dtype=torch.int8))
    elif settings.verify is not None:
        judged, right = _judged(settings.verify, samples, raw)
        drawn = _select("--verify", settings.verify, samples, samples.labels.classes, settings.seed, judged)
        verified = torch.where(drawn, right.to(torch.int8), torch.tensor(-1, dtype=torch.int8))
    held = held_half(samples.labels.classes[:, 0], verified, samples.index, settings.seed)
    return replace(samples, verified=verified, verified_held=held)


def _given(asked: str, samples: Samples) -> bool:
    """Whether a selection is one of the verification labels that the data brings: where nothing can simulate others."""
    simulated = samples.truth is not None or parse_selection("--verify", asked).top is not None
    return bool((samples.verified >= 0).any()) and not simulated


def _judged(asked: str, samples: Samples, raw: RawData) -> tuple[Tensor, Tensor]:
    """bool [N] each: labels that can be judged, and whether they are right, by clean ones or a model's best classes."""
    top = parse_selection("--verify", asked).top
    if top is None:
        truth = _truth(samples, "--verify", raw)
        return _known(truth, samples.task), agreement(samples.labels, truth)[0]
    if samples.logits is None:
        raise UserError(f"--verify {asked}: {raw.name} holds no logits of a model to judge labels by (array `logits`)")
    right = among_top(samples.labels.classes, samples.logits, top)
    return torch.ones_like(right), right


def _select(flag: str, asked: str, samples: Samples, labels: Tensor, seed: int, among: Tensor | None = None) -> Tensor:
    """bool [N]: the samples that ``--verify`` or ``--clean`` draws, by labels int64 [N, k], among some, bool [N]."""
    wanted = parse_selection(flag, asked, samples.task.classes[0])
    chosen = of_classes(labels, chosen_classes(flag, wanted.classes, samples.text, seed))
    if among is not None:
        chosen &= among
    if not samples.task.multi:
        chosen &= labels[:, 0] != PAD  # what has no label has none that is right
    drawn = select(wanted, labels[:, 0], samples.index, key(flag.strip("-"), seed), chosen)
    if not bool(drawn.any()):
        raise UserError(f"{flag} {asked} of {int(chosen.sum())} samples is none: ask for a larger share")
    return drawn


def _known(truth: Labels, task: Task) -> Tensor:
    """bool [N]: samples of which a clean label is known; the others cannot be judged."""
    return any_pair(truth, torch.ones(len(truth), dtype=torch.bool) if task.multi else None)


def _clean_subset(samples: Samples, settings: RunSettings, raw: RawData) -> Samples:
    """The trusted clean subset as given, or simulated from clean labels."""
    if settings.clean is None:
        if settings.data.clean_pairs < 1:
            raise UserError("--data.clean-pairs is a share of the pairs of the --clean subset: give --clean, too")
        return samples
    if parse_selection("--clean", settings.clean).top is not None:
        raise UserError(
            f"--clean {settings.clean}: a model's best classes verify labels, but none of them is the true one"
        )
    truth = _clean_labels(samples, raw)
    drawn = _select("--clean", settings.clean, samples, truth.classes, settings.seed, _known(truth, samples.task))
    share, count = settings.data.clean_pairs, samples.task.num_classes
    if share < 1 and not samples.task.multi:
        raise UserError("--data.clean-pairs is for data with several labels a sample, and this data has one")
    pairs = some_pairs(truth, drawn, share, count, samples.index, key("clean", "pairs", settings.seed))
    return replace(samples, trusted=pairs, clean=drawn & any_pair(pairs, fully=drawn))


def _clean_labels(samples: Samples, raw: RawData) -> Labels:
    """Clean labels, and those that can be trusted where no clean one is known."""
    if samples.truth is None and bool(any_pair(samples.trusted).any()):
        return samples.trusted
    truth = _truth(samples, "--clean", raw)
    if samples.task.multi:
        return truth
    return Labels(torch.where(truth.classes == PAD, samples.trusted.classes, truth.classes))


def _truth(samples: Samples, flag: str, raw: RawData) -> Labels:
    what, column = _SIMULATED[flag]
    if samples.truth is None:
        raise UserError(
            f"{flag}: {raw.name} has no clean labels to simulate {what} from; "
            f"name their column (--data.clean-label), or give the data a column {column!r}"
        )
    return samples.truth


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
