"""Packing: the same samples come back, whole or not at all, the same bytes each time, for others to read as well."""

import hashlib
import io
import json
import os
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from noisyrun.api import UserError
from noisyrun.cli import main
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import load, sources
from noisyrun.data.classes import find_classes
from noisyrun.data.pack import pack, write
from noisyrun.data.pack.columns import columns_of
from noisyrun.data.pack.encode import Encoding
from noisyrun.data.pack.read import read_pack
from noisyrun.data.pack.write import Content, Options, write_pack

FORMS = pytest.mark.parametrize("form", ["shards", "parquet"])


def settings(dataset, **data):
    return RunSettings(dataset=str(dataset), data=DataSettings(**data))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


COLUMNS = {
    "label": ["cat", "dog", "cat", "owl", "dog", "cat", "owl", None],
    "clean_label": ["cat", "dog", "dog", None, "dog", "cat", "owl", "owl"],
    "verified": [1, 0, None, 1, None, None, None, 0],
    "trusted": [None, "dog", None, None, None, None, None, "owl"],
    "title": ["a <b>cat</b>", None, "dog; or not", "Eule ü", "x", "y", "z", "=1+1"],
    "description": ["d"] * 8,
    "tags": ["a|b", None, "c", "d|e|f", "g", "h", "i", "j"],
    "source": ["flickr", "google"] * 4,
    "rank": [0, 1, 2, 3, 4, 5, 6, 7],
}


@FORMS
def test_an_image_folder_comes_back(folder, round_trip, form):
    round_trip(folder, form)


@FORMS
def test_every_column_of_a_manifest_comes_back(manifest, round_trip, form):
    round_trip(manifest(COLUMNS), form)


@FORMS
def test_a_clean_flag_comes_back(manifest, round_trip, form):
    round_trip(manifest({"label": ["cat", "dog"] * 4, "clean": [1, 0, 1, None, 0, 0, 0, 1]}, "train.tsv"), form)


@FORMS
def test_several_labels_a_sample_come_back_with_those_that_are_known(manifest, round_trip, form):
    labels = ["cat|dog", "-cat|owl", "owl", None, "dog|-owl", "cat", "dog|owl|cat", "owl|-dog"]
    to = round_trip(manifest({"label": labels, "trusted_labels": ["cat|dog", *[None] * 7]}), form)
    assert load(settings(to)).task.multi


@FORMS
def test_ids_texts_and_the_tree_of_classes_come_back(manifest, round_trip, tmp_path, form):
    table, tree = tmp_path / "classes.tsv", tmp_path / "tree.tsv"
    table.write_text("label\tname\twnid\tdescription\ncat\tCat\tn02121808\tpurrs\ndog\tDog\tn02084071\tbarks\n")
    tree.write_text("child\tparent\nCat\tanimal\nDog\tanimal\n")
    to = round_trip(manifest({"label": ["cat", "dog"] * 4}), form, classes=table, tree=tree)
    text = load(settings(to)).train.text
    assert text.wnids == ("n02121808", "n02084071")
    assert dict(text.parents) == {"Cat": "animal", "Dog": "animal"}


@FORMS
def test_digits_come_back_with_their_indices_and_so_do_the_draws_of_a_run(round_trip, form):
    to = round_trip("digits", form, 1000)
    first, second = load(settings("digits")), load(settings(to))
    assert first.val.index.tolist() == second.val.index.tolist()


@FORMS
def test_hugging_face_parquet_comes_back(tmp_path, image, encode_image, round_trip, form):
    names = ["z", "a", "line\nbreak", "3"]
    data = [{"bytes": encode_image(image(n), "JPEG"), "path": f"{n}.jpg"} for n in range(12)]
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    table = pa.table({"image": data, "label": pa.array([n % 4 for n in range(12)])})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (tmp_path / "hf").mkdir()
    pq.write_table(table, tmp_path / "hf" / "train.parquet")
    to = round_trip(tmp_path / "hf", form)
    assert load(settings(to)).task.classes == tuple(names)


