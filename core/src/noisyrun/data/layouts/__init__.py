"""Data sets as they are published: each in the layout its authors give, told by its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.layouts.findings import Findings
from noisyrun.data.raw import RawData

__all__ = ["LAYOUTS", "Findings", "Layout", "detect", "read", "scan"]


def _webvision2(path: Path) -> bool:
    from noisyrun.data.layouts.webvision import is_second

    return is_second(path)


def _products(path: Path) -> bool:
    return (path / "train.json").is_file() and ((path / "val.json").is_file() or (path / "product_tree.json").is_file())


def _has(*names: str) -> Callable[[Path], bool]:
    """Whether one of some files lies in a folder."""
    return lambda path: any((path / name).is_file() for name in names)


_OPEN_IMAGES = "images_2016_08/train/images.csv"


@dataclass(frozen=True)
class Layout:
    """A published layout.

    Attributes
    ----------
    title
        Name of the data set.
    module
        Module of this package with ``scan(path, settings, found, format) -> RawData``.
    signs
        Whether a folder has the files that tell this layout from others; None where it must be asked for by name.
    """

    title: str
    module: str
    signs: Callable[[Path], bool] | None


#: Layouts by the name that ``--data.format`` gives them, in the order in which a folder is held against them.
LAYOUTS: Mapping[str, Layout] = {
    "clothing1m": Layout(
        "Clothing1M",
        "clothing1m",
        _has(
            *(f"{top}{name}" for top in ("", "annotations/") for name in ("noisy_label_kv.txt", "clean_label_kv.txt"))
        ),
    ),
    "food-101n": Layout("Food-101N", "food101n", _has("meta/imagelist.tsv", "meta/verified_train.tsv")),
    "webvision-2": Layout("WebVision 2.0", "webvision", _webvision2),
    "webvision": Layout(
        "WebVision 1.0",
        "webvision",
        _has(*(f"info/train_filelist_{part}.txt" for part in ("all", "google", "flickr"))),
    ),
    "mini-webvision": Layout("mini-WebVision", "webvision", None),
    "cifar-10n": Layout("CIFAR-10N", "cifar_n", _has("CIFAR-10_human.pt", "data/CIFAR-10_human.pt")),
    "cifar-100n": Layout("CIFAR-100N", "cifar_n", _has("CIFAR-100_human.pt", "data/CIFAR-100_human.pt")),
    "coco": Layout("MS-COCO 2014", "coco", _has("annotations/instances_train2014.json")),
    "aliproducts": Layout("AliProducts", "aliproducts", _products),
    "openimages": Layout(
        "Open Images V1",
        "openimages",
        _has(*(f"{kind}_ann_2016_08/validation/labels.csv" for kind in ("machine", "human")), _OPEN_IMAGES),
    ),
}


def detect(path: Path) -> str | None:
    """Name of the layout that a folder has, or None."""
    return next((name for name, layout in LAYOUTS.items() if layout.signs is not None and layout.signs(path)), None)


def scan(path: Path, settings: DataSettings, found: Findings, format: str) -> RawData:
    """Read a data set, noting what is wrong with it.

    Raises
    ------
    UserError
        For what leaves nothing to read on with.
    """
    if not path.is_dir():
        raise UserError(f"--dataset: {path} is no folder, as --data.format {format} needs")
    module = import_module(f"noisyrun.data.layouts.{LAYOUTS[format].module}")
    try:
        data: RawData = module.scan(path, settings, found, format)
    finally:
        found.tell_subset()
    return data


def read(path: Path, settings: DataSettings, format: str) -> RawData:
    """Read a data set to train on; the notes say what looks odd.

    Raises
    ------
    UserError
        Naming the first thing that is wrong, and how many more there are.
    """
    from dataclasses import replace

    found = Findings(skip_missing=settings.on_bad_image == "skip")
    data = scan(path, settings, found, format)
    if found.problems:
        more = len(found.problems) - 1
        raise UserError(found.problems[0] + (f" ({more} more: noisyrun data check {path})" if more else ""))
    return replace(data, notes=(*data.notes, *found.warnings))
