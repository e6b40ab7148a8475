"""What may be wrong with each published data set: made on tiny ones, for the tests and for the table in the docs."""

import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import layout_fakes as fakes
import numpy as np

from noisyrun.data.layouts.pickles import load_arrays

#: What is wrong, how it is made so, and the words that the command needs besides.
Trap = tuple[str, Callable[[Path], object], tuple[str, ...]]
Lines = Callable[[list[str]], Sequence[str]]


def _lines(name: str, file: str, of: Lines, *words: str) -> Trap:
    return name, lambda root: fakes.rewrite(root / file, of), words


def _json(name: str, file: str, of: Callable[[Any], object]) -> Trap:
    return name, lambda root: fakes.change_json(root / file, of), ()


def _gone(name: str, file: str) -> Trap:
    return name, lambda root: (root / file).unlink(), ()


def _bad_image(file: str) -> Trap:
    return "an image that is none", lambda root: (root / file).write_bytes(b"<html>404</html>"), ()


def _cut(file: str) -> Trap:
    def cut(root: Path) -> None:
        fakes.picture(root / file, side=64)
        (root / file).write_bytes((root / file).read_bytes()[:-400])

    return "an image that is cut off", cut, ()


def _human(name: str, of: Callable[[dict[str, Any]], dict[str, Any]]) -> Trap:
    def change(root: Path) -> None:
        file = next(root.glob("CIFAR-*_human.pt"))
        fakes.save_human(file, of(load_arrays(file)))

    return name, change, ()


def _secret(root: Path) -> None:
    for file, row in (("clean_test_key_list.txt", "../../secret.jpg"), ("clean_label_kv.txt", "../../secret.jpg 3")):
        fakes.rewrite(root / file, lambda rows, row=row: [*rows, row])  # type: ignore[misc]


CLOTHING1M: list[Trap] = [
    _lines("labels counted from 1", "noisy_label_kv.txt", fakes.relabelled(lambda label: label + 1)),
    _lines("a label that is no class", "noisy_label_kv.txt", fakes.relabelled(lambda label: label or 20)),
    _lines("a key without a label", "noisy_label_kv.txt", lambda rows: rows[1:]),
    _lines("a key cut at its comma", "noisy_train_key_list.txt", lambda rows: [rows[0].split(",")[0], *rows[1:]]),
    _gone("a list is missing", "clean_val_key_list.txt"),
    _gone("a file of labels is missing", "noisy_label_kv.txt"),
    _lines(
        "a test image among those of training",
        "noisy_train_key_list.txt",
        lambda rows: [*rows, "images/4/24/5024,39835.jpg"],
    ),
    _lines("class names with a header", "category_names_eng.txt", lambda rows: ["name", *rows]),
    _lines("class names in another order", "category_names_eng.txt", sorted),
    _gone("a missing image", "images/3/03/5003,39814.jpg"),
    _bad_image("images/0/00/5000,39811.jpg"),
    _cut("images/0/00/5000,39811.jpg"),
    ("a path that leads outside", _secret, ()),
]

FOOD101N: list[Trap] = [
    _lines("`classes.txt` without its header", "meta/classes.txt", lambda rows: rows[1:]),
    _lines("`imagelist.tsv` without its header", "meta/imagelist.tsv", lambda rows: rows[1:]),
    _lines("`verified_train.tsv` without its header", "meta/verified_train.tsv", lambda rows: rows[1:]),
    _lines("a class that is not listed", "meta/imagelist.tsv", lambda rows: [*rows, "ramen/r000.jpg"]),
    _lines("a verdict that is none", "meta/verified_val.tsv", lambda rows: [*rows, "waffles/w003.jpg\t2"]),
    _lines("held-out classes of another set", "meta/classes_heldout_50.txt", lambda rows: [*rows, "ramen\t0"]),
    _lines("held-out classes without marks", "meta/classes_heldout_10.txt", lambda rows: ["waffles"]),
    _gone("a missing image", "images/waffles/w003.jpg"),
    ("no Food-101 to test on", lambda root: shutil.rmtree(root.parent / "food-101"), ()),
]

