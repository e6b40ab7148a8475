"""Predictions: the same as a run's own evaluation, from folders, files and data sets, in files and on a terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile

import numpy as np
import photo_fakes
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import noisyrun
from noisyrun.api import UserError
from noisyrun.cli import main
from noisyrun.config.resolve import resolve
from noisyrun.data import load
from noisyrun.engine.ensemble import load_member
from noisyrun.engine.evaluate import probabilities
from noisyrun.engine.views import Views
from noisyrun.exports.model import of_run
from noisyrun.prediction.batches import batches
from noisyrun.prediction.inputs import Item
from noisyrun.report.console import Console

QUIET = Console(quiet=True)
SMALL = {"tracking": "none", "epochs": 2, "backbone": "small-cnn", "backbone.width": 4, "backbone.depth": 2}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photo_fakes.make(tmp_path_factory.mktemp("photos"))


def train(photos, out, **more):
    noisyrun.run(SMALL | {"dataset": str(photos), "data.image_size": 16, "out": str(out), **more}, console=QUIET)
    return out


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    return train(photos, tmp_path_factory.mktemp("runs") / "photos")


def evaluated(run):
    """Probabilities of a run's own evaluation, and its names of the images."""
    settings = resolve(config=run / "config.json").settings
    data = load(settings, to_train=False)
    member = load_member(run, data, settings, torch.device("cpu"))
    found = torch.cat([part for _, part in probabilities([member], data.test, Views())])
    return found.numpy()


def by_class(table, classes):
    """Probabilities [N, C] of a table that names all classes."""
    rows = [dict(zip(row["labels"], row["probabilities"])) for row in table.to_pylist()]
    return np.array([[row[name] for name in classes] for row in rows])


