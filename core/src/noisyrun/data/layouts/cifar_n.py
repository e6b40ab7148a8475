"""CIFAR-10N and CIFAR-100N (Wei et al., ICLR 2022): CIFAR under labels that people gave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.hints import did_you_mean
from noisyrun.data.layouts.findings import Findings, brings_its_own, whole
from noisyrun.data.layouts.pickles import load_arrays
from noisyrun.data.raw import Raw, RawData

_CLEAN = "clean_label"


@dataclass(frozen=True)
class _Variant:
    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    labels: str
    names: str
    human: str
    sets: tuple[str, ...]
    classes: int


_VARIANTS = {
    "cifar-10n": _Variant(
        "cifar-10-batches-py",
        tuple(f"data_batch_{number}" for number in range(1, 6)),
        "test_batch",
        "batches.meta",
        "labels",
        "label_names",
        "CIFAR-10_human.pt",
        ("worse_label", "aggre_label", "random_label1", "random_label2", "random_label3"),
        10,
    ),
    "cifar-100n": _Variant(
        "cifar-100-python",
        ("train",),
        "test",
        "meta",
        "fine_labels",
        "fine_label_names",
        "CIFAR-100_human.pt",
        ("noisy_label",),
        100,
    ),
}


def scan(path: Path, settings: DataSettings, found: Findings, format: str) -> RawData:
    """CIFAR as torchvision unpacks it, with the set of human labels that ``--data.label`` names, the worst by default.

    The clean labels that come with the human ones must be CIFAR's own: the same images stand in another order in
    TensorFlow's CIFAR, and human labels for that order would be noise.
    """
    variant = _VARIANTS[format]
    brings_its_own(settings.test, format.upper())
    folder = next((top / variant.folder for top in (path, path / "data") if (top / variant.folder).is_dir()), None)
    if folder is None:
        raise UserError(f"{path} holds no {variant.folder}, CIFAR as torchvision unpacks it, beside {variant.human}")
    human = next((top / variant.human for top in (path, path / "data") if (top / variant.human).is_file()), None)
    if human is None:
        raise UserError(f"{path} holds no {variant.human}")
    names = _names(folder / variant.meta, variant, found)
    pixels, own = _batches(folder, variant.train, variant, found)
    test_pixels, test_labels = _batches(folder, (variant.test,), variant, found)
    found.size("training images", len(own), 50_000)
    found.size("test images", len(test_labels), 10_000)
    chosen, sets = _sets(human, settings.label, variant)
    clean = sets[_CLEAN]
    for name, labels in sets.items():
        if len(labels) != len(own):
            raise UserError(f"{human}: {name} has {len(labels):,} labels for {len(own):,} training images")
        found.labels(labels, variant.classes, f"{human}, {name}")
    agreed = float((clean == own).mean())
    if agreed < 1:
        found.problem(
            f"{human}: clean_label is CIFAR's own label for {agreed:.1%} of the images: "
            "the labels are for another order of CIFAR, such as TensorFlow's, or of another CIFAR"
        )
    notes = (f"observed labels: {chosen} of {', '.join(name for name in sets if name != _CLEAN)} (--data.label)",)
    columns = {"label": whole(sets[chosen]), "truth": whole(own)}
    train = Raw(str(human), np.arange(len(own)), columns, {"label": chosen, "truth": _CLEAN}, images=pixels)
    test = Raw(
        str(folder / variant.test),
        np.arange(len(test_labels)),
        {"label": whole(test_labels)},
        {"label": variant.labels},
        images=test_pixels,
    )
    return RawData(format, format, train, test, names, notes=notes)


def _names(file: Path, variant: _Variant, found: Findings) -> tuple[str, ...]:
    names = load_arrays(file).get(variant.names)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{file} holds no {variant.names}")
    if len(names) != variant.classes:
        found.problem(f"{file}: {len(names)} classes, not {variant.classes}")
    return tuple(names)


def _batches(folder: Path, files: tuple[str, ...], variant: _Variant, found: Findings) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 [n, 3, 32, 32], and labels, int64 [n]."""
    pixels, labels = [], []
    for name in files:
        batch = load_arrays(folder / name)
        data, given = batch.get("data"), batch.get(variant.labels)
        if not _are_images(data) or not isinstance(given, list) or len(given) != len(data):
            raise UserError(
                f"{folder / name} holds no images of 3 × 32 × 32 pixels with a label each ({variant.labels})"
            )
        pixels.append(data.reshape(-1, 3, 32, 32))
        labels.append(_integers(given, folder / name))
        found.labels(labels[-1], variant.classes, folder / name)
    return np.concatenate(pixels), np.concatenate(labels)


def _are_images(data: Any) -> TypeGuard[np.ndarray]:
    return isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == 3072


def _integers(values: Any, where: Path | str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:  # lists of differing lengths
        array = np.zeros(())
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UserError(f"{where}: labels are no list of whole numbers")
    return array.astype(np.int64)


def _sets(file: Path, wanted: str | None, variant: _Variant) -> tuple[str, dict[str, np.ndarray]]:
    """Name of the set of labels to train on, and all sets of a file with the clean one."""
    held = load_arrays(file)
    if _CLEAN not in held:
        raise UserError(f"{file} holds no {_CLEAN} (it has {', '.join(held) or 'nothing'})")
    there = [name for name in variant.sets if name in held]
    if not there:
        raise UserError(f"{file} holds none of {', '.join(variant.sets)}: is it of another CIFAR?")
    if wanted is not None and wanted not in (*there, _CLEAN):
        raise UserError(
            f"--data.label: {file} has no {wanted!r}{did_you_mean(wanted, there)}; it has {', '.join(there)}"
        )
    sets = {name: _integers(held[name], f"{file}, {name}") for name in (*there, _CLEAN)}
    return wanted or there[0], sets
