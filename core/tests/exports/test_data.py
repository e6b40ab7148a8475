"""A finished run as a cleaned data set: the labels it arrived at, what it says of them, and nothing lost."""

import json
import os

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

import noisyrun
from noisyrun.api import UserError
from noisyrun.api.labels import PAD
from noisyrun.cli import main
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import load
from noisyrun.exports.folder import safe_names

IMAGES = pytest.mark.parametrize("form", ["manifest", "folder", "parquet", "shards"])


def read(path, **data):
    return load(RunSettings(dataset=str(path), data=DataSettings(**{"val": 0, **data})))


def again(folder, form, root=None):
    """The export as a run reads it, with the root that a manifest needs."""
    return read(folder, **({"root": root} if form == "manifest" else {}))


def by_name(data):
    """Observed label of each image, by the bytes of its pixels."""
    samples = data.train
    pixels = samples.images.load(torch.arange(len(samples)))
    return {one.numpy().tobytes(): data.task.classes[c] for one, c in zip(pixels, samples.labels.single.tolist())}


def table_of(folder, form):
    files = {"manifest": "train.parquet", "folder": "train/metadata.parquet", "shards": "index-train.parquet"}
    file = folder / files.get(form, "data/train-00000-of-00001.parquet")
    frame = pq.read_table(file, columns=None).to_pandas().sort_values("index", ignore_index=True)
    names = ["cat", "dog", "owl"]
    for column in ("label", "observed", "corrected"):
        if frame[column].dtype.kind in "if":
            frame[column] = [None if pd.isna(c) else names[int(c)] for c in frame[column]]
    return frame


@IMAGES
def test_an_export_is_a_data_set_with_the_corrected_labels(folder, finished, tmp_path, form):
    run, source = finished(folder), read(folder)
    noisyrun.export(run, form, tmp_path / "out")
    found = again(tmp_path / "out", form, folder)
    train, names = load(RunSettings(dataset=str(folder), data=DataSettings(val=0.25))).train, source.task.classes
    expected = by_name(source)
    pixels = source.train.images.load(torch.arange(len(source.train)))
    for index in set(train.index.tolist()) & {0, 1, 2}:
        key = pixels[index].numpy().tobytes()
        expected[key] = names[(names.index(expected[key]) + 1) % 3]
    assert by_name(found) == expected
    assert found.task.classes == names
    assert found.test.labels.single.tolist() == source.test.labels.single.tolist()
    assert torch.equal(found.test.images.load(torch.arange(6)), source.test.images.load(torch.arange(6)))


@IMAGES
def test_what_the_run_says_stands_beside_each_label(folder, finished, tmp_path, form):
    run = finished(folder)
    noisyrun.export(run, form, tmp_path / "out")
    frame = table_of(tmp_path / "out", form)
    verdicts = pq.read_table(run / "labels.parquet").to_pandas().set_index("index")
    assert frame["index"].tolist() == list(range(24))
    assert frame["split"].tolist() == ["train" if index in verdicts.index else "val" for index in range(24)]
    names = ["cat", "dog", "owl"]
    for index, row in zip(range(24), frame.to_dict("records"), strict=True):
        if row["split"] == "val":
            assert all(pd.isna(row[name]) for name in ("corrected", "weight", "quality", "wrong"))
            assert row["label"] == row["observed"]
        else:
            said = verdicts.loc[index]
            assert (row["observed"], row["corrected"]) == (names[int(said.observed)], names[int(said.corrected)])
            assert row["label"] == row["corrected"]
            assert all(row[name] == said[name] for name in ("weight", "quality", "wrong"))


@IMAGES
def test_what_is_called_wrong_and_not_corrected_can_be_left_out(folder, finished, tmp_path, form):
    run = finished(folder, data={"val": 0})
    noisyrun.export(run, form, tmp_path / "out", {"drop": "wrong", "min_weight": 0.5})
    kept = table_of(tmp_path / "out", form)["index"].tolist()
    assert kept == [index for index in range(24) if index not in (3, 4, 5)]
    lineage = json.loads((tmp_path / "out" / "export.json").read_text())
    counts = {"judged": 24, "called_wrong": 5, "corrected": 3, "dropped_wrong": 2, "dropped_weight": 1, "train": 21}
    assert counts.items() <= lineage["counts"].items()
    assert lineage["run"]["id"] == "0" * 32
    assert lineage["data"]["digests"] == json.loads((run / "summary.json").read_text())["data"]["digests"]
    assert lineage["options"] == {"labels": "corrected", "drop": "wrong", "min_weight": 0.5}


