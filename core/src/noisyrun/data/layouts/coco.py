"""MS-COCO 2014 (Lin et al., ECCV 2014): images with the categories of all objects in them, several labels a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.layouts.findings import Findings, brings_its_own, load_json, records, some
from noisyrun.data.raw import Raw, RawData

_CLASSES = 80
_SIZES = {"train2014": 82_783, "val2014": 40_504}


def scan(path: Path, settings: DataSettings, found: Findings, format: str) -> RawData:
    """Labels are the categories of an image's objects, none where it has none; the test set is the validation set.

    Category ids have gaps: classes are numbered in their order.
    """
    brings_its_own(settings.test, "COCO")
    names, train = _split(path, "train2014", found)
    file = path / "annotations" / "instances_val2014.json"
    if not file.is_file():
        found.warn(f"{file} is missing: no test set")
        return RawData("coco", format, train, None, names)
    others, test = _split(path, "val2014", found)
    if others != names:
        found.problem(f"{file}: its categories are not those of instances_train2014.json")
    return RawData("coco", format, train, test, names)


def _split(path: Path, part: str, found: Findings) -> tuple[tuple[str, ...], Raw]:
    file = path / "annotations" / f"instances_{part}.json"
    held = load_json(file)
    categories = sorted(records(held, "categories", {"id": int, "name": str}, file), key=lambda row: int(row["id"]))
    images = records(held, "images", {"id": int, "file_name": str}, file)
    if not images:
        raise UserError(f"{file} names no image")
    objects = records(held, "annotations", {"image_id": int, "category_id": int}, file)
    if len(categories) != _CLASSES:
        found.warn(f"{file}: {len(categories)} categories of the {_CLASSES} that were published")
    found.size(file.name, len(images), _SIZES[part])
    place = {row["id"]: number for number, row in enumerate(categories)}
    labels: dict[int, set[int]] = {row["id"]: set() for row in images}
    if len(labels) < len(images):
        found.problem(f"{file}: {len(images) - len(labels):,} images have the id of another one")
    strange = sorted({row["category_id"] for row in objects if row["category_id"] not in place})
    if strange:
        found.problem(
            f"{file}: objects of {len(strange)} categories that are not listed: {some(list(map(str, strange)))}"
        )
    lost = [str(row["image_id"]) for row in objects if row["image_id"] not in labels]
    if lost:
        found.problem(f"{file}: {len(lost):,} objects in images that are not listed: {some(lost)}")
    for row in objects:
        if row["image_id"] in labels and row["category_id"] in place:
            labels[row["image_id"]].add(place[row["category_id"]])
    column = pa.array([sorted(labels[row["id"]]) for row in images], pa.list_(pa.int64()))
    refs = found.images(path / part, [row["file_name"] for row in images], file)
    names = tuple(row["name"] for row in categories)
    return names, Raw(str(file), np.arange(len(images)), {"label": column}, {"label": "category_id"}, images=refs)
