"""Tar shards as the field writes them: with the webdataset library, and with tar."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import load
from noisyrun.data.check import check
from noisyrun.data.classes import encode, find_classes
from noisyrun.data.refs import ImageRefs
from noisyrun.data.sources import read, tar_samples
from noisyrun.data.sources import shards as module
from noisyrun.data.sources.shards import find_shards

webdataset = pytest.importorskip("webdataset")


@pytest.fixture
def png(image, encode_image):
    return lambda number: encode_image(image(number))


@pytest.fixture
def shards(tmp_path: Path, png):
    """Writes shards of four samples by the library, each sample given by its number, and gives their folder."""

    def make(
        samples: int = 8, cells=lambda n: {"cls": n % 2}, name: str = "train-%06d.tar", folder: str = "pets"
    ) -> Path:
        root = tmp_path / folder
        root.mkdir(parents=True, exist_ok=True)
        with webdataset.ShardWriter(str(root / name), maxcount=4, verbose=0) as writer:
            for n in range(samples):
                writer.write({"__key__": f"{n:06d}", "png": png(n), **cells(n)})
        return root

    return make


def plain(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def _read(path, **data):
    return read(RunSettings(dataset=str(path), data=DataSettings(**data)))


def _load(path, **data):
    return load(RunSettings(dataset=str(path), data=DataSettings(**{"val": 0, **data})))


def test_shards_of_the_library_are_read_with_a_stable_index(shards, png) -> None:
    data = _load(shards())
    assert data.name == "pets"
    assert data.lineage["format"] == "webdataset"
    assert data.train.index.tolist() == list(range(8))
    assert data.train.labels.single.tolist() == [0, 1] * 4
    raw = _read(shards()).train
    assert isinstance(raw.images, ImageRefs)
    assert [raw.images.open(n).read() for n in range(8)] == [png(n) for n in range(8)]
    assert raw.images.name(5) == "train-000001.tar/000005.png"


def test_the_library_reads_the_same_order(shards) -> None:
    root = shards()
    raw = _read(root).train
    theirs = webdataset.WebDataset([str(p) for p in sorted(root.glob("*.tar"))], shardshuffle=False)
    assert [(s["__key__"], int(s["cls"])) for s in theirs] == [
        (raw.images.name(n).split("/")[1].removesuffix(".png"), raw.columns["label"][n].as_py()) for n in range(8)
    ]


def test_test_shards_are_found_beside_by_their_names(shards) -> None:
    root = shards()
    shards(4, name="val-%06d.tar")
    data = _load(root)
    assert (len(data.train), len(data.test)) == (8, 4)
    shards(4, folder="pets/test", name="%05d.tar")
    assert len(_load(root, test=str(root / "test")).test) == 4


def test_folders_of_splits_are_found(shards) -> None:
    shards(8, folder="all/train", name="%05d.tar")
    root = shards(4, folder="all/val", name="%05d.tar").parent
    data = _load(root)
    assert (len(data.train), len(data.test)) == (8, 4)


def test_a_file_and_a_pattern_name_shards(shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 1000)
    root = shards(12)
    assert len(_read(root / "train-000001.tar").train) == 4
    assert len(_read(root / "train-{000000..000001}.tar").train) == 8
    assert len(_read(root / "train-{000000,000002}.tar", test=str(root / "train-{000001..000001}.tar")).test) == 4
    with pytest.raises(UserError, match=r"1 of 4 shards are missing, e\.g\. .*train-000003"):
        _read(root / "train-{000000..000003}.tar")
    with pytest.raises(UserError, match="no range of numbers"):
        _read(root / "train-{5..2}.tar")
    with pytest.raises(UserError, match="more than 1,000 shards"):
        _read(root / "{0..99999}{0..99999}.tar")


def test_names_of_shards_tell_their_split(tmp_path: Path) -> None:
    for name in ("imagenet1k-train-0000.tar", "imagenet1k-validation-0000.tar", "imagenet1k-train-0001.tar"):
        (tmp_path / name).touch()
    train, test = find_shards(tmp_path, None)
    assert [path.name for path in train] == ["imagenet1k-train-0000.tar", "imagenet1k-train-0001.tar"]
    assert [path.name for path in test] == ["imagenet1k-validation-0000.tar"]


def test_json_gives_the_roles_of_a_manifest(shards) -> None:
    def cells(n):
        given = {"noisy_label": "cat" if n % 2 else "dog", "clean_label": "dog", "verified": n % 3 - 1, "width": 9}
        return {"json": {**given, "title": f"t{n}", "tags": ["a", "b"], "source": "web"}}

    train = _load(shards(cells=cells)).train
    assert train.task.classes == ("cat", "dog")
    assert train.labels.single.tolist() == [1, 0] * 4
    assert train.truth.single.tolist() == [1] * 8
    assert train.verified.tolist() == [-1, 0, 1, -1, 0, 1, -1, 0]
    assert train.text.titles[3] == "t3"
    assert train.text.tags[3] == ("a", "b")


def test_lists_of_labels_make_data_of_several_labels(shards) -> None:
    train = _load(shards(cells=lambda n: {"json": {"labels": ["cat", "dog"] if n % 2 else ["ox"]}})).train
    assert train.task.multi
    assert train.labels.classes[1].tolist() == [0, 1]


def test_captions_become_descriptions(shards) -> None:
    train = _load(shards(cells=lambda n: {"cls": n % 2, "txt": f"a ¼ {n}"})).train
    assert train.text.sample_descriptions[2] == "a ¼ 2"


def test_a_label_column_is_named(shards) -> None:
    root = shards(cells=lambda n: {"cls": 0, "json": {"mine": n % 2, "label": 0}})
    assert _load(root, label="mine").train.labels.single.tolist() == [0, 1] * 4
    with pytest.raises(UserError, match=r"no column 'mein'; did you mean 'mine'\?"):
        _load(root, label="mein")


def test_class_names_come_from_a_file(shards) -> None:
    root = shards()
    (root / "classes.txt").write_text("cat\ndog\nox\n")
    assert _load(root).task.classes == ("cat", "dog", "ox")


def test_labels_may_be_names(tmp_path: Path, png) -> None:
    files = {}
    for n, name in enumerate(("ox", "cat", "ox")):
        files |= {f"{name}/{n}.png": png(n), f"{name}/{n}.cls.txt": f"{name}\n".encode()}
    train = _load(plain(tmp_path / "a.tar", files)).train
    assert train.task.classes == ("cat", "ox")
    assert train.labels.single.tolist() == [1, 0, 1]


def test_what_is_no_sample_is_left_out_and_counted(tmp_path: Path, png) -> None:
    files = {"README": b"hello", "._0.png": b"x", "__MACOSX/0.png": b"x", "0.cls": b"0", "0.jpg": png(0)}
    files |= {"0.png": png(1), "1.cls": b"1", "1.PNG": png(2), "2.cls": b"1", "3.json": b"{}"}
    path = plain(tmp_path / "a.tar", files)
    raw = _read(path)
    assert len(raw.train) == 2
    assert raw.notes == (
        f"{path}: left out further images of samples that have several: 1, samples without an image: 2",
    )


def test_a_dot_in_names_is_told(tmp_path: Path, png) -> None:
    path = plain(tmp_path / "a.tar", {"img.1.png": png(0), "img.2.png": png(1)})
    with pytest.raises(UserError, match=r"sample 'img' has several images \(\.1\.png, \.2\.png\).*first dot"):
        _read(path)


def test_one_image_under_a_longer_ending_is_read(tmp_path: Path, png) -> None:
    files = {
        f"{n}.{ending}": png(n) if ending == "input.png" else b"%d" % n
        for n in range(2)
        for ending in ("input.png", "cls")
    }
    assert _load(plain(tmp_path / "a.tar", files)).train.labels.single.tolist() == [0, 1]


def test_files_of_a_sample_must_stand_together(tmp_path: Path, png) -> None:
    path = plain(tmp_path / "a.tar", {"0.png": png(0), "1.png": png(1), "0.cls": b"0", "1.cls": b"1"})
    with pytest.raises(UserError, match=r"files of sample '0' do not stand together.*--sort=name"):
        _read(path)


def test_a_file_that_stands_twice_is_refused(tmp_path: Path, png) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("0.png", "0.PNG"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(UserError, match=r"sample '0' has two files \.png"):
        _read(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("0.json", b"{", "cannot read 0.json"),
        ("0.json", b"[1]", "no JSON object"),
        ("0.json", b"[" * 100_000, "cannot read 0.json"),
        ("0.json", b'{"label": 99999999999999999999}', "'label' of the samples is no column"),
        ("0.json", b'{"label": "\\ud800"}', "'label' of the samples is no column"),
        ("0.json", b'{"label": {"a": 1}}', "label"),
        ("0.cls", b"\xff", "cannot read 0.cls"),
        ("0.txt", b"x" * (2 << 20), "too many for text"),
        ("0.json", b'{"wnid": "n1"}', "no column of labels.*it has wnid"),
        ("0.cls", b"7000", "labels run up to 7000"),
    ],
)
def test_what_stands_beside_images_is_checked(tmp_path: Path, png, name: str, content: bytes, message: str) -> None:
    path = plain(tmp_path / "a.tar", {"0.png": png(0), name: content})
    with pytest.raises(UserError, match=message) as told:
        _load(path)
    assert "\n" not in str(told.value)


def test_values_of_two_kinds_are_refused_within_a_shard_and_between(tmp_path: Path, png) -> None:
    def one(*labels):
        return {
            f"{n}.{e}": c
            for n, v in enumerate(labels)
            for e, c in (("png", png(0)), ("json", json.dumps({"label": v}).encode()))
        }

    with pytest.raises(UserError, match="'label' of the samples is no column"):
        _read(plain(tmp_path / "x" / "a.tar", one(1, "cat")))
    plain(tmp_path / "y" / "a.tar", one(1, 0))
    plain(tmp_path / "y" / "b.tar", one("dog", "cat"))
    with pytest.raises(UserError, match="shards differ in what stands beside images"):
        _read(tmp_path / "y")


def test_columns_that_some_shards_lack_are_empty_there(tmp_path: Path, png) -> None:
    plain(tmp_path / "a.tar", {"0.png": png(0), "0.cls": b"0", "1.png": png(1), "1.cls": b"1"})
    plain(tmp_path / "b.tar", {"0.png": png(2), "0.cls": b"1", "0.json": b'{"title": "late"}'})
    train = _load(tmp_path).train
    assert list(train.text.titles) == ["", "", "late"]
    assert train.index.tolist() == [0, 1, 2]


def test_samples_are_read_in_parts(shards, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _load(shards()).train.labels.single.tolist()
    monkeypatch.setattr(tar_samples, "_CHUNK", 3)
    assert _load(shards()).train.labels.single.tolist() == expected


def test_no_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no sample with an image .*, samples without an image: 1"):
        _read(plain(tmp_path / "a.tar", {"0.cls": b"0"}))
    (tmp_path / "b.tar").touch()
    with pytest.raises(UserError, match="holds no sample"):
        _read(tmp_path / "b.tar")


def test_compressed_shards_are_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(UserError, match="unpack it"):
        _read(tmp_path / "a.tar.gz")


def test_a_folder_of_class_folders_with_a_download_in_it_stays_a_folder(folder: Path) -> None:
    (folder / "train" / "pets.tar").touch()
    (folder / "pets.tar").touch()
    (folder / "cat").mkdir()
    assert _load(folder).lineage["format"] == "folder"


def test_the_check_names_images_that_cannot_be_read(shards) -> None:
    root = shards()
    path = root / "train-000001.tar"
    content = path.read_bytes()
    at = content.index(b"\x89PNG")
    path.write_bytes(content[:at] + b"no" + content[at + 2 :])
    report = check(RunSettings(dataset=str(root)))
    assert len(report.problems) == 1
    assert "1 of 8 images cannot be read: train-000001.tar/000004.png" in report.problems[0]


def test_a_shard_that_ends_without_a_mark_is_noted(tmp_path: Path) -> None:
    files = {f"{i}.{kind}": content for i in range(4) for kind, content in (("jpg", b"x"), ("cls", b"%d" % (i % 2)))}
    shard = plain(tmp_path / "a.tar", files)
    os.truncate(shard, 6 * 1024)  # between the third sample and the fourth
    found = _read(shard)
    assert len(found.train) == 3
    assert any("1 of 1 shards end without the mark" in note and "a.tar" in note for note in found.notes)


def test_a_label_below_zero_is_a_number_out_of_range_rather_than_a_name(tmp_path: Path) -> None:
    plain(
        tmp_path / "a.tar", {f"{i}.{kind}": b"-1" if i == 3 else b"%d" % i for i in range(4) for kind in ("jpg", "cls")}
    )
    found = _read(tmp_path / "a.tar")
    with pytest.raises(UserError, match=r"label -1 in row 3 .* out of range"):
        encode(found.train, "label", find_classes(found, None, None))


def test_names_in_training_and_numbers_in_the_test_set_are_refused(tmp_path: Path) -> None:
    """Names sort "10" before "2": numbers would count other classes."""
    labels = [*map(str, range(11)), "dog"]
    plain(
        tmp_path / "train.tar", {f"{i:02}.{kind}": x.encode() for i, x in enumerate(labels) for kind in ("cls", "jpg")}
    )
    plain(tmp_path / "test.tar", {f"{i:02}.{kind}": b"%d" % i for i in range(11) for kind in ("cls", "jpg")})
    with pytest.raises(UserError, match=r"names, or not all of them are numbers, but those of .* are numbers"):
        find_classes(_read(tmp_path), None, None)


def test_a_check_names_samples_without_a_label_which_a_run_refuses(tmp_path: Path, png) -> None:
    files = {f"{i}.{kind}": png(i) if kind == "png" else b"%d" % i for i in range(3) for kind in ("cls", "png")}
    del files["1.cls"]
    settings = RunSettings(dataset=str(plain(tmp_path / "a.tar", files)))
    report = check(settings)
    with pytest.raises(UserError) as refused:
        load(settings)
    assert report.problems == [str(refused.value)]
    assert "row 1" in report.problems[0]