def test_of_observed_labels_all_that_are_called_wrong_are_left_out(folder, finished, tmp_path):
    run = finished(folder, data={"val": 0})
    noisyrun.export(run, "parquet", tmp_path / "out", {"labels": "observed", "drop": "wrong"})
    frame = table_of(tmp_path / "out", "parquet")
    assert frame["index"].tolist() == list(range(5, 24))
    assert (frame["label"] == frame["observed"]).all()


def test_samples_that_the_run_did_not_hold_are_left_out_and_counted(folder, finished, tmp_path):
    run = finished(folder, data={"subset": 20})
    found = noisyrun.export(run, "parquet", tmp_path / "out")
    assert "not in the run, and left out: 4 samples" in found.lines
    assert len(again(tmp_path / "out", "parquet").train) == 20


def test_injected_noise_is_what_was_observed_and_the_truth_is_kept(folder, finished, tmp_path):
    run = finished(folder, noise="symmetric:0.5", seed=3)
    noisyrun.export(run, "parquet", tmp_path / "out", {"labels": "observed"})
    first = load(RunSettings(dataset=str(folder), noise="symmetric:0.5", seed=3, data=DataSettings(val=0)))
    found = again(tmp_path / "out", "parquet")
    assert torch.equal(found.train.labels.single, first.train.labels.single)
    assert torch.equal(found.train.truth.single, first.train.truth.single)


COLUMNS = {
    "label": ["a", "b", "c", "a", "b", "c", "a", "b", "c", "a", "b", "c"],
    "verified": [1, None, 0, 1, 0, None, None, None, None, None, None, 1],
    "clean": [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    "title": ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "plain", "ü\n", "", "a,b", '"q"', "x", "y", "z"],
    "tags": [["t", "u"]] * 12,
    "source": ["flickr", "google"] * 6,
    "rank": list(range(12)),
}


@pytest.mark.parametrize("form", ["manifest", "parquet", "shards"])
def test_what_the_source_says_is_kept(shop, finished, tmp_path, form):
    root = shop(COLUMNS)
    run, source = finished(root, data={"val": 0}), read(root)
    noisyrun.export(run, form, tmp_path / "out")
    found = again(tmp_path / "out", form, root)
    assert found.train.text.titles == source.train.text.titles
    assert found.train.text.tags == source.train.text.tags
    assert torch.equal(found.train.rank, source.train.rank)
    assert found.train.source_names == source.train.source_names
    # Of labels that changed nobody has verified anything, and a flag that trusts a label trusts the observed one.
    assert found.train.verified.tolist() == [-1, -1, -1, *source.train.verified.tolist()[3:]]
    assert torch.equal(found.train.clean, source.train.clean)
    assert found.train.trusted.single[1] == source.train.trusted.single[1] == 1
    assert found.train.labels.single[1] == 2


@pytest.mark.parametrize("table", ["parquet", "jsonl"])
def test_texts_of_strangers_come_back_from_tables_that_no_spreadsheet_runs(shop, finished, tmp_path, table):
    root = shop(COLUMNS)
    noisyrun.export(finished(root), "manifest", tmp_path / "out", {"table": table})
    assert again(tmp_path / "out", "manifest", root).train.text.titles == COLUMNS["title"]


def test_a_csv_has_no_texts_of_strangers_and_nothing_that_begins_a_formula(shop, finished, tmp_path):
    root = shop(COLUMNS)
    run = finished(root)
    noisyrun.export(run, "manifest", tmp_path / "out", {"table": "csv"})
    frame = pd.read_csv(tmp_path / "out" / "train.csv")
    assert not {"title", "tags", "source"} & set(frame.columns)
    assert not any(str(cell).startswith(("=", "+", "@", "-")) for cell in frame.to_numpy().ravel())
    assert len(again(tmp_path / "out", "manifest", root).train) == 12


