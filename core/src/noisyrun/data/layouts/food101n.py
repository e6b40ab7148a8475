"""Food-101N (Lee et al., CVPR 2018): images of dishes, 55 thousand of them verified; tested on Food-101."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.layouts.findings import Findings, some, whole
from noisyrun.data.layouts.text import lines, tsv
from noisyrun.data.raw import Raw, RawData
from noisyrun.data.sources.files import existing

_CLASSES = 101
_IMAGES = 310_009
_VERIFIED = {"verified_train": 52_868, "verified_val": 4_741}
_TEST = 25_250
_HEADER = "class_name"
_HELD_OUT = (10, 30, 50, 70)


def scan(path: Path, settings: DataSettings, found: Findings, format: str) -> RawData:
    """Training is the list of images, verified by both lists; the test set is Food-101's, named or beside it."""
    meta = path / "meta"
    names = _classes(meta / "classes.txt", found)
    listed = meta / "imagelist.tsv"
    keys = [row[0] for row in tsv(listed, ("class_name/key",), found)]
    found.size(f"images of {listed.name}", len(keys), _IMAGES)
    if not keys:
        raise UserError(f"{listed} names no image")
    if len(set(keys)) < len(keys):
        found.warn(f"{listed}: {len(keys) - len(set(keys)):,} images stand twice")
    labels = _labels(keys, names, listed, found)
    verdicts = _verdicts(meta, set(keys), found)
    columns: dict[str, pa.Array] = {"label": whole(labels)}
    sources = {"label": listed.name}
    if verdicts:
        columns["verified"] = whole(np.array([verdicts.get(key, -1) for key in keys], np.int64))
        sources["verified"] = "verified_train.tsv, verified_val.tsv"
    _held_out(meta, names, found)
    files = [key if key.endswith(".jpg") else f"{key}.jpg" for key in keys]
    train = Raw(
        str(listed), np.arange(len(keys)), columns, sources, images=found.images(path / "images", files, listed)
    )
    return RawData("food-101n", format, train, _test(path, settings.test, names, found), names)


def _classes(file: Path, found: Findings) -> tuple[str, ...]:
    names = [line.strip() for line in lines(file)]
    if names[0] == _HEADER:
        names.pop(0)
    else:
        found.problem(f"{file}: the header ({_HEADER}) is missing; give it back as the first line")
    found.size(f"classes of {file.name}", len(names), _CLASSES)
    return tuple(names)


def _labels(keys: list[str], names: tuple[str, ...], where: Path, found: Findings) -> np.ndarray:
    """int64 [n]: the class that each ``class/key`` begins with, −1 for one that is none."""
    places = {name: place for place, name in enumerate(names)}
    labels = np.array([places.get(key.partition("/")[0], -1) for key in keys], np.int64)
    if (labels < 0).any():
        strange = sorted({key.partition("/")[0] for key, label in zip(keys, labels, strict=True) if label < 0})
        found.problem(f"{where}: {len(strange)} classes that classes.txt does not name: {some(strange)}")
    return labels


def _verdicts(meta: Path, keys: set[str], found: Findings) -> dict[str, int]:
    """1 for right and 0 for wrong, by ``class/key``."""
    verdicts: dict[str, int] = {}
    for name, official in _VERIFIED.items():
        file = meta / f"{name}.tsv"
        if not file.is_file():
            found.warn(f"{file} is missing: its verification labels are not known")
            continue
        rows = tsv(file, ("class_name/key", "verification_label"), found)
        found.size(f"labels of {file.name}", len(rows), official)
        odd = next((row for row in rows if row[1] not in ("0", "1")), None)
        if odd is not None:
            raise UserError(f"{file}: {odd[0]} is verified {odd[1]!r}, neither 0 nor 1")
        # A few images were verified under a class that the list of images no longer gives them.
        strange = [row[0] for row in rows if row[0] not in keys]
        if strange:
            found.warn(f"{file}: {len(strange):,} images that imagelist.tsv does not list so: {some(strange)}")
        torn = [key for key, verdict in rows if verdicts.get(key, int(verdict)) != int(verdict)]
        if torn:
            found.warn(
                f"{file}: {len(torn):,} images are verified as right and as wrong; this file counts: {some(torn)}"
            )
        verdicts.update((key, int(verdict)) for key, verdict in rows if key in keys)
    return verdicts


def _held_out(meta: Path, names: tuple[str, ...], found: Findings) -> None:
    """Hold the lists of classes whose verification labels a run may do without against the classes.

    Each names all classes, those that are held out with a 0: ``--verify all:@FILE`` takes the verification labels of
    the others.
    """
    for count in _HELD_OUT:
        file = meta / f"classes_heldout_{count}.txt"
        if not file.is_file():
            continue
        rows = [line.rstrip().split("\t") for line in lines(file)]
        odd = next((row for row in rows if len(row) != 2 or row[1] not in ("0", "1")), None)
        if odd is not None:
            found.problem(f"{file}: {' '.join(odd)[:80]!r} is no class and 0 (held out) or 1 with a tab between")
            continue
        strange = sorted({row[0] for row in rows} - set(names))
        lacking = sorted(set(names) - {row[0] for row in rows})
        if strange or lacking:
            found.problem(f"{file}: its classes are not those of classes.txt: {some([*strange, *lacking])}")
        held = sum(row[1] == "0" for row in rows)
        if len(names) == _CLASSES and held != count:
            found.problem(f"{file}: {held} classes are held out, not {count}")


def _test(path: Path, given: str | None, names: tuple[str, ...], found: Findings) -> Raw | None:
    """Food-101's test set: in the folder that the user names, in this one, or beside it."""
    if given is not None:
        root = existing(Path(given).expanduser(), "--data.test")
        if not (root / "meta" / "test.txt").is_file():
            raise UserError(f"--data.test: {root} holds no meta/test.txt, as Food-101 does")
    else:
        beside = (path / "food-101", path.resolve().parent / "food-101")
        root = next((folder for folder in beside if (folder / "meta" / "test.txt").is_file()), path)
        if root == path:
            found.warn(
                f"no Food-101 to test on beside {path} (food-101/meta/test.txt; --data.test names another place)"
            )
            return None
    file = root / "meta" / "test.txt"
    keys = [line.strip() for line in lines(file)]
    found.size("Food-101 test images", len(keys), _TEST)
    labels = _labels(keys, names, file, found)
    images = found.images(root / "images", [f"{key}.jpg" for key in keys], file)
    return Raw(str(file), np.arange(len(keys)), {"label": whole(labels)}, {"label": file.name}, images=images)
