"""A folder for each class, with train and test folders above them or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.decode import FORMATS
from noisyrun.data.hints import did_you_mean
from noisyrun.data.raw import Raw, RawData
from noisyrun.data.refs import FileRefs
from noisyrun.data.sources.files import existing, test_folder, train_folder


def read(path: Path, settings: DataSettings) -> RawData:
    """A folder of class folders; images may lie at any depth below their class.

    Stable indices follow the sorted paths. A test class that training lacks is an error.
    """
    if not path.is_dir():
        raise UserError(f"--dataset: {path} is no folder")
    top = train_folder(path) or path
    found = test_folder(path) if settings.test is None else existing(Path(settings.test).expanduser(), "--data.test")
    apart = {found.resolve()} if found is not None else set()
    names = _classes(top, apart)
    if not names:
        raise UserError(f"{top} holds no folder with images, one for each class")
    notes: tuple[str, ...] = ()
    loose = sum(1 for entry in top.iterdir() if entry.is_file() and entry.suffix.lower() in suffixes())
    if loose:
        notes = (f"{loose} images directly in {top} belong to no class folder and are left out",)
    test = None
    if found is not None:
        extra = sorted(set(_classes(found, set())) - set(names))
        if extra:
            raise UserError(f"{found} has class {extra[0]!r}, which {top} lacks{did_you_mean(extra[0], names)}")
        test = _split(found, names)
    return RawData(path.resolve().name, "folder", _split(top, names), test, names, notes=notes)


@cache
def suffixes() -> frozenset[str]:
    """Endings of the images that are read."""
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS)


def _classes(top: Path, apart: set[Path]) -> tuple[str, ...]:
    """Class folders that hold an image, sorted by name."""
    wanted = suffixes()
    return tuple(
        sorted(
            entry.name
            for entry in top.iterdir()
            if entry.is_dir() and not entry.name.startswith(".") and entry.resolve() not in apart
            if next(_images(entry, wanted), None) is not None
        )
    )


def _images(folder: Path, wanted: frozenset[str]) -> Iterator[str]:
    """Paths of the images below a folder, sorted within each."""
    for base, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in wanted:
                yield os.path.join(base, name)


def _split(top: Path, names: tuple[str, ...]) -> Raw:
    wanted = suffixes()
    paths: list[str] = []
    labels: list[int] = []
    for c, name in enumerate(names):
        if not (top / name).is_dir():
            continue
        for path in _images(top / name, wanted):
            paths.append(os.path.relpath(path, top))
            labels.append(c)
    order = sorted(range(len(paths)), key=paths.__getitem__)
    return Raw(
        str(top),
        np.arange(len(paths)),
        {"label": pa.array([labels[place] for place in order], pa.int64())},
        {"label": "folder"},
        images=FileRefs(top, [paths[place] for place in order]),
    )
