"""Tiny data sets in the layouts in which the great ones are published; what the tests and the table of traps share."""

import csv
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(path: Path, seed: int = 0, side: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (10, 12, 3) if side is None else (side, side, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


def pictures(root: Path, names: list[str]) -> None:
    for seed, name in enumerate(names):
        picture(root / name, seed)


def write(file: Path, rows: Iterable[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def rewrite(file: Path, of: Callable[[list[str]], Iterable[str]]) -> None:
    """Change the lines of a text file."""
    write(file, list(of(file.read_text(encoding="utf-8").splitlines())))


def change_json(file: Path, of: Callable[[Any], object]) -> None:
    """Change what a JSON file holds."""
    held = json.loads(file.read_text(encoding="utf-8"))
    of(held)
    file.write_text(json.dumps(held), encoding="utf-8")


def relabelled(change: Callable[[int], int]) -> Callable[[list[str]], Iterable[str]]:
    """Another label in each ``path label`` line."""
    return lambda rows: [f"{path} {change(int(label))}" for path, _, label in (row.rpartition(" ") for row in rows)]


def pack(archive: Path, root: Path, names: Iterable[str]) -> None:
    """A tar archive of some files below a folder."""
    with tarfile.open(archive, "w") as tar:
        for name in names:
            tar.add(root / name, name)


CLOTHES = ["T-Shirt", "Shirt", "Knitwear", "Chiffon", "Sweater", "Hoodie", "Windbreaker", "Jacket"] + [
    "Down Coat",
    "Suit",
    "Shawl",
    "Dress",
    "Vest",
    "Underwear",
]


def clothing1m(top: Path, below: str = "") -> Path:
    """Twenty noisy images; of the clean training list two with both labels and one without a noisy one; one image each
    of clean validation and clean test. Text files at the top or under ``annotations/``."""
    root = top / "clothing1m"
    text = root / below
    keys = [f"images/{n % 10}/{n:02d}/{5000 + n},{39811 + n}.jpg" for n in range(25)]
    pictures(root, keys)
    noisy, train, val, test = keys[:20], keys[20:23], keys[23:24], keys[24:]
    # Of keys 20 and 21 the noisy labels are 6 and 7, the clean ones 6 and 8.
    write(text / "noisy_label_kv.txt", [f"{key} {n % 14}" for n, key in enumerate(keys[:22])])
    write(text / "clean_label_kv.txt", [f"{key} {label}" for key, label in zip(keys[20:], (6, 8, 9, 10, 11))])
    for part, rows in (("noisy_train", noisy), ("clean_train", train), ("clean_val", val), ("clean_test", test)):
        write(text / f"{part}_key_list.txt", rows)
    write(text / "category_names_eng.txt", CLOTHES)
    write(text / "category_names_chn.txt", [f"类{n}" for n in range(14)])
    return root


def food101n(top: Path) -> Path:
    """Three classes of Food-101N with four images each, six of them verified; Food-101 with a test image a class."""
    names = ["apple_pie", "baby_back_ribs", "waffles"]
    root, plain = top / "food-101n", top / "food-101"
    keys = [f"{name}/{name[0]}{n:03d}.jpg" for name in names for n in range(4)]
    pictures(root / "images", keys)
    write(root / "meta" / "imagelist.tsv", ["class_name/key", *keys])
    verdict = "class_name/key\tverification_label"
    write(root / "meta" / "verified_train.tsv", [verdict, *(f"{key}\t{n % 2}" for n, key in enumerate(keys[:4]))])
    write(root / "meta" / "verified_val.tsv", [verdict, *(f"{key}\t1" for key in keys[8:10])])
    write(root / "meta" / "classes.txt", ["class_name", *names])
    for count in (10, 30, 50, 70):
        write(root / "meta" / f"classes_heldout_{count}.txt", [f"{name}\t{int(name != 'waffles')}" for name in names])
    tests = [f"{name}/{100 + n}" for n, name in enumerate(names)]
    pictures(plain / "images", [f"{key}.jpg" for key in tests])
    write(plain / "meta" / "test.txt", tests)
    write(plain / "meta" / "classes.txt", names)
    return root


def webvision(top: Path) -> Path:
    """WebVision 1.0's thousand synsets; images of queries 1 to 3 (synsets 1, 2 and 61) from Google and Flickr."""
    root = top / "webvision"
    _engines(root, [f"n{n:08d} thing {n}, object {n}" for n in range(1, 1001)], {1: 1, 2: 2, 3: 61})
    write(root / "info" / "val_filelist.txt", ["val000001.jpg 0", "val000002.jpg 60"])
    pictures(root / "val_images_256", ["val000001.jpg", "val000002.jpg"])
    return root


def webvision2(top: Path, packed: bool = True) -> Path:
    """WebVision 2.0's five thousand synsets; images of queries 1 to 3 (synsets 1, 1500 and 5000), in two tar shards
    and with their JSON files in two archives, or unpacked; its validation list beside its folder of lists."""
    root = top / "webvision2"
    _engines(root, [f"n{n:08d} kind {n}, sort {n}" for n in range(1, 5001)], {1: 1, 2: 1500, 3: 5000})
    write(root / "val_filelist.txt", ["val000001.jpg 0", "val000002.jpg 1499", "val000003.jpg 4999"])
    names = ["val000001.jpg", "val000002.jpg", "val000003.jpg"]
    pictures(root / "val_images_resized", names)
    if packed:
        listed = (root / "info" / "train_filelist_all.txt").read_text().splitlines()
        paths = [line.rpartition(" ")[0] for line in listed]
        pack(root / "webvision_train_00.tar", root, paths[::2])
        pack(root / "webvision_train_01.tar", root, paths[1::2])
        for engine in ("google", "flickr"):
            files = sorted(path.relative_to(root).as_posix() for path in (root / engine).glob("*.json"))
            pack(root / f"{engine}.tar", root, files)
            _remove(root / engine)
        pack(root / "val_images_resized.tar", root, [f"val_images_resized/{name}" for name in names])
        _remove(root / "val_images_resized")
    return root


def _remove(folder: Path) -> None:
    for entry in folder.iterdir():
        _remove(entry) if entry.is_dir() else entry.unlink()
    folder.rmdir()


def _engines(root: Path, synsets: list[str], synset_of: dict[int, int]) -> None:
    """Two images of each query from Google and from Flickr, with their lists, words and pictures."""
    info = root / "info"
    write(info / "synsets.txt", synsets)
    write(info / "queries_synsets_map.txt", [f"{query} {synset}" for query, synset in synset_of.items()])
    everything, metas = [], []
    for engine in ("google", "flickr"):
        paths, meta = [], []
        for query, synset in synset_of.items():
            entries: list[dict[str, Any]] = []
            for place in (1, 2):
                paths.append(f"{engine}/q{query:04d}/im age{place}.jpg {synset - 1}")
                meta.append(f"{engine}/q{query:04d}.json {place}")
                entries.append({"id": place, "title": f"title {query}.{place}", "description": f"about {query}"})
                if engine == "flickr":
                    entries[-1] |= {"tags": ["tag", f"q{query}"]}
            (root / engine).mkdir(parents=True, exist_ok=True)
            (root / engine / f"q{query:04d}.json").write_text(json.dumps(entries), encoding="utf-8")
        write(info / f"train_filelist_{engine}.txt", paths)
        write(info / f"train_meta_list_{engine}.txt", meta)
        everything, metas = everything + paths, metas + meta
    write(info / "train_filelist_all.txt", everything)
    write(info / "train_meta_list_all.txt", metas)
    pictures(root, [line.rpartition(" ")[0] for line in everything])


def torch_zip(file: Path, value: object) -> None:
    """As ``torch.save`` writes what holds no tensor."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value, protocol=2))
        archive.writestr("archive/version", "3\n")


def torch_old(file: Path, value: object) -> None:
    """As ``torch.save`` wrote before 1.6: four pickles and a list of tensors, after one another."""
    stream = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, value, []):
        pickle.dump(part, stream, protocol=2)
    file.write_bytes(stream.getvalue())


def save_human(file: Path, value: object, form: str = "zip") -> None:
    """Labels as CIFAR-N writes them: ``torch.save``, in its newer or its older form, or a plain pickle."""
    if form == "plain":
        file.write_bytes(pickle.dumps(value, 2))
    else:
        {"zip": torch_zip, "old": torch_old}[form](file, value)


def cifar(top: Path, kind: int = 10, form: str = "zip") -> Path:
    """CIFAR-10N or CIFAR-100N with ten images a batch, in the folders that torchvision unpacks."""
    root = top / f"cifar-{kind}n"
    folder = root / ("cifar-10-batches-py" if kind == 10 else "cifar-100-python")
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    key = b"labels" if kind == 10 else b"fine_labels"
    train = [f"data_batch_{n}" for n in range(1, 6)] if kind == 10 else ["train"]
    clean: list[int] = []
    for name in (*train, "test_batch" if kind == 10 else "test"):
        labels = draw.permutation(kind)[:10].tolist()
        batch = {b"data": draw.integers(0, 256, (10, 3072), dtype=np.uint8), key: labels}
        (folder / name).write_bytes(pickle.dumps(batch, 2))
        clean += labels if name in train else []
    names = [b"class %d" % n for n in range(kind)]
    meta = {b"label_names": names} if kind == 10 else {b"fine_label_names": names}
    (folder / ("batches.meta" if kind == 10 else "meta")).write_bytes(pickle.dumps(meta, 2))
    own = np.array(clean)
    sets = ["aggre_label", "worse_label", *(f"random_label{n}" for n in (1, 2, 3))] if kind == 10 else ["noisy_label"]
    human = {"clean_label": own, **{name: (own + place + 1) % kind for place, name in enumerate(sets)}}
    save_human(root / f"CIFAR-{kind}_human.pt", human, form)
    return root


def coco(top: Path, noisy: bool = False) -> Path:
    """Three categories with ids 1, 3 and 90; four training images, one of them without an object; two of validation.

    With a model's labels: of the categories 1 and 90.
    """
    root = top / "coco"
    (root / "annotations").mkdir(parents=True)
    categories = [{"id": number, "name": name} for number, name in ((90, "toothbrush"), (1, "person"), (3, "car"))]
    for part, held in (("train2014", {7: [1, 1, 90], 9: [3], 25: [], 30: [90]}), ("val2014", {42: [1], 73: [3, 90]})):
        images = [{"id": number, "file_name": f"COCO_{part}_{number:012d}.jpg"} for number in held]
        objects = [
            {"image_id": number, "category_id": one, "segmentation": [[0.5, 1.25, 3.0]]}
            for number, ones in held.items()
            for one in ones
        ]
        table = {"info": {"year": 2014}, "images": images, "annotations": objects, "categories": categories}
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(table))
        pictures(root / part, [image["file_name"] for image in images])
    if noisy:
        write(
            root / "annotations" / "noisy_labels_train2014.csv",
            ["image_id,category_id", "7,1", "30,1", "30,90", "9,90"],
        )
    return root


def aliproducts(top: Path) -> Path:
    """Three products with ids 0, 4 and 5, two training images each, one a palette PNG with transparency."""
    root = top / "aliproducts"
    train = [{"image_id": f"{c}_{n}.jpg", "class_id": c} for c in (0, 4, 5) for n in range(2)]
    val = [{"image_id": "v0.jpg", "class_id": "00004"}, {"image_id": "v1.jpg", "class_id": "5"}]
    pictures(root / "train", [f"{row['class_id']:05d}/{row['image_id']}" for row in train])
    palette = Image.new("P", (12, 10), 0)
    palette.putpalette([10, 20, 30] * 256)
    palette.save(root / "train" / "00000" / "0_0.jpg", "PNG", transparency=0)
    pictures(root / "val", [row["image_id"] for row in val])
    (root / "train.json").write_text(json.dumps({"images": train}))
    (root / "val.json").write_text(json.dumps({"images": val}))
    (root / "product_tree.json").write_text(
        json.dumps({"drinks": {"cola": ["4", "5"]}, "sweets": {"chocolate": ["0"]}})
    )
    return root


#: Ids of Open Images: of eight validation images the fourth and the eighth are trained on.
OI_TRAIN = [f"{n:015x}a" for n in range(1, 6)]
OI_VAL = [f"{n:016x}" for n in range(1, 9)]
_OI_HEADER = ["ImageID", "Source", "LabelName", "Confidence"]


def openimages(top: Path) -> Path:
    """Five training and eight validation images under three labels; people judged labels of seven of the latter."""
    root = top / "openimages"
    for part, ids in (("train", OI_TRAIN), ("validation", OI_VAL)):
        table(
            root / "images_2016_08" / part / "images.csv",
            [
                ["ImageID", "Subset", "OriginalURL", "Title"],
                *([one, part, "http://x/y.jpg", f'A "{n}", b'] for n, one in enumerate(ids)),
            ],
        )
        rows = [
            [one, "machine", f"/m/0{k}", f"0.{9 - k}"] for n, one in enumerate(ids) for k in range(1, 4) if (n + k) % 2
        ]
        table(root / "machine_ann_2016_08" / part / "labels.csv", [_OI_HEADER, *rows])
        pictures(root / part, [f"{one}.jpg" for one in ids])
    # People said of the label 1 that it holds for odd images, of the label 2 that it does not hold for the first four.
    judged = [[one, "human", "/m/01", f"{n % 2}.0"] for n, one in enumerate(OI_VAL[:7], 1)]
    judged += [[one, "human", "/m/02", "0.0"] for one in OI_VAL[:4]] + [[OI_VAL[3], "human", "/m/03", "1.0"]]
    table(root / "human_ann_2016_08" / "validation" / "labels.csv", [_OI_HEADER, *judged])
    table(root / "dict.csv", [["/m/01", "Cat"], ["/m/02", "Dog"], ["/m/03", 'Ox, "wild"']])
    return root


def table(file: Path, rows: Iterable[list[str]]) -> None:
    """A CSV file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
