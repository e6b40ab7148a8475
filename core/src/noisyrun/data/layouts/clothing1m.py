"""Clothing1M (Xiao et al., CVPR 2015): a million images of clothes, some with a clean label, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.layouts.findings import Findings, brings_its_own, some, whole
from noisyrun.data.layouts.text import labelled, lines
from noisyrun.data.raw import Raw, RawData

_NAMES = (
    "T-Shirt",
    "Shirt",
    "Knitwear",
    "Chiffon",
    "Sweater",
    "Hoodie",
    "Windbreaker",
    "Jacket",
    "Down Coat",
    "Suit",
    "Shawl",
    "Dress",
    "Vest",
    "Underwear",
)
#: Keys of each list, as published.
_SIZES = {"noisy_train": 1_000_000, "clean_train": 47_570, "clean_val": 14_313, "clean_test": 10_526}


def scan(path: Path, settings: DataSettings, found: Findings, format: str) -> RawData:
    """Training is the noisy list, then the clean training list, half of which carries both labels.

    Of the latter the clean label is known and trusted, and verifies the noisy one where there is one: images without a
    noisy label belong to the clean subset alone. The test set is the clean test list; the clean validation list is
    checked, but no part of a run.
    """
    brings_its_own(settings.test, "Clothing1M")
    text = path / "annotations"
    if not any((text / name).is_file() for name in ("noisy_label_kv.txt", "clean_label_kv.txt")):
        text = path
    names = _names(text, found)
    noisy = _labels(text / "noisy_label_kv.txt", len(names), found)
    clean = _labels(text / "clean_label_kv.txt", len(names), found)
    keys = {part: _keys(text, part, found) for part in _SIZES}
    train = _needed(keys["noisy_train"], text / "noisy_train_key_list.txt")
    _have(train, noisy, "noisy_train_key_list.txt", "noisy_label_kv.txt", found)
    for part in ("clean_train", "clean_val", "clean_test"):
        _have(keys[part], clean, f"{part}_key_list.txt", "clean_label_kv.txt", found)
    held = set(keys["clean_val"]) | set(keys["clean_test"])
    leaked = [key for key in train if key in held]
    if leaked:
        found.problem(f"{len(leaked):,} images of the clean lists are in noisy_train_key_list.txt: {some(leaked)}")
    seen = set(train)
    trusted = {key for key in keys["clean_train"] if key in clean}
    both = sum(key in noisy for key in trusted)
    notes = [f"{both:,} training images carry both labels: the clean one verifies the noisy one"]
    if len(trusted) > both:
        notes.append(f"{len(trusted) - both:,} images have a clean label alone: they are in the clean subset only")
    rows = [*train, *(key for key in keys["clean_train"] if key in trusted and key not in seen)]
    label = np.array([noisy.get(key, -1) for key in rows], np.int64)
    truth = np.array([clean.get(key, -1) if key in trusted else -1 for key in rows], np.int64)
    known = (truth >= 0) & (label >= 0)
    columns = {
        "label": whole(label),
        # Nothing is measured on an image without a noisy label.
        "truth": whole(np.where(known, truth, -1)),
        "trusted": whole(truth),
        "verified": whole(np.where(known, label == truth, -1).astype(np.int64)),
    }
    sources = {"label": "noisy_label_kv.txt", **dict.fromkeys(("truth", "trusted", "verified"), "clean_label_kv.txt")}
    where = str(text / "noisy_train_key_list.txt")
    if not trusted:
        columns, sources = {"label": columns["label"]}, {"label": sources["label"]}
        notes = []
    train_raw = Raw(where, np.arange(len(rows)), columns, sources, images=found.images(path, rows, where))
    if keys["clean_val"]:
        found.images(path, keys["clean_val"], text / "clean_val_key_list.txt")
    return RawData(
        "clothing1m", format, train_raw, _test(path, text, keys["clean_test"], clean, found), names, notes=tuple(notes)
    )


def _names(text: Path, found: Findings) -> tuple[str, ...]:
    file = text / "category_names_eng.txt"
    if not file.is_file():
        found.warn(f"{file} is missing: classes have their usual names")
        return _NAMES
    names = tuple(line.strip() for line in lines(file))
    if len(names) != len(_NAMES):
        found.problem(f"{file}: {len(names)} classes, not {len(_NAMES)}; a line a class, without a header")
    elif names != _NAMES and tuple(sorted(names)) == tuple(sorted(_NAMES)):
        found.problem(f"{file}: its classes stand in another order than the published one: labels would change meaning")
    return names


def _labels(file: Path, num_classes: int, found: Findings) -> dict[str, int]:
    column, labels = labelled(file)
    found.labels(labels, num_classes, file)
    keys = column.to_pylist()
    label_of = dict(zip(keys, labels.tolist(), strict=True))
    if len(label_of) < len(keys):
        torn = [key for key, label in zip(keys, labels.tolist(), strict=True) if label_of[key] != label]
        if torn:
            found.warn(f"{file}: {len(torn):,} images have two labels; the last counts: {some(torn)}")
    return label_of


def _keys(text: Path, part: str, found: Findings) -> list[str]:
    """Keys of a list, each once; none where the list is missing."""
    file = text / f"{part}_key_list.txt"
    if not file.is_file():
        found.problem(f"{file} is missing")
        return []
    keys = [line.strip() for line in lines(file)]
    once = list(dict.fromkeys(keys))
    if len(once) < len(keys):
        found.warn(f"{file}: {len(keys) - len(once):,} keys stand twice")
    found.size(f"keys of {file.name}", len(once), _SIZES[part])
    return once


def _needed(keys: list[str], file: Path) -> list[str]:
    if not keys:
        raise UserError(f"{file} is missing")
    return keys


def _have(keys: list[str], labels: dict[str, int], listed: str, file: str, found: Findings) -> None:
    bare = [key for key in keys if key not in labels]
    if bare:
        found.problem(f"{len(bare):,} keys of {listed} have no label in {file}: {some(bare)}")


def _test(path: Path, text: Path, keys: list[str], clean: dict[str, int], found: Findings) -> Raw | None:
    keys = [key for key in keys if key in clean]
    if not keys:
        return None
    file = text / "clean_test_key_list.txt"
    return Raw(
        str(file),
        np.arange(len(keys)),
        {"label": whole(np.array([clean[key] for key in keys], np.int64))},
        {"label": "clean_label_kv.txt"},
        images=found.images(path, keys, file),
    )