@FORMS
def test_tar_shards_of_others_come_back(tmp_path, image, encode_image, round_trip, form):
    (tmp_path / "web").mkdir()
    with tarfile.open(tmp_path / "web" / "train-000.tar", "w") as tar:
        for n in range(8):
            for ending, data in (("png", encode_image(image(n))), ("cls", str(n % 2).encode())):
                info = tarfile.TarInfo(f"x{n}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    round_trip(tmp_path / "web", form)


@pytest.mark.parametrize("several", [False, True])
def test_features_and_logits_come_back_from_parquet(tmp_path, round_trip, several):
    draw = np.random.default_rng(0)
    labels = draw.integers(-1, 2, (20, 3)).astype(np.int8) if several else draw.integers(0, 3, 20)
    arrays = {"features": draw.normal(size=(20, 4)).astype(np.float16), "logits": draw.normal(size=(20, 3))}
    np.savez(tmp_path / "f.npz", label=labels, test_features=draw.normal(size=(6, 4)), test_label=labels[:6], **arrays)
    to = round_trip(tmp_path / "f.npz", "parquet")
    assert len(list((to / "data").glob("train-*"))) == 4


def test_features_in_tar_shards_are_refused(tmp_path):
    np.savez(tmp_path / "f.npz", features=np.ones((4, 2)), label=np.array([0, 1, 0, 1]))
    with pytest.raises(UserError, match="--as parquet"):
        pack(settings(tmp_path / "f.npz"), tmp_path / "to", Options("shards"))
    assert not (tmp_path / "to").exists()


@FORMS
def test_packing_twice_gives_the_same_bytes(manifest, tmp_path, form):
    source = settings(manifest(COLUMNS))
    for name in ("a", "b"):
        assert pack(source, tmp_path / name, Options(form, samples=3)).made
        os.utime(source.dataset)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    again = pack(source, tmp_path / "a", Options(form, samples=3))
    assert not again.made


@FORMS
def test_the_digests_noted_are_those_of_the_files(folder, tmp_path, form):
    pack(settings(folder), tmp_path / "to", Options(form, samples=5))
    shards = [shard for split in read_pack(tmp_path / "to").splits.values() for shard in split.shards]
    assert [shard.samples for shard in shards] == [5, 5, 2, 5, 1]
    for shard in shards:
        data = (tmp_path / "to" / shard.file).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)


@FORMS
def test_a_pack_that_is_killed_goes_on_and_ends_up_the_same(folder, tmp_path, monkeypatch, form):
    options = Options(form, samples=2)
    pack(settings(folder), tmp_path / "whole", options)
    seen, stops = [], (("train", 1), ("train", 6), ("train", 12), ("test", 3))

    def watch(split, done, total, written):
        seen.append((split, done))
        if (split, done) == stop:
            raise KeyboardInterrupt

    for stop in stops:  # noqa: B007 - read by watch
        with pytest.raises(KeyboardInterrupt):
            pack(settings(folder), tmp_path / "to", options, watch)
        assert not (tmp_path / "to").exists()
    assert seen.count(("train", 1)) == 2  # of a shard that was not whole
    assert seen.count(("train", 3)) == 1
    with monkeypatch.context() as patch:
        # Killed after everything is written, while it takes its name.
        patch.setattr("noisyrun.data.pack.work.os.replace", _dies_on(tmp_path / "to"))
        with pytest.raises(KeyboardInterrupt):
            pack(settings(folder), tmp_path / "to", options)
    pack(settings(folder), tmp_path / "to", options)
    assert contents(tmp_path / "to") == contents(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "to", "pets"}


def _dies_on(name):
    real = os.replace

    def replace(source, to):
        if str(to) == str(name):
            raise KeyboardInterrupt
        real(source, to)

    return replace


