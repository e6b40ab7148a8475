"""AliProducts (2020): photographs of 50 thousand products from a shop, with a clean validation set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.layouts.findings import Findings, brings_its_own, glued, missing, some, whole
from noisyrun.data.layouts.json_lists import Number, json_lists
from noisyrun.data.layouts.product_tree import product_tree
from noisyrun.data.raw import Raw, RawData

#: Classes, as published.
_CLASSES = 50_030


def scan(path: Path, settings: DataSettings, found: Findings, format: str) -> RawData:
    """Training images lie in a folder for each class id, of five digits; the test set is the validation set.

    Classes are the ids in training, in order. The tree of products becomes the tree over classes.
    """
    brings_its_own(settings.test, "AliProducts")
    file = path / "train.json"
    names, ids = _rows(file)
    classes = np.unique(ids)
    found.size("classes of train.json", len(classes), _CLASSES)
    _folders(path / "train", names, ids, found)
    train = Raw(
        str(file),
        np.arange(len(ids)),
        {"label": whole(np.searchsorted(classes, ids))},
        {"label": "class_id"},
        images=found.images(path / "train", _inside(names, ids), file),
    )
    called = tuple(f"{number:05d}" for number in classes.tolist())
    parents = product_tree(path / "product_tree.json", called, found)
    return RawData("aliproducts", format, train, _test(path, classes, found), called, parents=parents)


def _rows(file: Path) -> tuple[pa.Array, np.ndarray]:
    """Name and class id, int64, of each image; ids may be written as text."""
    rows = json_lists(file, {"images": {"image_id": str, "class_id": Number}})["images"]
    if not len(rows["image_id"]):
        raise UserError(f"{file} names no image")
    return rows["image_id"], rows["class_id"].to_numpy()


def _inside(names: pa.Array, ids: np.ndarray) -> pa.Array:
    """``00042/NAME``."""
    folders, codes = np.unique(ids, return_inverse=True)
    called = pa.array([f"{number:05d}" for number in folders.tolist()], pa.large_string())
    return glued(called.take(pa.array(codes)), "/", names)


def _folders(root: Path, names: pa.Array, ids: np.ndarray, found: Findings) -> None:
    """Hold class ids against folders: where no image is under its own but each under the next, ids are off by one."""
    few = np.arange(0, len(ids), max(1, len(ids) // 256))
    some_names, some_ids = names.take(pa.array(few)), ids[few]

    def absent(shift: int) -> int:
        return len(missing(root, _inside(some_names, np.maximum(some_ids + shift, 0))))

    if absent(0) == len(few):
        for shift in (1, -1):
            if absent(shift) == 0:
                way = "higher" if shift > 0 else "lower"
                found.problem(f"{root}: class ids of train.json are off by one: image folders are numbered one {way}")


def _test(path: Path, classes: np.ndarray, found: Findings) -> Raw | None:
    file = path / "val.json"
    if not file.is_file():
        found.warn(f"{file} is missing: no test set")
        return None
    names, ids = _rows(file)
    places = np.minimum(np.searchsorted(classes, ids), len(classes) - 1)
    known = classes[places] == ids
    strange = [str(number) for number in np.unique(ids[~known]).tolist()]
    if strange:
        found.problem(f"{file}: {len(strange)} classes that train.json lacks: {some(strange)}")
        names, ids, places = names.filter(pa.array(known)), ids[known], places[known]
    if not len(ids):
        return None
    # Validation images lie in class folders like those of training, or all in one.
    nested = (path / "val" / f"{int(ids[0]):05d}").is_dir()
    return Raw(
        str(file),
        np.arange(len(ids)),
        {"label": whole(places)},
        {"label": "class_id"},
        images=found.images(path / "val", _inside(names, ids) if nested else names, file),
    )