@pytest.mark.parametrize("name", ["=1+1", "-b", "a|b", "@b"])
def test_a_csv_that_could_not_be_read_back_is_refused(shop, finished, tmp_path, name):
    run = finished(shop({"label": [name, "x"] * 6}))
    with pytest.raises(UserError, match="--table csv"):
        noisyrun.export(run, "manifest", tmp_path / "out", {"table": "csv"})
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
    noisyrun.export(run, "manifest", tmp_path / "out")


def test_several_labels_a_sample_are_exported_with_those_that_are_known(shop, finished, tmp_path):
    labels = [["a", "b"], ["b"], ["c"], ["a", "c"], ["b"], ["a"], ["c"], ["a", "b", "c"]]
    absent = [[], ["a"], [], [], ["c"], [], [], []]
    root = shop({"labels": labels, "labels_absent": absent})
    run = finished(root, data={"val": 0})
    for form in ("parquet", "shards", "manifest"):
        noisyrun.export(run, form, tmp_path / form)
        found, source = again(tmp_path / form, form, root).train, read(root).train
        assert found.task.multi
        names = found.task.classes
        sets = [{names[c] for c in row if c != PAD} for row in found.labels.classes.tolist()]
        # The first three are corrected, to the class after their first one.
        assert sets == [{"b"}, {"c"}, {"a"}, *map(set, labels[3:])]
        known = [[set(row) - {PAD} for row in one.labels.known.tolist()] for one in (found, source)]
        assert known[0][3:] == known[1][3:]
        assert known[0][1] == known[1][1] | {2}  # what correction switched on is known to hold
    noisyrun.export(run, "parquet", tmp_path / "left", {"drop": "wrong"})
    rows = pq.read_table(tmp_path / "left" / "data" / "train-00000-of-00001.parquet").to_pylist()
    assert [rows[index]["label"] for index in (3, 4, 5)] == [[], [], [0]]
    assert rows[3]["observed"] == rows[3]["judged"] == [0, 2]
    assert rows[3]["wrong"] == [True, True]
    with pytest.raises(UserError, match="one label a sample"):
        noisyrun.export(run, "folder", tmp_path / "no")
    with pytest.raises(UserError, match="--min-weight"):
        noisyrun.export(run, "parquet", tmp_path / "no", {"min-weight": 0.5})


def test_a_run_on_features_is_exported_with_them(tmp_path, finished):
    draw = np.random.default_rng(0)
    file = tmp_path / "f.npz"
    labels = np.arange(24) % 3
    arrays = {"features": draw.normal(size=(24, 4)).astype(np.float32), "logits": draw.normal(size=(24, 3))}
    np.savez(file, label=labels, test_features=draw.normal(size=(6, 4)), test_label=labels[:6], **arrays)
    run, source = finished(file, data={"val": 0}), read(file)
    for form, path in (("npz", "npz/train.npz"), ("parquet", "parquet")):
        noisyrun.export(run, form, tmp_path / form)
        found = read(tmp_path / path)
        assert torch.equal(found.train.features, source.train.features)
        assert torch.equal(found.train.logits, source.train.logits)
        assert torch.equal(found.test.features, source.test.features)
        assert found.train.labels.single.tolist() == [1, 2, 0, *labels[3:]]
        assert found.task.classes == source.task.classes
    noisyrun.export(run, "manifest", tmp_path / "table")
    frame = pq.read_table(tmp_path / "table" / "train.parquet").to_pandas()
    assert frame["label"].tolist() == list("120") + [str(c) for c in labels[3:]]
    for form in ("folder", "shards"):
        with pytest.raises(UserError, match="features"):
            noisyrun.export(run, form, tmp_path / "no")