def test_a_pack_that_was_begun_of_other_data_is_not_gone_on_with(folder, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(settings(folder), tmp_path / "to", Options("shards"), stop)
    (folder / "train" / "cat" / "0.png").unlink()
    with pytest.raises(UserError, match=r"to\.packing holds a pack begun of other data .* \(digest\)"):
        pack(settings(folder), tmp_path / "to", Options("shards"))
    with pytest.raises(UserError, match=r"digest, samples"):
        pack(settings(folder), tmp_path / "to", Options("shards", samples=3))


def test_a_folder_with_something_else_in_it_is_left_alone(folder, tmp_path):
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds something else"):
        pack(settings(folder), tmp_path / "to", Options("shards"))
    (tmp_path / "other").mkdir()
    pack(settings(folder), tmp_path / "other", Options("shards"))
    with pytest.raises(UserError, match="holds another pack"):
        pack(settings(folder), tmp_path / "other", Options("parquet"))
    assert (tmp_path / "to" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("ruin", ["cut", "empty", "gone"])
def test_a_shard_that_is_not_what_was_packed_is_a_line(folder, tmp_path, ruin):
    pack(settings(folder), tmp_path / "to", Options("shards", samples=5))
    shard = tmp_path / "to" / "train-000001.tar"
    if ruin == "gone":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[: 1024 if ruin == "cut" else 0])
    with pytest.raises(UserError, match=r"train-000001\.tar"):
        load(settings(tmp_path / "to"))


def test_an_index_that_names_a_shard_elsewhere_is_refused(folder, tmp_path):
    pack(settings(folder), tmp_path / "to", Options("shards"))
    file = tmp_path / "to" / "index-train.parquet"
    table = pq.read_table(file)
    notes = json.loads(table.schema.metadata[b"noisyrun"])
    notes["shards"] = {"../outside.tar": 10240}
    metadata = {**table.schema.metadata, b"noisyrun": json.dumps(notes)}
    pq.write_table(table.replace_schema_metadata(metadata), file)
    with pytest.raises(UserError, match=r"'\.\./outside\.tar' does not lie in"):
        load(settings(tmp_path / "to"))


@FORMS
def test_broken_images_stop_packing_or_are_left_out_and_named(folder, tmp_path, form):
    whole = (folder / "train" / "cat" / "3.png").read_bytes()
    (folder / "train" / "cat" / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cat/3\.png.*--data\.on-bad-image skip"):
        pack(settings(folder), tmp_path / "a", Options(form))
    source = settings(folder, on_bad_image="skip", val=0)
    found = pack(source, tmp_path / "b", Options(form, skip=True)).pack.splits["train"]
    assert found.samples == 11
    assert len(found.skipped) == 1
    assert "cat/3.png" in found.skipped[0]
    assert load(settings(tmp_path / "b", val=0)).train.index.tolist() == load(source).train.index.tolist()


def test_no_more_images_are_read_ahead_than_fit(folder, monkeypatch):
    from noisyrun.data.pack import encode

    raw = sources.read(settings(folder)).train
    read = []
    monkeypatch.setattr(encode, "_CHUNK", 1)
    monkeypatch.setattr(encode, "decoding_threads", lambda: 2)
    real = encode._one
    monkeypatch.setattr(encode, "_one", lambda *one: (read.append(one[1]), real(*one))[1])
    images = encode.encoded(raw, 0, Encoding(check="header"))
    next(images)
    images.close()
    assert len(read) <= 2 * 2


@FORMS
def test_larger_images_are_brought_to_a_shorter_side(tmp_path, image, form):
    for name, size in (("cat/wide", (64, 32)), ("cat/tall", (20, 40)), ("dog/small", (12, 16))):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        image(0, size).save(tmp_path / "in" / f"{name}.png")
    options = Options(form, encoding=Encoding(side=16, quality=80))
    pack(settings(tmp_path / "in"), tmp_path / "to", options)
    images = sources.read(settings(tmp_path / "to")).train.images
    opened = [Image.open(images.open(row)) for row in range(3)]
    assert [(one.size, one.format) for one in opened] == [((16, 32), "JPEG"), ((32, 16), "JPEG"), ((12, 16), "PNG")]


def test_webdataset_reads_the_shards(folder, tmp_path):
    import webdataset

    pack(settings(folder), tmp_path / "to", Options("shards", samples=5))
    shards = sorted(str(path) for path in (tmp_path / "to").glob("train-*.tar"))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("png", "cls", "json"))
    raw = sources.read(settings(folder)).train
    assert [label for _, label, _ in samples] == raw.columns["label"].to_pylist()
    assert [beside["path"] for _, _, beside in samples] == raw.images.paths.to_pylist()
    expected = [np.asarray(Image.open(raw.images.open(row)).convert("RGB")) for row in range(len(raw))]
    assert all(np.array_equal(np.asarray(one), two) for (one, _, _), two in zip(samples, expected, strict=True))


@FORMS
def test_datasets_reads_the_folder(manifest, tmp_path, monkeypatch, form):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    source = settings(manifest({**COLUMNS, "label": ["cat", "dog", "cat", "owl", "dog", "cat", "owl", "owl"]}))
    pack(source, tmp_path / "to", Options(form, samples=3))
    found = datasets.load_dataset(str(tmp_path / "to"), cache_dir=str(tmp_path / "cache"))["train"]
    raw = sources.read(source).train
    assert found.num_rows == 8
    images = found["image"] if form == "parquet" else found["png"]
    for row in range(8):
        assert np.array_equal(np.asarray(images[row]), np.asarray(Image.open(raw.images.open(row))))
    if form == "parquet":
        assert found.features["label"].names == ["cat", "dog", "owl"]
        assert found.features["label"].int2str(found["label"]) == COLUMNS["label"][:7] + ["owl"]
        assert found["tags"][3] == ["d", "e", "f"]
        assert found["title"][0] == "a <b>cat</b>"
    else:
        assert found["json"][0]["title"] == "a <b>cat</b>"
        assert found["cls"] == [0, 1, 0, 2, 1, 0, 2, 2]


def test_datasets_reads_from_shards_what_only_some_samples_have(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    raw = sources.read(settings(folder))
    raw.train.columns["title"] = pa.array([None] * (len(raw.train) - 1) + ["the last"])
    raw.train.columns["tags"] = pa.array([["a", "b"]] + [None] * (len(raw.train) - 1), pa.list_(pa.string()))
    classes = find_classes(raw, None, None)
    contents = {
        name: Content(part, columns_of(part, classes)) for name, part in (("train", raw.train), ("test", raw.test))
    }
    write_pack("some", contents, classes, tmp_path / "to", Options("shards", samples=3))
    found = datasets.load_dataset(str(tmp_path / "to"), cache_dir=str(tmp_path / "cache"))
    assert found["train"][-1]["json"]["title"] == "the last"
    assert found["train"][0]["json"]["tags"] == ["a", "b"]
    assert found["test"][0]["json"]["title"] is None
    assert found["test"]["cls"] == [label["label"] for label in found["test"]["json"]]


@FORMS
def test_datasets_reads_lists_of_labels_and_features(manifest, tmp_path, monkeypatch, form):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    if form == "shards":
        np.savez(tmp_path / "f.npz", features=np.eye(6, dtype=np.float32), label=np.arange(6) % 2)
        pack(settings(tmp_path / "f.npz"), tmp_path / "to", Options("parquet"))
    else:
        pack(
            settings(manifest({"label": ["a|b", "b", "a", "b", "a", "b", "c", "a|c"]})), tmp_path / "to", Options(form)
        )
    found = datasets.load_dataset(str(tmp_path / "to"), cache_dir=str(tmp_path / "cache"))["train"]
    if form == "shards":
        assert np.array_equal(np.array(found["features"]), np.eye(6))
    else:
        assert found["label"][0] == [0, 1]
        assert found.features["label"].feature.names == ["a", "b", "c"]


def test_the_command_says_what_it_wrote_and_refuses_what_it_does_not_know(folder, tmp_path, capsys):
    words = ["data", "pack", str(folder), "--to", str(tmp_path / "to"), "--as", "shards", "--samples", "5"]
    assert main(words) == 0
    assert "train: 12 samples, 3 files" in capsys.readouterr().out
    assert main(["data", "check", str(tmp_path / "to")]) == 0
    assert main(words) == 0
    assert "nothing to do" in capsys.readouterr().out
    for more, said in (
        (["--data.val", "0.2"], "--data.val: no such option here"),
        (["--quality", "80"], "--quality: images keep their bytes"),
        (["--shard-size", "lots"], "--shard-size: 'lots' is not a size"),
    ):
        assert main([*words, *more]) == 2
        assert said in capsys.readouterr().err
    assert main(["data", "pack", str(folder), "--to", str(tmp_path / "x")]) == 2


def test_a_table_that_has_a_column_called_index_keeps_the_places_of_its_rows(manifest):
    path = manifest({"label": ["a", "b"] * 4, "index": [9, 8, 7, 6, 5, 4, 3, 2]})
    assert load(settings(path, val=0)).train.index.tolist() == list(range(8))
    assert write.Options("shards").shard_bytes == 512_000_000


@FORMS
def test_a_pack_that_stopped_at_a_broken_image_goes_on_without_it(folder, tmp_path, form):
    (folder / "train" / "dog" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"dog/0\.png"):
        pack(settings(folder), tmp_path / "to", Options(form, samples=2))
    began = {path.name for path in (tmp_path / "to.packing").glob("train-*")}
    assert not (tmp_path / "to.packing" / ".train.tmp").exists()
    found = pack(settings(folder), tmp_path / "to", Options(form, samples=2, skip=True)).pack
    assert len(began) == 2
    assert found.splits["train"].samples == 11


def test_a_file_of_that_name_by_other_software_is_none_of_ours(folder):
    (folder / "pack.json").write_text('{"pack": "of wolves"}')
    assert len(load(settings(folder, val=0)).train) == 12
    (folder / "pack.json").write_text('{"noisyrun": "0.1.0"}')
    with pytest.raises(UserError, match=r"pack\.json is no description of a pack"):
        load(settings(folder))


@FORMS
def test_a_tree_that_runs_in_a_circle_is_a_line(folder, tmp_path, form):
    pack(settings(folder), tmp_path / "to", Options(form))
    file = tmp_path / "to" / "pack.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "parents": {"cat": "dog", "dog": "cat"}}))
    with pytest.raises(UserError, match="circle through 'cat'"):
        load(settings(tmp_path / "to"))
