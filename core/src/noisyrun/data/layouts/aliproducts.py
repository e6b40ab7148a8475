"""AliProducts (2020): photographs of 50 thousand products from a shop, with a clean validation set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.layouts.findings import Findings, brings_its_own, load_json, missing, records, some, whole
from noisyrun.data.raw import Raw, RawData


def scan(path: Path, settings: DataSettings, found: Findings, format: str) -> RawData:
    """Training images lie in a folder for each class id, of five digits; the test set is the validation set.

    Classes are the ids in training, in order. The tree of products is not read.
    """
    brings_its_own(settings.test, "AliProducts")
    file = path / "train.json"
    rows = _rows(file)
    ids = sorted({number for _, number in rows})
    place = {number: row for row, number in enumerate(ids)}
    names = [_inside(image, number) for image, number in rows]
    _folders(path / "train", rows, found)
    train = Raw(
        str(file),
        np.arange(len(rows)),
        {"label": whole(np.array([place[number] for _, number in rows], np.int64))},
        {"label": "class_id"},
        images=found.images(path / "train", names, file),
    )
    notes = ("product_tree.json is not read",) if (path / "product_tree.json").is_file() else ()
    return RawData("aliproducts", format, train, _test(path, place, found), tuple(f"{n:05d}" for n in ids), notes=notes)


def _rows(file: Path) -> list[tuple[str, int]]:
    """Name and class id of each image; ids may be written as text."""
    rows = records(load_json(file), "images", {"image_id": str, "class_id": (int, str)}, file)
    if not rows:
        raise UserError(f"{file} names no image")
    return [(row["image_id"], _number(row["class_id"], file)) for row in rows]


def _number(value: Any, file: Path) -> int:
    if isinstance(value, bool) or not re.fullmatch("[0-9]{1,18}", str(value)):
        raise UserError(f"{file}: class_id {str(value)[:80]!r} is no whole number")
    return int(value)


def _inside(image: str, number: int) -> str:
    return f"{number:05d}/{image}"


def _folders(root: Path, rows: list[tuple[str, int]], found: Findings) -> None:
    """Hold class ids against folders: where no image is under its own but each under the next, ids are off by one."""
    few = rows[:: max(1, len(rows) // 256)]

    def absent(shift: int) -> int:
        return len(missing(root, [_inside(image, max(0, number + shift)) for image, number in few]))

    if absent(0) == len(few):
        for shift in (1, -1):
            if absent(shift) == 0:
                found.problem(f"{root}: class ids of train.json are off by one: image folders are numbered {shift:+d}")


def _test(path: Path, place: dict[int, int], found: Findings) -> Raw | None:
    file = path / "val.json"
    if not file.is_file():
        found.warn(f"{file} is missing: no test set")
        return None
    rows = _rows(file)
    strange = sorted({str(number) for _, number in rows if number not in place})
    if strange:
        found.problem(f"{file}: {len(strange)} classes that train.json lacks: {some(strange)}")
        rows = [row for row in rows if row[1] in place]
    if not rows:
        return None
    # Validation images lie in class folders like those of training, or all in one.
    nested = (path / "val" / f"{rows[0][1]:05d}").is_dir()
    return Raw(
        str(file),
        np.arange(len(rows)),
        {"label": whole(np.array([place[number] for _, number in rows], np.int64))},
        {"label": "class_id"},
        images=found.images(path / "val", [_inside(*row) if nested else row[0] for row in rows], file),
    )