@pytest.mark.parametrize("change", ["labels", "image", "gone"])
def test_an_export_of_data_that_changed_is_refused(folder, finished, tmp_path, change):
    run = finished(folder)
    image = folder / "train" / "cat" / "1.png"
    if change == "image":
        image.write_bytes((folder / "train" / "cat" / "2.png").read_bytes())
    elif change == "labels":
        image.rename(folder / "train" / "dog" / "one.png")
    else:
        image.unlink()
    with pytest.raises(UserError, match=r"the data changed since the run in .*run"):
        noisyrun.export(run, "parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_that_was_moved_is_found_where_it_is_said_to_be(folder, finished, tmp_path):
    run = finished(folder)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="no file or folder"):
        noisyrun.export(run, "parquet", tmp_path / "out")
    noisyrun.export(run, "parquet", tmp_path / "out", {"dataset": str(tmp_path / "elsewhere")})
    assert len(again(tmp_path / "out", "parquet").train) == 24


def test_labels_of_another_run_are_refused(folder, finished, tmp_path):
    run = finished(folder)
    table = pq.read_table(run / "labels.parquet")
    pq.write_table(table.slice(1), run / "labels.parquet")
    with pytest.raises(UserError, match="of other samples"):
        noisyrun.export(run, "parquet", tmp_path / "out")


def test_a_run_without_a_decision_has_nothing_to_drop(folder, finished, tmp_path):
    from noisyrun.engine.label_state import LabelState

    run = finished(folder, lambda train: LabelState.initial(train.labels))
    with pytest.raises(UserError, match=r"--drop wrong: no method .* --min-weight"):
        noisyrun.export(run, "parquet", tmp_path / "out", {"drop": "wrong"})


@pytest.mark.parametrize("link", ["hard", "symlink", "copy"])
@pytest.mark.parametrize("form", ["folder", "manifest"])
def test_images_are_linked_or_copied(folder, finished, tmp_path, form, link):
    noisyrun.export(finished(folder), form, tmp_path / "out", {"link": link})
    files = [path for path in (tmp_path / "out").rglob("*.png") if "train" in path.parts]
    assert len(files) == 24
    originals = {os.stat(path).st_ino for path in folder.rglob("*.png")}
    assert all((os.stat(path).st_ino in originals) == (link != "copy") for path in files)
    assert all(path.is_symlink() == (link == "symlink") for path in files)
    assert len(read(tmp_path / "out").train) == 24


def test_names_of_classes_lead_nowhere_and_collide_nowhere(shop, finished, tmp_path):
    names = ["../../etc/passwd", "CON", "con", "a/b", "a\\b", ".hidden", "ü" * 80, "tab\tname", "", "x."]
    assert len({name.casefold() for name in safe_names(tuple(names))}) == len(names)
    labels = [name or "y" for name in names] * 3
    run = finished(shop({"label": labels}), data={"val": 0})
    noisyrun.export(run, "folder", tmp_path / "out")
    folders = list((tmp_path / "out" / "train").iterdir())
    assert sum(path.is_dir() for path in folders) == len(names)
    assert not any(set(path.name) & set('<>:"/\\|?*\t') or path.name.startswith(".") for path in folders)
    assert all(len(path.name.encode()) <= 110 for path in folders)
    assert {path.name for path in tmp_path.iterdir()} == {"out", "run", "shop"}
    assert read(tmp_path / "out").task.num_classes == len(names)


@pytest.mark.parametrize(("form", "file"), [("manifest", "/train.parquet"), ("folder", ""), ("parquet", "")])
def test_the_command_that_reads_an_export_can_be_copied_to_a_shell(folder, finished, tmp_path, form, file):
    to = tmp_path / "my photos"
    last = noisyrun.export(finished(folder), form, to).lines[-1]
    assert f"noisyrun --dataset '{to}{file}'" in last