_ALL = "info/train_filelist_all.txt"
WEBVISION: list[Trap] = [
    _lines("labels counted from 1", _ALL, fakes.relabelled(lambda label: label + 1)),
    _lines("a label that is not its query's", _ALL, fakes.relabelled(lambda label: label or 3)),
    _lines("the file list of 2.0", _ALL, fakes.relabelled(lambda label: 4999 if label == 60 else label)),
    _lines("the synsets of 2.0", "info/synsets.txt", lambda rows: [f"n{n:08d} a {n}" for n in range(5000)]),
    _lines(
        "the synsets of 2.0, read as mini-WebVision",
        "info/synsets.txt",
        lambda rows: [f"n{n:08d} a {n}" for n in range(5000)],
        "--data.format",
        "mini-webvision",
    ),
    _lines("the validation list of 2.0", "info/val_filelist.txt", fakes.relabelled(lambda label: label * 80)),
    _lines("meta entries counted from 0", "info/train_meta_list_all.txt", fakes.relabelled(lambda place: place - 1)),
    _lines("a meta list of another length", "info/train_meta_list_all.txt", lambda rows: rows[1:]),
    _gone("no meta list", "info/train_meta_list_all.txt"),
    _gone("a JSON file of a query is missing", "google/q0002.json"),
    ("a JSON file that is none", lambda root: (root / "google/q0001.json").write_text("{"), ()),
    _lines("a file list with commas", _ALL, lambda rows: [row.replace(" 0", ",0") for row in rows]),
    _gone("a missing validation image", "val_images_256/val000002.jpg"),
    _gone("no validation list", "info/val_filelist.txt"),
]


def _cut_shard(root: Path) -> None:
    shard = root / "webvision_train_01.tar"
    shard.write_bytes(shard.read_bytes()[:1700])


def _gzip_shard(root: Path) -> None:
    with tarfile.open(root / "webvision_train_01.tar", "w:gz") as tar:
        tar.add(root / "info" / "synsets.txt", "google/x.jpg")


def _outside(root: Path) -> None:
    with tarfile.open(root / "webvision_train_01.tar", "a") as tar:
        tar.add(root / "info" / "synsets.txt", "../../secret.jpg")


def _linked(root: Path) -> None:
    listed = (root / _ALL).read_text().splitlines()[1].rpartition(" ")[0]
    with tarfile.open(root / "webvision_train_01.tar", "w") as tar:
        link = tarfile.TarInfo(listed)
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)


def _no_image(root: Path) -> None:
    (root / "x").write_bytes(b"<html>404</html>")
    listed = [row.rpartition(" ")[0] for row in (root / _ALL).read_text().splitlines()[1::2]]
    for name in listed:
        fakes.picture(root / name)
    (root / listed[0]).write_bytes(b"<html>404</html>")
    fakes.pack(root / "webvision_train_01.tar", root, listed)


WEBVISION2: list[Trap] = [
    _lines("the file list of 1.0", _ALL, fakes.relabelled(lambda label: label % 1000)),
    _lines("the synsets of 1.0", "info/synsets.txt", lambda rows: rows[:1000]),
    _lines("the validation list of 1.0", "val_filelist.txt", fakes.relabelled(lambda label: label % 1000)),
    (
        "all lists of 1.0 beside the shards of 2.0",
        lambda root: (
            fakes.rewrite(root / "info/synsets.txt", lambda rows: rows[:1000]),
            fakes.rewrite(root / _ALL, fakes.relabelled(lambda label: label % 1000)),
            fakes.rewrite(root / "val_filelist.txt", fakes.relabelled(lambda label: label % 1000)),
            (root / "info/queries_synsets_map.txt").unlink(),
        ),
        (),
    ),
    _lines("read as 1.0", "val_filelist.txt", lambda rows: rows, "--data.format", "webvision"),
    _lines("labels counted from 1", _ALL, fakes.relabelled(lambda label: label + 1)),
    _gone("a shard is missing", "webvision_train_01.tar"),
    ("a shard is cut off", _cut_shard, ()),
    ("a shard is compressed", _gzip_shard, ()),
    ("a shard with a name that leads outside", _outside, ()),
    ("a shard with a link for an image", _linked, ()),
    ("a member that is no image", _no_image, ()),
    _gone("no validation list", "val_filelist.txt"),
]

CIFAR10N: list[Trap] = [
    _human(
        "labels for another order of the images",
        lambda held: {name: np.roll(labels, 1) for name, labels in held.items()},
    ),
    _human("labels counted from 1", lambda held: {**held, "worse_label": held["worse_label"] + 1}),
    _human("too few labels", lambda held: {name: labels[1:] for name, labels in held.items()}),
    _human(
        "labels of the other CIFAR",
        lambda held: {"clean_label": held["clean_label"], "noisy_label": held["clean_label"]},
    ),
    ("a pickle that would run something", lambda root: (root / "CIFAR-10_human.pt").write_bytes(b"cos\nsystem\n."), ()),
    _gone("a batch is missing", "cifar-10-batches-py/data_batch_3"),
    ("CIFAR is missing", lambda root: shutil.rmtree(root / "cifar-10-batches-py"), ()),
]

CIFAR100N: list[Trap] = [
    _human("labels counted from 1", lambda held: {**held, "noisy_label": np.arange(1, 11) * 10}),
    _human("no clean labels", lambda held: {"noisy_label": held["noisy_label"]}),
]

