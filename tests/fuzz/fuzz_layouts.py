"""Whole data sets of which one file is attacked: the layouts of published sets, packs, and folders of Arrow files."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pyarrow as pa

from noisyrun import data
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data.check import check
from noisyrun.data.pack import pack
from noisyrun.data.pack.write import Options

sys.path.insert(0, str(Path(__file__).parents[2] / "core" / "tests" / "data" / "layouts"))
import layout_fakes


def _packed(top: Path) -> Path:
    for kind in ("cat", "dog"):
        layout_fakes.pictures(top / "plain" / "train" / kind, ["a.jpg", "b.jpg"])
    pack(RunSettings(dataset=str(top / "plain")), top / "packed", Options("shards"))
    return top / "packed"


def _saved(top: Path) -> Path:
    """As ``save_to_disk`` of the `datasets` library writes it."""
    root = top / "saved"
    layout_fakes.picture(root / "a.jpg")
    image = {"bytes": (root / "a.jpg").read_bytes(), "path": None}
    (root / "a.jpg").unlink()
    rows = pa.Table.from_pylist([{"image": image, "label": n % 2, "title": "ü"} for n in range(4)])
    with pa.ipc.new_stream(root / "data.arrow", rows.schema) as stream:
        stream.write_table(rows)
    (root / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}], "_split": "train"}))
    (root / "dataset_info.json").write_text("{}")
    return root


@cache
def _made(make: Callable[[Path], Path]) -> Path:
    """A whole data set, once a process."""
    top = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    return make(Path(top))


def _seeds(make: Callable[[Path], Path], file: str) -> list[bytes]:
    return [(_made(make) / file).read_bytes()]


def _read(make: Callable[[Path], Path], file: str, content: bytes, folder: Path) -> None:
    """Check the data set with that file in the place of its own, and read it."""
    root = folder / "set"
    shutil.copytree(_made(make), root, copy_function=os.link)
    (root / file).unlink()
    (root / file).write_bytes(content)
    settings = RunSettings(dataset=str(root), data=DataSettings(val=0.0, on_bad_image="skip"))
    report = check(settings, "none")
    assert all(len(line) < 1000 for line in (*report.problems, *report.warnings))
    data.load(settings)


#: By target: a data set, and the file in it that is attacked.
_FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "clothing1m.labels": (layout_fakes.clothing1m, "noisy_label_kv.txt"),
    "clothing1m.keys": (layout_fakes.clothing1m, "clean_train_key_list.txt"),
    "food101n.verified": (layout_fakes.food101n, "meta/verified_train.tsv"),
    "webvision.list": (layout_fakes.webvision, "info/train_filelist_all.txt"),
    "webvision.meta": (layout_fakes.webvision, "info/train_meta_list_all.txt"),
    "webvision.words": (layout_fakes.webvision, "google/q0001.json"),
    "aliproducts.list": (layout_fakes.aliproducts, "train.json"),
    "aliproducts.tree": (layout_fakes.aliproducts, "product_tree.json"),
    "openimages.images": (layout_fakes.openimages, "images_2016_08/train/images.csv"),
    "openimages.machine": (layout_fakes.openimages, "machine_ann_2016_08/train/labels.csv"),
    "openimages.human": (layout_fakes.openimages, "human_ann_2016_08/validation/labels.csv"),
    "pack.index": (_packed, "index-train.parquet"),
    "pack.json": (_packed, "pack.json"),
    "saved.arrow": (_saved, "data.arrow"),
    "saved.json": (_saved, "state.json"),
}

#: Whole files and a reader, by target.
READERS: dict[str, tuple[Callable[[], list[bytes]], Callable[[bytes, Path], object]]] = {
    name: (partial(_seeds, *place), partial(_read, *place)) for name, place in _FILES.items()
}
