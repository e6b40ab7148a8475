"""MS-COCO 2014 (Lin et al., ECCV 2014): images with the categories of all objects in them, several labels a sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.layouts.findings import Findings, brings_its_own, some
from noisyrun.data.layouts.json_lists import Fields, json_lists
from noisyrun.data.raw import Raw, RawData

_CLASSES = 80
_SIZES = {"train2014": 82_783, "val2014": 40_504}
_OWN = "category_id"
#: Labels that a model gave, a row each: the id of an image and that of a category, COCO's own.
NOISY = "noisy_labels_train2014.csv"
_FIELDS: Fields = {
    "categories": {"id": int, "name": str},
    "images": {"id": int, "file_name": str},
    "annotations": {"image_id": int, "category_id": int},
}


@dataclass(frozen=True)
class _Part:
    """One part: its categories' ids, ascending, and names; images' ids and files; (image, class) pairs, int64 [L]."""

    file: Path
    categories: np.ndarray
    names: tuple[str, ...]
    images: np.ndarray
    files: pa.Array
    rows: np.ndarray
    classes: np.ndarray


def scan(path: Path, settings: DataSettings, found: Findings, format: str) -> RawData:
    """Labels are the categories of an image's objects, none where it has none; the test set is the validation set.

    Category ids have gaps: classes are numbered in their order. Where the annotations have a file of a model's labels
    (`NOISY`), those are observed, and COCO's own are the clean ones; classes are then the categories that the model
    knows, and images without an object of any of them are left out.
    """
    brings_its_own(settings.test, "COCO")
    train = _read(path, "train2014", found)
    file = path / "annotations" / "instances_val2014.json"
    test = None
    if not file.is_file():
        found.warn(f"{file} is missing: no test set")
    else:
        test = _read(path, "val2014", found)
        if (test.names, test.categories.tolist()) != (train.names, train.categories.tolist()):
            found.problem(f"{file}: its categories are not those of instances_train2014.json")
            test = None
    noisy = path / "annotations" / NOISY
    if not noisy.is_file() or settings.label == _OWN:
        own = {"label": _lists(train.rows, train.classes, len(train.images))}
        raw = _raw(path / "train2014", train, own, {"label": _OWN}, found)
        return RawData("coco", format, raw, None if test is None else _test(path, test, found), train.names)
    rows, codes = _noisy(noisy, train, found)
    classes = np.unique(codes)
    train, kept = _only(train, classes)
    place = np.full(_highest(rows, kept) + 1, -1)
    place[kept] = np.arange(len(kept))
    mine = place[rows] >= 0
    columns = {
        "label": _lists(place[rows[mine]], np.searchsorted(classes, codes[mine]), len(kept)),
        "truth": _lists(train.rows, train.classes, len(kept)),
    }
    raw = _raw(path / "train2014", train, columns, {"label": NOISY, "truth": _OWN}, found)
    notes = (
        f"observed labels: {NOISY}, with COCO's own as the clean ones (--data.label {_OWN} trains on those)",
        f"{len(classes)} classes, those that {NOISY} gives; images without an object of any of them are left out",
    )
    if test is not None:
        test = _only(test, classes)[0]
    return RawData("coco", format, raw, None if test is None else _test(path, test, found), train.names, notes=notes)


def _highest(rows: np.ndarray, kept: np.ndarray) -> int:
    return int(max(rows.max(initial=0), kept.max(initial=0)))


def _test(path: Path, part: _Part, found: Findings) -> Raw | None:
    if not len(part.images):
        return None
    label = {"label": _lists(part.rows, part.classes, len(part.images))}
    return _raw(path / "val2014", part, label, {"label": _OWN}, found)


def _raw(root: Path, part: _Part, columns: dict[str, pa.Array], names: dict[str, str], found: Findings) -> Raw:
    images = found.images(root, part.files, part.file)
    return Raw(str(part.file), np.arange(len(part.images)), columns, names, images=images)


def _read(path: Path, part: str, found: Findings) -> _Part:
    file = path / "annotations" / f"instances_{part}.json"
    held = json_lists(file, _FIELDS)
    categories, images, objects = held["categories"], held["images"], held["annotations"]
    ids, files = images["id"].to_numpy(), images["file_name"]
    if not len(ids):
        raise UserError(f"{file} names no image")
    order = np.argsort(categories["id"].to_numpy(), kind="stable")
    numbers = categories["id"].to_numpy()[order]
    if len(numbers) > _CLASSES or len(set(numbers.tolist())) < len(numbers):
        found.problem(f"{file}: {len(numbers)} categories, not {_CLASSES} with an id each")
    found.size(f"categories of {file.name}", min(len(numbers), _CLASSES), _CLASSES)
    found.size(f"images of {file.name}", len(ids), _SIZES[part])
    twice = len(ids) - len(np.unique(ids))
    if twice:
        found.problem(f"{file}: {twice:,} images have the id of another one")
    of, kinds = objects["image_id"].to_numpy(), objects["category_id"].to_numpy()
    rows, classes = (pc.index_in(pa.array(x), pa.array(y)).fill_null(-1) for x, y in ((of, ids), (kinds, numbers)))
    rows, classes = rows.to_numpy().astype(np.int64), classes.to_numpy().astype(np.int64)
    strange = np.unique(kinds[classes < 0]).tolist()
    if strange:
        named = some([str(number) for number in strange])
        found.problem(
            f"{file}: objects of {len(strange)} categories that are not listed: {named} (ids have gaps: they are no "
            "class numbers)"
        )
    lost = of[rows < 0]
    if len(lost):
        named = some([str(number) for number in lost[:6].tolist()], len(lost))
        found.problem(f"{file}: {len(lost):,} objects in images that are not listed: {named}")
    kept = (rows >= 0) & (classes >= 0)
    names = tuple(categories["name"].take(pa.array(order)).to_pylist())
    return _Part(file, numbers, names, ids, files, *_once(rows[kept], classes[kept], len(numbers)))


def _once(rows: np.ndarray, classes: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs in order, each once: an image may hold several objects of a category."""
    keys = np.unique(rows * max(1, num_classes) + classes)
    return keys // max(1, num_classes), keys % max(1, num_classes)