_TRAIN = "annotations/instances_train2014.json"
_NOISY = "annotations/noisy_labels_train2014.csv"
COCO: list[Trap] = [
    _json(
        "class numbers for category ids",
        _TRAIN,
        lambda held: [one.update(category_id={1: 0, 3: 1, 90: 2}[one["category_id"]]) for one in held["annotations"]],
    ),
    _json("an object in no image", _TRAIN, lambda held: held["annotations"].append({"image_id": 8, "category_id": 1})),
    _json("an image twice", _TRAIN, lambda held: held["images"].append(dict(held["images"][0]))),
    _json(
        "other categories in validation",
        "annotations/instances_val2014.json",
        lambda held: held["categories"].pop(),
    ),
    _json("a path that leads outside", _TRAIN, lambda held: held["images"][0].update(file_name="../../x.jpg")),
    ("a file that is cut off", lambda root: (root / _TRAIN).write_bytes((root / _TRAIN).read_bytes()[:-9]), ()),
    _gone("a missing image", "train2014/COCO_train2014_000000000030.jpg"),
    _gone("no validation annotations", "annotations/instances_val2014.json"),
    _lines("noisy labels without a header", _NOISY, lambda rows: rows[1:]),
    _lines("noisy labels by class number", _NOISY, lambda rows: [rows[0], "7,0", "30,1", "9,2"]),
    _lines("noisy labels of validation images", _NOISY, lambda rows: [rows[0], "42,1", "73,90"]),
]

ALIPRODUCTS: list[Trap] = [
    _json(
        "class ids off by one",
        "train.json",
        lambda held: [row.update(class_id=row["class_id"] + 1) for row in held["images"]],
    ),
    _json("a class id that is no number", "train.json", lambda held: held["images"][0].update(class_id="shoe")),
    _json("a class without training images", "val.json", lambda held: held["images"][0].update(class_id=6)),
    _json("a path that leads outside", "train.json", lambda held: held["images"][0].update(image_id="../../../x.jpg")),
    _gone("a missing image", "train/00005/5_1.jpg"),
    _bad_image("val/v1.jpg"),
    _gone("no tree of products", "product_tree.json"),
    ("a tree that is no JSON", lambda root: (root / "product_tree.json").write_text("{"), ()),
    ("a tree of other products", lambda root: (root / "product_tree.json").write_text('{"a": [7, 8]}'), ()),
    _json("a tree without one product", "product_tree.json", lambda held: held["sweets"].clear()),
]

_HUMAN = "human_ann_2016_08/validation/labels.csv"
_MACHINE = "machine_ann_2016_08/train/labels.csv"
OPENIMAGES: list[Trap] = [
    _lines("labels without a header", _MACHINE, lambda rows: rows[1:]),
    _lines("images without a header", "images_2016_08/train/images.csv", lambda rows: rows[1:]),
    (
        "validation labels in training's place",
        lambda root: shutil.copy(root / "machine_ann_2016_08/validation/labels.csv", root / _MACHINE),
        (),
    ),
    ("a model's labels in people's place", lambda root: shutil.copy(root / _MACHINE, root / _HUMAN), ()),
    _lines("a judgement that is neither", _HUMAN, lambda rows: [*rows, f"{fakes.OI_VAL[0]},human,/m/03,0.7"]),
    _lines("a label judged both ways", _HUMAN, lambda rows: [*rows, f"{fakes.OI_VAL[0]},human,/m/01,0.0"]),
    _lines("an id that is none", _MACHINE, lambda rows: [*rows, "../../etc/passwd,machine,/m/01,0.9"]),
    _gone("no labels that people judged", _HUMAN),
    _gone("no names of labels", "dict.csv"),
    _gone("a missing image", f"train/{fakes.OI_TRAIN[2]}.jpg"),
    ("no images at all", lambda root: [shutil.rmtree(root / part) for part in ("train", "validation")], ()),
]


def _unpacked(top: Path) -> Path:
    return fakes.webvision2(top, packed=False)


#: Title, how a sound one is made, and what may be wrong with it.
LAYOUTS: list[tuple[str, Callable[[Path], Path], list[Trap]]] = [
    ("Clothing1M", fakes.clothing1m, CLOTHING1M),
    ("Food-101N", fakes.food101n, FOOD101N),
    ("WebVision 1.0 and mini-WebVision", fakes.webvision, WEBVISION),
    ("WebVision 2.0, in its tar shards", fakes.webvision2, WEBVISION2),
    ("WebVision 2.0, unpacked", _unpacked, [_gone("a missing image", "google/q0001/im age1.jpg")]),
    ("CIFAR-10N", fakes.cifar, CIFAR10N),
    ("CIFAR-100N", lambda top: fakes.cifar(top, 100), CIFAR100N),
    ("MS-COCO 2014, with noisy labels", lambda top: fakes.coco(top, noisy=True), COCO),
    ("AliProducts", fakes.aliproducts, ALIPRODUCTS),
    ("Open Images V1", fakes.openimages, OPENIMAGES),
]