@IMAGES
def test_nothing_is_written_over_and_nothing_half_written_is_left(folder, finished, tmp_path, form, monkeypatch):
    run = finished(folder)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="--to"):
        noisyrun.export(run, form, tmp_path / "full")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("noisyrun.exports.tables.write_text", fail)
    monkeypatch.setattr("noisyrun.data.pack.write.write_text", fail)
    with pytest.raises(UserError, match="out"):
        noisyrun.export(run, form, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"


def test_datasets_reads_an_image_folder_with_what_stands_beside_it(folder, finished, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    noisyrun.export(finished(folder), "folder", tmp_path / "out")
    found = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    frame = table_of(tmp_path / "out", "folder").sort_values("index")
    rows = sorted(zip(found["train"]["index"], found["train"]["label"], found["train"]["weight"], strict=True))
    assert [label for _, label, _ in rows] == frame["label"].tolist()
    assert found["test"].num_rows == 6


def test_a_run_that_has_not_finished_has_nothing_to_export(folder, finished, tmp_path):
    run = finished(folder)
    (run / "status.json").write_text('{"status": "interrupted"}')
    with pytest.raises(UserError, match=r"has not finished \(it is interrupted\): noisyrun resume"):
        noisyrun.export(run, "parquet", tmp_path / "out")


def test_the_command_says_what_it_wrote_and_refuses_what_it_does_not_know(folder, finished, tmp_path, capsys):
    run = str(finished(folder, data={"val": 0}))
    assert main(["export", run, "parquet", "--to", str(tmp_path / "out"), "--drop", "wrong"]) == 0
    said = capsys.readouterr().out
    assert "train: 22 samples, 3 labels corrected" in said
    assert "left out: 2 labels that are called wrong" in said
    for words, line in (
        ([run, "parqet", "--to", "x"], "no format 'parqet' (did you mean parquet?)"),
        ([run, "parquet"], "say where to"),
        ([run, "parquet", "--to", "x", "--dropp", "wrong"], "--dropp: no such option here"),
        ([run, "parquet", "--to", "x", "--min-weight", "-1"], "--min-weight: must be a number above 0"),
        ([run, "folder", "--to", "x", "--link", "soft"], "--link: must be hard or symlink or copy"),
        ([str(tmp_path), "parquet", "--to", "x"], "not the folder of a run"),
        ([run], "name the run, then the format"),
    ):
        assert main(["export", *words]) == 2
        assert line in capsys.readouterr().err
    assert main(["export", "--help"]) == 0


def test_an_export_is_trained_on_and_exported_in_turn(tmp_path):
    file, labels = tmp_path / "f.npz", np.arange(60) % 3
    features = np.eye(3)[labels] + 0.1 * np.random.default_rng(0).normal(size=(60, 3))
    np.savez(file, features=features.astype(np.float32), label=labels)
    settings = {"epochs": 1, "tracking": "none", "device": "cpu", "batch_size": 20, "backbone": "features"}
    first = noisyrun.run({**settings, "dataset": str(file), "out": str(tmp_path / "first")})
    noisyrun.export(first.folder, "parquet", tmp_path / "clean")
    second = noisyrun.run({**settings, "dataset": str(tmp_path / "clean"), "out": str(tmp_path / "second")})
    assert second.labels["index"].tolist() == first.labels["index"].tolist()
    noisyrun.export(second.folder, "npz", tmp_path / "cleaner")
    assert torch.equal(read(tmp_path / "cleaner" / "train.npz").train.features, read(file).train.features)


def test_a_run_that_lost_its_configuration_is_not_taken_for_a_detection(folder, finished, tmp_path):
    run = finished(folder)
    (run / "config.json").unlink()
    for form, to in (("parquet", "out"), ("safetensors", "m.safetensors")):
        with pytest.raises(UserError, match=r"config\.json is missing"):
            noisyrun.export(run, form, tmp_path / to)


def test_what_was_detected_on_features_is_exported_as_well(tmp_path, finished):
    file, labels = tmp_path / "f.npz", np.arange(24) % 3
    np.savez(file, features=np.random.default_rng(0).normal(size=(24, 4)), label=labels)
    run = finished(file, data={"val": 0})
    summary = json.loads((run / "summary.json").read_text())
    summary["config"]["data"]["val"] = 0.1  # which a detection does not mind
    (run / "summary.json").write_text(json.dumps(summary))
    for name in ("config.json", "status.json"):
        (run / name).unlink()
    noisyrun.export(run, "npz", tmp_path / "out", {"drop": "wrong"})
    assert len(read(tmp_path / "out" / "train.npz").train) == 22
    for form, to, why in (("shards", "t", "features and no images"), ("safetensors", "m.safetensors", "no network")):
        with pytest.raises(UserError, match=why):
            noisyrun.export(run, form, tmp_path / to)