def _lists(rows: np.ndarray, classes: np.ndarray, n: int) -> pa.ListArray:
    """Classes of each of n images, from pairs in order."""
    ends = np.concatenate([[0], np.bincount(rows, minlength=n).cumsum()])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(classes, pa.int64()))


def _only(part: _Part, classes: np.ndarray) -> tuple[_Part, np.ndarray]:
    """A part with some of its classes, and the images that have one of them; and the rows of these."""
    mine = np.isin(part.classes, classes)
    kept, rows = np.unique(part.rows[mine], return_inverse=True)
    return replace(
        part,
        categories=part.categories[classes],
        names=tuple(part.names[c] for c in classes.tolist()),
        images=part.images[kept],
        files=part.files.take(pa.array(kept)),
        rows=rows,
        classes=np.searchsorted(classes, part.classes[mine]),
    ), kept


def _noisy(file: Path, part: _Part, found: Findings) -> tuple[np.ndarray, np.ndarray]:
    """Rows of images and classes, int64 [L] each, that a model gave."""
    from pyarrow import csv

    wanted = ["image_id", _OWN]
    try:
        options = csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(wanted, pa.int64()))
        table = csv.read_csv(file, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        told = " ".join(str(error).split())
        if "include_columns" in told:
            told = "the header must name image_id and category_id"
        raise UserError(f"{file} is no such table: {told}") from None
    if not len(table) or any(table.column(name).null_count for name in wanted):
        raise UserError(f"{file} must give an image_id and a category_id in each row")
    of, kinds = (table.column(name).combine_chunks() for name in wanted)
    rows = pc.index_in(of, pa.array(part.images)).fill_null(-1).to_numpy().astype(np.int64)
    classes = pc.index_in(kinds, pa.array(part.categories)).fill_null(-1).to_numpy().astype(np.int64)
    for what, codes, values in (("images", rows, of), ("categories", classes, kinds)):
        strange = pc.unique(values.filter(pa.array(codes < 0))).to_pylist()
        if strange:
            found.problem(
                f"{file}: labels of {len(strange):,} {what} that {part.file.name} does not list: "
                f"{some([str(number) for number in strange])}"
                + (" (category ids have gaps: they are no class numbers)" if what == "categories" else "")
            )
    kept = (rows >= 0) & (classes >= 0)
    if not kept.any():
        raise UserError(f"{file}: no label of an image and a category that {part.file.name} lists")
    return _once(rows[kept], classes[kept], len(part.categories))
