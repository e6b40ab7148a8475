"""Tiny data sets in the layouts in which the great ones are published."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import check as checks
from noisyrun.data import load


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


def pictures(root: Path, names: list[str]) -> None:
    for seed, name in enumerate(names):
        picture(root / name, seed)


def write(file: Path, rows: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


@pytest.fixture
def rewrite():
    """Changes the lines of a text file: a function of their list to another."""

    def change(file: Path, of) -> None:
        write(file, list(of(file.read_text(encoding="utf-8").splitlines())))

    return change


@pytest.fixture
def read():
    """Reads a data set as a run does."""

    def read(root: Path, **data):
        return load(RunSettings(dataset=str(root), data=DataSettings(**{"val": 0, **data})))

    return read


@pytest.fixture
def check():
    """Checks a data set: its problems and warnings in one text each."""

    def check(root: Path, depth: str = "header", **data):
        return checks.check(RunSettings(dataset=str(root), data=DataSettings(**data)), depth)

    return check


CLOTHES = ["T-Shirt", "Shirt", "Knitwear", "Chiffon", "Sweater", "Hoodie", "Windbreaker", "Jacket"] + [
    "Down Coat",
    "Suit",
    "Shawl",
    "Dress",
    "Vest",
    "Underwear",
]


@pytest.fixture
def clothing1m(tmp_path):
    """Twenty noisy images; of the clean training list two with both labels and one without a noisy one; one image each
    of clean validation and clean test. Text files at the top or under ``annotations/``."""

    def make(below: str = "") -> Path:
        root = tmp_path / "clothing1m"
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

    return make


@pytest.fixture
def food(tmp_path):
    """Three classes of Food-101N with four images each, six of them verified; Food-101 with a test image a class."""
    names = ["apple_pie", "baby_back_ribs", "waffles"]
    root, plain = tmp_path / "food-101n", tmp_path / "food-101"
    keys = [f"{name}/{name[0]}{n:03d}.jpg" for name in names for n in range(4)]
    pictures(root / "images", keys)
    write(root / "meta" / "imagelist.tsv", ["class_name/key", *keys])
    verdict = "class_name/key\tverification_label"
    write(root / "meta" / "verified_train.tsv", [verdict, *(f"{key}\t{n % 2}" for n, key in enumerate(keys[:4]))])
    write(root / "meta" / "verified_val.tsv", [verdict, *(f"{key}\t1" for key in keys[8:10])])
    write(root / "meta" / "classes.txt", ["class_name", *names])
    tests = [f"{name}/{100 + n}" for n, name in enumerate(names)]
    pictures(plain / "images", [f"{key}.jpg" for key in tests])
    write(plain / "meta" / "test.txt", tests)
    write(plain / "meta" / "classes.txt", names)
    return root


@pytest.fixture
def webvision(tmp_path):
    """WebVision 1.0's thousand synsets; images of queries 1 to 3 (synsets 1, 2 and 61) from Google and Flickr."""
    root = tmp_path / "webvision"
    info = root / "info"
    write(info / "synsets.txt", [f"n{n:08d} thing {n}, object {n}" for n in range(1, 1001)])
    write(info / "queries_synsets_map.txt", ["1 1", "2 2", "3 61"])
    everything, metas = [], []
    for engine in ("google", "flickr"):
        paths, meta = [], []
        for query, label in ((1, 0), (2, 1), (3, 60)):
            entries = []
            for place in (1, 2):
                paths.append(f"{engine}/q{query:04d}/im age{place}.jpg {label}")
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
    write(info / "val_filelist.txt", ["val000001.jpg 0", "val000002.jpg 60"])
    pictures(root / "val_images_256", ["val000001.jpg", "val000002.jpg"])
    return root


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


@pytest.fixture
def save_human():
    """Writes labels as CIFAR-N does: ``torch.save``, in its newer or its older form, or a plain pickle."""
    forms = {"zip": torch_zip, "old": torch_old, "plain": lambda file, value: file.write_bytes(pickle.dumps(value, 2))}

    def save(file: Path, value: object, form: str = "zip") -> None:
        forms[form](file, value)

    return save


@pytest.fixture
def cifar(tmp_path, save_human):
    """CIFAR-10N or CIFAR-100N with ten images a batch, in the folders that torchvision unpacks."""

    def make(kind: int = 10, form: str = "zip") -> Path:
        root = tmp_path / f"cifar-{kind}n"
        folder = root / ("cifar-10-batches-py" if kind == 10 else "cifar-100-python")
        folder.mkdir(parents=True)
        draw = np.random.default_rng(0)
        key = b"labels" if kind == 10 else b"fine_labels"
        train = [f"data_batch_{n}" for n in range(1, 6)] if kind == 10 else ["train"]
        clean = []
        for name in (*train, "test_batch" if kind == 10 else "test"):
            labels = draw.permutation(kind)[:10].tolist()
            batch = {b"data": draw.integers(0, 256, (10, 3072), dtype=np.uint8), key: labels}
            (folder / name).write_bytes(pickle.dumps(batch, 2))
            clean += labels if name in train else []
        names = [b"class %d" % n for n in range(kind)]
        meta = {b"label_names": names} if kind == 10 else {b"fine_label_names": names}
        (folder / ("batches.meta" if kind == 10 else "meta")).write_bytes(pickle.dumps(meta, 2))
        own = np.array(clean)
        sets = (
            ["aggre_label", "worse_label", *(f"random_label{n}" for n in (1, 2, 3))] if kind == 10 else ["noisy_label"]
        )
        human = {"clean_label": own, **{name: (own + place + 1) % kind for place, name in enumerate(sets)}}
        save_human(root / f"CIFAR-{kind}_human.pt", human, form)
        return root

    return make
