"""What is to be predicted, one item after another: files, folders, or any data set that a run can be given."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from noisyrun.api.errors import UserError
from noisyrun.config.settings import RunSettings
from noisyrun.data import sources
from noisyrun.data.classes import Classes, find_classes
from noisyrun.data.raw import ABSENT, KNOWN, Raw, RawData
from noisyrun.data.refs import ImageRefs
from noisyrun.data.sources.folder import suffixes
from noisyrun.data.sources.roles import unlabelled
from noisyrun.exports.card import Card
from noisyrun.files import open_file

#: A class by any of its names, in the order of the model's outputs.
Lookup = Mapping[str, int]


@dataclass(frozen=True)
class Given:
    """What is known of an item before it is predicted.

    Attributes
    ----------
    holds
        Classes that hold.
    known
        Classes of which it is known whether they hold; None: of all.
    """

    holds: frozenset[int]
    known: frozenset[int] | None = None


@dataclass(frozen=True)
class Item:
    """One image, or one row of features.

    Attributes
    ----------
    name
        Path, or what stands for it.
    open
        Opens its encoded bytes; None where it is decoded already.
    array
        uint8 [channels, height, width], or features [D].
    """

    name: str
    open: Callable[[], BinaryIO] | None = None
    array: np.ndarray | None = None
    given: Given | None = None


@dataclass(frozen=True)
class Inputs:
    """Items, and where they come from.

    Attributes
    ----------
    count
        How many there are; None where nobody has counted.
    given
        What says which class holds, in words; empty where nothing does.
    """

    items: Iterator[Item]
    count: int | None = None
    given: str = ""
    notes: tuple[str, ...] = field(default=())


def open_inputs(
    images: Sequence[str],
    card: Card,
    settings: Callable[[str], RunSettings],
    split: str | None = None,
    asked: Sequence[str] = (),
) -> Inputs:
    """What a user names: a data set, or any number of files and folders.

    Parameters
    ----------
    images
        Paths; or ``digits``.
    settings
        Settings of a run on a data set.
    split
        ``train`` or ``test`` of a data set; by default its test set where the path is not a file of its own.
    asked
        Settings that were asked for, which have a meaning for a data set alone.

    Raises
    ------
    UserError
        In one line, when a path is not there or holds nothing to predict.
    """
    if not images:
        raise UserError("predict: name the images: a folder, files, or a data set")
    look = lookup(card)
    if len(images) == 1 and _is_data(images[0]):
        return _of_data(images[0], settings(images[0]), card, look, split)
    if split is not None:
        raise UserError(f"--split: {images[0]} is no data set with splits")
    if asked:
        raise UserError(f"--{asked[0]}: is for a data set, and {images[0]} is none")
    if card.preprocessing is None:
        raise UserError(f"{images[0]}: the model takes features, not images; name a file of features (.npz, .parquet)")
    for path in images:
        if not os.path.exists(path):
            raise UserError(f"predict: no file or folder {path}")
    return Inputs(_files(images, look), None, "folders named after classes")


def lookup(card: Card) -> dict[str, int]:
    """The index of each class by its name and, where it has one, by its WordNet id."""
    ids = {} if card.wnids is None else {wnid: c for c, wnid in enumerate(card.wnids)}
    return ids | {name: c for c, name in enumerate(card.classes)}


def _is_data(path: str) -> bool:
    """Whether a path is a data set with a format of its own, rather than an image or a folder of them."""
    place = Path(path).expanduser()
    if place.is_file():
        return place.suffix.lower() not in suffixes()
    try:
        found = sources.locate(RunSettings(dataset=path))
    except UserError:
        # A folder that no reader of data sets knows holds images at most; what is not there is named later.
        return False
    return found.format != "folder"


def _files(images: Sequence[str], look: Lookup) -> Iterator[Item]:
    """Files as they are named; folders at any depth, sorted within each."""
    wanted = suffixes()
    for top in images:
        if not os.path.isdir(top):
            yield _file(top, _named_after([os.path.basename(os.path.dirname(os.path.abspath(top)))], look))
            continue
        own = os.path.basename(os.path.abspath(top))
        for base, folders, names in os.walk(top, onerror=_refuse):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = [] if base == top else os.path.relpath(base, top).split(os.sep)
            given = _named_after([*reversed(below), own], look)
            for name in sorted(names):
                if not name.startswith(".") and os.path.splitext(name)[1].lower() in wanted:
                    yield _file(os.path.join(base, name), given)


def _file(path: str, given: Given | None) -> Item:
    return Item(path, partial(open_file, path), given=given)


def _refuse(error: OSError) -> None:
    raise UserError(f"predict: cannot read the folder {error.filename} ({error.strerror})")


def _named_after(folders: Sequence[str], look: Lookup) -> Given | None:
    """The class that the nearest folder is named after."""
    return next((Given(frozenset([look[name]])) for name in folders if name in look), None)


def _of_data(path: str, settings: RunSettings, card: Card, look: Lookup, split: str | None) -> Inputs:
    with unlabelled():
        data = sources.read(settings)
    if split not in (None, "train", "test"):
        raise UserError(f"--split: must be train or test (got {split!r})")
    if split == "test" and data.test is None:
        raise UserError(f"--split: {path} brings no test set")
    own = Path(path).expanduser().is_file()
    chosen = data.test if data.test is not None and (split == "test" or (split is None and not own)) else data.train
    _check_kind(chosen, card)
    role = next((role for role in ("truth", "label") if role in chosen.columns), None)
    names = _names(data, chosen, settings, role)
    given = "" if role is None else f"{'clean' if role == 'truth' else 'given'} labels of {chosen.where}"
    notes = (
        (f"the test set of {path}; --split train predicts the other",) if chosen is data.test and split is None else ()
    )
    return Inputs(_rows(chosen, role, names, look), len(chosen), given, notes)


def _check_kind(raw: Raw, card: Card) -> None:
    """Refuse images for a model on features, features for one on images, and features of another width."""
    if (raw.images is None) != (card.preprocessing is None):
        has, takes = ("features", "images") if raw.images is None else ("images", "features")
        raise UserError(f"{raw.where} has {has}, but the model takes {takes}")
    if raw.images is None and raw.features is not None and raw.features.shape[1] != card.features:
        raise UserError(f"{raw.where}: features are {raw.features.shape[1]} wide, the model takes {card.features}")
    if isinstance(raw.images, np.ndarray) and card.preprocessing is not None:
        channels = raw.images.shape[1]
        if channels != card.preprocessing.channels:
            raise UserError(
                f"{raw.where}: images have {channels} channels, the model takes {card.preprocessing.channels}"
            )


def _names(data: RawData, raw: Raw, settings: RunSettings, role: str | None) -> Sequence[Sequence[str]] | None:
    """What a label that is a number may be called; None where labels are names."""
    table = settings.data.classes or sources.beside(settings, "classes.tsv")
    if role is None:
        return None
    if table is not None:
        classes: Classes = find_classes(data, table, None)
        return [classes.names, *([] if classes.wnids is None else [classes.wnids])]
    if data.classes is not None:
        return [data.classes, *([] if data.wnids is None else [data.wnids])]
    return None


def _rows(raw: Raw, role: str | None, names: Sequence[Sequence[str]] | None, look: Lookup) -> Iterator[Item]:
    columns = None if role is None else [raw.columns.get(name) for name in (role, KNOWN[role], ABSENT[role])]
    for row in range(len(raw)):
        given = None if columns is None else _given(columns, row, names, look)
        if isinstance(raw.images, ImageRefs):
            yield Item(raw.images.name(row), partial(raw.images.open, row), given=given)
        else:
            held = raw.features if raw.images is None else raw.images
            assert held is not None
            yield Item(f"{raw.where}, row {raw.index[row]}", array=np.asarray(held[row]), given=given)


def _given(
    columns: Sequence[pa.Array | None], row: int, names: Sequence[Sequence[str]] | None, look: Lookup
) -> Given | None:
    """The classes that a row names; None where it names none, or one that the model does not know."""
    holds, known, absent = (None if column is None else _cells(column, row) for column in columns)
    found = _indices(holds or [], names, look)
    if found is None:
        return None
    if known is None and absent is None:
        return Given(found)
    said = _indices([*(known or []), *(absent or [])], names, look)
    return None if said is None else Given(found, found | said)


def _cells(column: pa.Array, row: int) -> list[Any]:
    value = column[row].as_py()
    return value if isinstance(value, list) else [] if value is None else [value]


def _indices(values: Sequence[Any], names: Sequence[Sequence[str]] | None, look: Lookup) -> frozenset[int] | None:
    found = set()
    for value in values:
        words: list[str] = [str(value)]
        if not isinstance(value, str):
            if value < 0:
                continue
            words = [which[int(value)] for which in names if int(value) < len(which)] if names else [str(int(value))]
        place = next((look[word] for word in words if word in look), None)
        if place is None:
            return None
        found.add(place)
    return frozenset(found)
