"""A model as an ONNX graph: the same numbers as torch at any batch size, with its card in the metadata."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import noisyrun
from noisyrun.api import NoisyrunError, UserError
from noisyrun.cli import main
from noisyrun.data.sources import digits
from noisyrun.exports import onnx as exporter
from noisyrun.report.console import Console

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

QUIET = Console(quiet=True)
IMAGES = torch.from_numpy(digits.read().test.images)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs on a few digits, by normalisation."""
    where = tmp_path_factory.mktemp("runs")
    for norm in ("batch", "group"):
        settings = {"tracking": "none", "data.subset": 200, "epochs": 1, "backbone": "small-cnn"}
        settings |= {"backbone.width": 4, "backbone.depth": 2, "backbone.norm": norm, "out": str(where / norm)}
        noisyrun.run(settings, console=QUIET)
    return where


@pytest.fixture(scope="module")
def run(runs):
    return runs / "batch"


def outputs(path, inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_the_graph_gives_the_logits_of_torch_at_any_batch_size(norm, runs, tmp_path):
    run, path = runs / norm, tmp_path / "m.onnx"
    told = noisyrun.export(run, "onnx", path).lines
    model = noisyrun.load_model(run)
    for count in (1, 2, 7, 64):
        images = model.preprocess.normalise(IMAGES[:count])
        with torch.no_grad():
            expected = model(images)
        np.testing.assert_allclose(outputs(path, images.numpy()), expected, atol=1e-4, rtol=0)
    assert "opset 18, images float32 [N, 1, 8, 8], normalised → logits [N, 10]" in told[0]
    assert "checked against torch with onnxruntime" in told[1]


def test_the_raw_graph_takes_pixels_and_gives_probabilities(run, tmp_path):
    path = tmp_path / "m.onnx"
    noisyrun.export(run, "onnx", path, {"raw": True})
    model = noisyrun.load_model(run)
    with torch.no_grad():
        expected = model(model.preprocess.normalise(IMAGES[:9])).softmax(1)
    found = outputs(path, IMAGES[:9].permute(0, 2, 3, 1).contiguous().numpy())
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    card = json.loads(onnx.load(path).metadata_props[0].value)
    assert card["form"] == "pixels"
    assert card["classes"] == list(model.classes)


def test_a_graph_is_one_sound_file_that_says_nothing_of_this_machine(run, tmp_path):
    path = tmp_path / "m.onnx"
    noisyrun.export(run, "onnx", path)
    graph = onnx.load(path)
    onnx.checker.check_model(graph, full_check=True)
    assert [(one.domain, one.version) for one in graph.opset_import] == [("", 18)]
    assert b".py" not in path.read_bytes()
    assert [one.name for one in tmp_path.iterdir()] == ["m.onnx"]


@pytest.fixture(scope="module")
def on_features(tmp_path_factory):
    """A run with a hidden layer on features of three classes, of which any number hold."""
    where = tmp_path_factory.mktemp("features")
    draw = np.random.default_rng(0)
    labels = (draw.random((120, 3)) < 0.4).astype(np.int64)
    labels[labels.sum(1) == 0, 0] = 1
    features = (draw.normal(size=(120, 6)) + 4 * np.pad(labels, ((0, 0), (0, 3)))).astype(np.float32)
    halves = {"features": features[:80], "noisy_label": labels[:80]}
    np.savez(where / "f.npz", **halves, test_features=features[80:], test_label=labels[80:])
    settings = {"tracking": "none", "dataset": str(where / "f.npz"), "epochs": 30, "out": str(where / "run")}
    noisyrun.run({**settings, "backbone": "features", "backbone.hidden": [8]}, console=QUIET)
    return where


def test_a_graph_on_features_gives_the_logits_of_torch(on_features, tmp_path):
    path = tmp_path / "m.onnx"
    told = noisyrun.export(on_features / "run", "onnx", path).lines
    features = np.load(on_features / "f.npz")["test_features"]
    with torch.no_grad():
        expected = noisyrun.load_model(on_features / "run")(torch.from_numpy(features))
    np.testing.assert_allclose(outputs(path, features), expected, atol=1e-4, rtol=0)
    assert "features float32 [N, 6] → logits [N, 3]" in told[0]
    with pytest.raises(UserError, match=r"--raw: .* takes features"):
        noisyrun.export(on_features / "run", "onnx", tmp_path / "raw.onnx", {"raw": True})


def test_large_weights_stand_in_a_second_file(on_features, tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "INSIDE", 10)
    path = tmp_path / "m.onnx"
    noisyrun.export(on_features / "run", "onnx", path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]
    features = np.load(on_features / "f.npz")["test_features"]
    with torch.no_grad():
        expected = noisyrun.load_model(on_features / "run")(torch.from_numpy(features))
    np.testing.assert_allclose(outputs(path, features), expected, atol=1e-4, rtol=0)


def test_options_that_do_not_fit_are_one_line(on_features, tmp_path, capsys):
    run, to = str(on_features / "run"), str(tmp_path / "m.onnx")
    for words, says in (
        (["--opset", "11"], "--opset: must be a whole number of at least 18 (got 11)"),
        (["--rwa"], "--rwa: no option of an export to ONNX (did you mean --raw?)"),
        (["--raw", "yes"], "--raw: takes no value (got 'yes')"),
    ):
        assert main(["export", run, "onnx", "--to", to, *words]) == 2
        assert capsys.readouterr().err == says + "\n"
    assert list(tmp_path.iterdir()) == []


def test_without_the_packages_it_says_how_to_get_them(on_features, tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(UserError, match=r"needs onnxscript, not installed here: pip install 'noisyrun\[onnx\]'"):
        noisyrun.export(on_features / "run", "onnx", tmp_path / "m.onnx")
    monkeypatch.setattr(exporter, "find_spec", lambda name: None if name == "onnxruntime" else object())
    told = noisyrun.export(on_features / "run", "onnx", tmp_path / "m.onnx").lines
    assert told[1] == "not checked against torch: onnxruntime is not installed"
    monkeypatch.setattr("noisyrun.prediction.classifiers.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"onnxruntime, which is not installed: pip install 'noisyrun\[onnx\]'"):
        noisyrun.predict(tmp_path / "m.onnx", on_features / "f.npz")


def test_a_graph_that_gives_other_numbers_is_not_written(on_features, tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "_TOLERANCE", -1.0)
    with pytest.raises(NoisyrunError, match="the graph gives other numbers than torch"):
        noisyrun.export(on_features / "run", "onnx", tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_no_graph_can_hold_is_one_line(on_features, tmp_path, monkeypatch):
    def odd(self, inputs):
        return inputs[: int(inputs.sum() > 0) + 1]

    monkeypatch.setattr(exporter._Logits, "forward", odd)
    with pytest.raises(UserError, match="torch cannot write it as an ONNX graph") as refused:
        noisyrun.export(on_features / "run", "onnx", tmp_path / "m.onnx")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_is_not_what_its_card_says_is_one_line(on_features, tmp_path):
    path = tmp_path / "m.onnx"
    noisyrun.export(on_features / "run", "onnx", path)
    graph = onnx.load(path)
    card = json.loads(graph.metadata_props[0].value)
    for change in ({"features": 7}, {"classes": ["a", "b"]}, {"form": "pixels"}):
        graph.metadata_props[0].value = json.dumps({**card, **change})
        onnx.save(graph, path)
        with pytest.raises(UserError, match="its input or output is not what it says of itself"):
            noisyrun.predict(path, on_features / "f.npz")
    graph.metadata_props[0].value = "{"
    onnx.save(graph, path)
    with pytest.raises(UserError, match="what it says of the model is damaged"):
        noisyrun.predict(path, on_features / "f.npz")


def test_a_damaged_graph_is_one_line(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x08\x0a\x12\x07pyt")
    with pytest.raises(UserError, match=r"m\.onnx: damaged, or no ONNX model") as refused:
        noisyrun.predict(tmp_path / "m.onnx", "digits")
    assert "\n" not in str(refused.value)