#: Images held decoded and brought to another size after that; decoded to it from files; and neither.
SHOWN = {
    "plain": ({}, None),
    "held": ({"stages": [{"name": "a", "epochs": 2, "resolution": 20}]}, None),
    "files": ({"stages": [{"name": "a", "epochs": 2, "resolution": 20}]}, 0),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_a_runs_own_test_images_are_classified_as_it_classified_them(kind, photos, tmp_path, monkeypatch):
    settings, resident = SHOWN[kind]
    if resident is not None:
        monkeypatch.setattr("noisyrun.data.images.RESIDENT_BYTES", resident)
    run = train(photos, tmp_path / "run", **settings)
    summary = json.loads((run / "summary.json").read_text())
    noisyrun.export(run, "safetensors", tmp_path / "m.safetensors")
    own = evaluated(run)
    assert own.std() > 0.01  # images differ, and so would other ways to show them
    for model in (run, tmp_path / "m.safetensors"):
        found = noisyrun.predict(model, photos / "test", top=3, batch_size=4)
        np.testing.assert_allclose(by_class(found.table, photo_fakes.CLASSES), own, atol=1e-6, rtol=0)
        assert found.measures["accuracy"] == pytest.approx(summary["accuracy"]["last"], abs=1e-12)
        assert found.judged == 18


def test_sizes_made_from_held_images_and_from_files_differ(photos, tmp_path, monkeypatch):
    made = {}
    for kind in ("held", "files"):
        settings, resident = SHOWN[kind]
        with monkeypatch.context() as patched:
            if resident is not None:
                patched.setattr("noisyrun.data.images.RESIDENT_BYTES", resident)
            card = of_run(train(photos, tmp_path / kind, **settings)).card
        made[kind] = (card.preprocessing.height, card.preprocessing.side, card.preprocessing.size)
    assert made == {"held": (16, 20, (20, 20)), "files": (20, None, (20, 20))}


def test_a_folder_is_read_at_any_depth(run, photos):
    assert noisyrun.predict(run, photos).images == len(list(photos.rglob("*.png")))


def test_an_onnx_graph_predicts_the_same_in_either_form(run, photos, tmp_path):
    pytest.importorskip("onnxruntime")
    expected = by_class(noisyrun.predict(run, photos / "test", top=3).table, photo_fakes.CLASSES)
    for raw in (False, True):
        noisyrun.export(run, "onnx", tmp_path / f"{raw}.onnx", {"raw": raw})
        found = noisyrun.predict(tmp_path / f"{raw}.onnx", photos / "test", top=3, batch_size=5)
        np.testing.assert_allclose(by_class(found.table, photo_fakes.CLASSES), expected, atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="on the CPU, in full precision"):
        noisyrun.predict(tmp_path / "True.onnx", photos / "test", amp="bf16")


def test_a_run_in_half_precision_is_predicted_in_it(photos, tmp_path):
    run = train(photos, tmp_path / "run", **{"train.amp": "bf16"})
    table = noisyrun.predict(run, photos / "test", top=3).table
    np.testing.assert_allclose(by_class(table, photo_fakes.CLASSES), evaluated(run), atol=1e-6, rtol=0)
    full = noisyrun.predict(run, photos / "test", top=3, amp="off").table
    assert not np.array_equal(by_class(full, photo_fakes.CLASSES), by_class(table, photo_fakes.CLASSES))


# --- what may be predicted ------------------------------------------------------------------------------------------


def encoded(photos, count=4):
    return [path.read_bytes() for path in sorted((photos / "test").rglob("*.png"))[:count]]


def unlabelled(kind, photos, where):
    """The same four images without labels, in another form."""
    images = encoded(photos)
    for number, content in enumerate(images):
        (where / f"{number}.png").write_bytes(content)
    if kind == "files":
        return [str(where / f"{number}.png") for number in range(4)]
    if kind == "folder":
        return where
    if kind == "manifest":
        (where / "list.csv").write_text("path\n" + "".join(f"{number}.png\n" for number in range(4)))
        return where / "list.csv"
    if kind == "parquet":
        pq.write_table(pa.table({"image": pa.array(images, pa.binary())}), where / "images.parquet")
        return where / "images.parquet"
    with tarfile.open(where / "shard-000.tar", "w") as tar:
        for number, content in enumerate(images):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return where / "shard-000.tar"


@pytest.mark.parametrize("kind", ["files", "folder", "manifest", "parquet", "shards"])
def test_images_without_labels_are_predicted_in_any_form(kind, run, photos, tmp_path):
    found = noisyrun.predict(run, unlabelled(kind, photos, tmp_path), top=3)
    expected = noisyrun.predict(run, photos / "test", top=3).table.slice(0, 4)
    np.testing.assert_allclose(
        by_class(found.table, photo_fakes.CLASSES), by_class(expected, photo_fakes.CLASSES), atol=1e-6
    )
    assert found.measures == {}
    assert found.frame["given"].isna().all()


def test_labels_of_a_data_set_are_told_by_name_and_its_test_set_is_what_is_predicted(run, photos, tmp_path):
    lines = [f"test/{name}/0.png,{name}\n" for name in photo_fakes.CLASSES]
    (photos / "list.csv").write_text("path,label\n" + "".join(lines) + "test/red/1.png,crimson\n")
    found = noisyrun.predict(run, photos / "list.csv")
    assert found.judged == 3  # the model knows no crimson
    assert found.frame["given"].map(lambda given: None if given is None else list(given)).tolist()[:2] == [
        ["blue"],
        ["green"],
    ]
    (photos / "list.csv").unlink()
    names = ["red", "blue", "green"]  # in another order than the model's
    images = encoded(photos, 2)
    features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    schema = pa.schema([("image", pa.binary()), ("label", pa.int64())])
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    for split, labels in (("train", [0, 2]), ("test", [1, 1])):
        pq.write_table(pa.table({"image": images, "label": labels}, schema), tmp_path / f"{split}.parquet")
    found = noisyrun.predict(run, tmp_path)
    assert [list(given) for given in found.frame["given"]] == [["blue"], ["blue"]]
    found = noisyrun.predict(run, tmp_path, split="train")
    assert [list(given) for given in found.frame["given"]] == [["red"], ["green"]]


def test_folders_are_named_after_classes_or_wordnet_ids(tmp_path_factory):
    where = tmp_path_factory.mktemp("digits")
    settings = SMALL | {"data.subset": 100, "epochs": 1, "out": str(where / "run")}
    noisyrun.run(settings, console=QUIET)
    for folder in ("n13744304/deep/er", "four", "no-class"):
        (where / "images" / folder).mkdir(parents=True)
        Image.new("L", (8, 8), 90).save(where / "images" / folder / "a.png")
    found = noisyrun.predict(where / "run", where / "images")
    given = {row["path"].split("images/")[1]: row["given"] for row in found.table.to_pylist()}
    assert given == {"n13744304/deep/er/a.png": ["four"], "four/a.png": ["four"], "no-class/a.png": None}
    assert found.judged == 2
    assert "top5" in found.measures
    last = json.loads((where / "run" / "summary.json").read_text())["accuracy"]["last"]
    assert noisyrun.predict(where / "run", "digits").measures["accuracy"] == pytest.approx(last, abs=1e-12)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A run on features of which any number of three classes hold."""
    where = tmp_path_factory.mktemp("several")
    draw = np.random.default_rng(0)
    labels = (draw.random((160, 3)) < 0.4).astype(np.int64)
    features = (draw.normal(size=(160, 6)) + 4 * np.pad(labels, ((0, 0), (0, 3)))).astype(np.float32)
    halves = {"features": features[:100], "noisy_label": labels[:100]}
    np.savez(where / "f.npz", **halves, test_features=features[100:], test_label=labels[100:])
    settings = {"tracking": "none", "dataset": str(where / "f.npz"), "epochs": 30, "out": str(where / "run")}
    noisyrun.run(settings, console=QUIET)
    np.savez(where / "alone.npz", features=features[100:])
    return where, labels[100:]


def test_of_several_labels_those_above_a_threshold_are_predicted(several, tmp_path):
    where, truth = several
    found = noisyrun.predict(where / "run", where / "f.npz", split="test", threshold=0.3)
    own = evaluated(where / "run")
    names = found.card.classes
    said = np.array([[name in row for name in names] for row in found.frame["labels"]])
    assert np.array_equal(said, own >= np.float32(0.3))
    assert "label" not in found.table.column_names
    first = found.table.to_pylist()[0]
    assert first["probabilities"] == sorted(first["probabilities"], reverse=True)
    hits = (said & (truth == 1)).sum()
    assert found.measures["precision"] == pytest.approx(hits / said.sum())
    assert found.measures["recall"] == pytest.approx(hits / truth.sum())
    noisyrun.predict(where / "run", where / "alone.npz", threshold=0.3, out=tmp_path / "p.csv")
    cells = [row["labels"] for row in csv.DictReader((tmp_path / "p.csv").open())]
    assert cells == ["|".join(row) for row in found.frame["labels"]]


def test_what_does_not_fit_the_model_is_one_line(run, several, photos, tmp_path):
    where, _ = several
    np.savez(tmp_path / "wide.npz", features=np.zeros((3, 9), np.float32))
    for model, images, says in (
        (where / "run", photos / "test", "takes features, not images"),
        (where / "run", tmp_path / "wide.npz", "features are 9 wide, the model takes 6"),
        (run, where / "alone.npz", "has features, but the model takes images"),
        (run, "digits", "images have 1 channels, the model takes 3"),
        (run, tmp_path / "nowhere", "no file or folder"),
        (run, [], "name the images"),
        (tmp_path, photos, "not the folder of a run"),
    ):
        with pytest.raises(UserError, match=says) as refused:
            noisyrun.predict(model, images)
        assert "\n" not in str(refused.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        noisyrun.predict(run, tmp_path / "empty")


# --- what cannot be read, and what is written ---------------------------------------------------------------------


@pytest.fixture
def spoilt(photos, tmp_path):
    """Two good images and two that cannot be read, one of which has a name that would colour a terminal."""
    where = tmp_path / "spoilt"
    where.mkdir()
    for name, content in zip(("=b.png", "a.png"), encoded(photos, 2)):
        (where / name).write_bytes(content)
    (where / "\x1b[31mred.png").write_bytes(b"nothing")
    (where / "cut.png").write_bytes(encoded(photos, 1)[0][:200])
    (where / "notes.txt").write_text("no image")
    return where


def test_unreadable_images_have_a_row_that_says_why(run, spoilt):
    found = noisyrun.predict(run, spoilt)
    assert (found.images, found.unreadable) == (2, 2)
    rows = {row["path"].rpartition("/")[2]: row for row in found.table.to_pylist()}
    assert len(rows) == 4
    assert rows["\x1b[31mred.png"]["error"] == "not an image that Pillow knows"
    assert rows["cut.png"]["error"]
    assert rows["cut.png"]["label"] is None
    assert rows["a.png"]["error"] is None
    assert [name.rpartition("/")[2] for name, _ in found.named] == ["\x1b[31mred.png", "cut.png"]


def test_a_pipe_among_images_is_not_waited_for(run, spoilt):
    os.mkfifo(spoilt / "pipe.png")
    found = noisyrun.predict(run, spoilt)
    assert dict(found.named)[str(spoilt / "pipe.png")] == "not a regular file"
    with pytest.raises(UserError, match="not a regular file"):
        noisyrun.predict(run, spoilt / "pipe.png", on_bad_image="stop")


def test_unreadable_images_end_the_prediction_where_that_is_asked_for(run, spoilt, tmp_path):
    out = tmp_path / "p.parquet"
    with pytest.raises(UserError, match=r"cannot read .*red\.png: not an image.*--on-bad-image row"):
        noisyrun.predict(run, spoilt, out=out, on_bad_image="stop")
    assert [path.name for path in tmp_path.iterdir()] == ["spoilt"]


def test_rows_are_the_same_in_every_form(run, spoilt, tmp_path):
    found = noisyrun.predict(run, spoilt, top=2).table.to_pylist()
    for suffix in ("parquet", "jsonl", "csv"):
        noisyrun.predict(run, spoilt, top=2, out=tmp_path / f"p.{suffix}", batch_size=1)
    assert pq.read_table(tmp_path / "p.parquet").to_pylist() == found
    lines = (tmp_path / "p.jsonl").read_text().splitlines()
    assert [json.loads(line)["labels"] for line in lines] == [row["labels"] for row in found]
    rows = list(csv.DictReader((tmp_path / "p.csv").open(newline="")))
    assert list(rows[0]) == ["path", "label", "probability", "label_2", "probability_2", "given", "error"]
    assert [row["label"] or None for row in rows] == [row["label"] for row in found]
    numbers = [float(row["probability"]) for row in rows if row["probability"]]
    assert numbers == pytest.approx([row["probability"] for row in found if row["label"]], rel=1e-5)


def test_no_cell_of_a_csv_is_a_formula(run, spoilt, tmp_path, monkeypatch):
    monkeypatch.chdir(spoilt)
    noisyrun.predict(run, ["=b.png"], out=tmp_path / "p.csv")
    (row,) = csv.DictReader((tmp_path / "p.csv").open(newline=""))
    assert row["path"] == "./=b.png"
    model = of_run(run)
    model.card = model.card.model_copy(update={"classes": ("blue", "=cmd", "red")})
    with pytest.raises(UserError, match="class '=cmd' would be a formula"):
        noisyrun.predict(model, spoilt, out=tmp_path / "q.csv")
    assert not (tmp_path / "q.csv").exists()


def test_a_file_in_the_way_stays_unless_it_may_be_replaced(run, spoilt, tmp_path):
    out = tmp_path / "p.jsonl"
    out.write_text("mine")
    with pytest.raises(UserError, match="is there already; --overwrite replaces it"):
        noisyrun.predict(run, spoilt, out=out)
    assert out.read_text() == "mine"
    noisyrun.predict(run, spoilt, out=out, overwrite=True)
    assert len(out.read_text().splitlines()) == 4
    with pytest.raises(UserError, match=r"--out: must end in \.parquet, \.csv, \.jsonl"):
        noisyrun.predict(run, spoilt, out=tmp_path / "p.xlsx")


def test_no_more_than_a_few_batches_are_read_ahead(run, photos):
    card = of_run(run).card
    content = encoded(photos, 1)[0]
    asked = 0

    def endless():
        nonlocal asked
        while True:
            asked += 1
            yield Item(str(asked), lambda: io.BytesIO(content))

    stream = batches(endless(), card, 4, workers=2)
    for number in range(1, 6):
        assert len(next(stream).rows) == 4
        assert asked <= 4 * (number + 2)
    stream.close()


def test_a_network_that_gives_no_numbers_says_so_in_each_row(run, spoilt):
    model = of_run(run)
    with torch.no_grad():
        model.network.classifier.bias.fill_(float("nan"))
    found = noisyrun.predict(model, spoilt)
    assert (found.images, found.unreadable) == (0, 4)
    assert "the network gives no finite number for it" in found.frame["error"].tolist()


# --- on a terminal --------------------------------------------------------------------------------------------------


def test_the_verb_shows_classes_accuracy_and_what_could_not_be_read(run, photos, spoilt, tmp_path, capsys):
    assert main(["predict", str(run), str(photos / "test"), "--out", str(tmp_path / "p.parquet")]) == 0
    out = capsys.readouterr().out
    assert "of 18 images by folders named after classes" in out
    assert "predicted class" in out
    assert str(tmp_path / "p.parquet") in out
    assert main(["predict", str(run), str(spoilt), "--top", "2"]) == 1
    out = capsys.readouterr().out
    assert "2 images could not be read" in out
    assert "\x1b" not in out
    assert "\ufffd[31mred.png: not an image that Pillow knows" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "predict: name a model, then images"),
        (["RUN"], "predict: name a model, then images"),
        (["RUN", "IMAGES", "--top", "none"], "--top: must be a number (got 'none')"),
        (["RUN", "IMAGES", "--top", "0"], "--top: must be at least 1 (got 0)"),
        (["RUN", "IMAGES", "--threshold", "2"], "--threshold: must be between 0 and 1 (got 2)"),
        (["RUN", "IMAGES", "--batch-size", "0"], "--batch-size: must be at least 1 (got 0)"),
        (["RUN", "IMAGES", "--on-bad-image", "skip"], "--on-bad-image: must be row or stop (got 'skip')"),
        (["RUN", "IMAGES", "--split", "test"], "--split: IMAGES is no data set with splits"),
        (["RUN", "IMAGES", "--epochs", "3"], "--epochs: no such option here"),
        (["RUN", "IMAGES", "--data.format", "folder"], "--data.format: is for a data set, and IMAGES is none"),
        (["RUN", "digits", "--data.formt", "x"], "--data.formt: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_word_is_one_line(words, says, run, photos, capsys):
    images = str(photos / "test")
    given = [{"RUN": str(run), "IMAGES": images}.get(word, word) for word in words]
    code = main(["predict", *given])
    told = capsys.readouterr()
    assert code == 2
    assert told.err.startswith(says.replace("IMAGES", images))
    assert told.err.count("\n") == 1
