"""Networks of finished runs put together: at the end of a run, from its folder, and what does not fit."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import noisyrun
from noisyrun.api import UserError
from noisyrun.cli import main
from noisyrun.report.console import Console

FEW = {"tracking": "none", "data.subset": 200, "epochs": 1, "backbone": "small-cnn", "backbone.width": 4}


def run(out, **changes):
    settings = FEW | {"out": str(out)} | {name.replace("__", "."): value for name, value in changes.items()}
    return noisyrun.run(settings, console=Console(quiet=True))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two runs on digits that differ in their seed."""
    where = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        run(where / f"s{seed}", seed=seed)
    return where


@pytest.fixture(scope="module")
def on_features(tmp_path_factory):
    """A file of features of three classes, and the folder of a run on it."""
    where = tmp_path_factory.mktemp("features")
    draw = np.random.default_rng(0)
    labels = np.arange(120) % 3
    features = draw.normal(size=(120, 6)).astype(np.float32) + 3 * np.eye(3, 6, dtype=np.float32)[labels]
    halves = {"features": features[:80], "noisy_label": labels[:80]}
    np.savez(where / "f.npz", **halves, test_features=features[80:], test_label=labels[80:])
    noisyrun.run(settings_on(where, where / "r"), console=Console(quiet=True))
    return where


def settings_on(where, out):
    return {"tracking": "none", "dataset": str(where / "f.npz"), "epochs": 12, "out": str(out)}


def test_a_run_averaged_with_itself_is_itself(folders):
    found = noisyrun.evaluate(folders / "s0", {"eval.ensemble": [folders / "s0"]})
    assert found["test"] == found["plain"]
    last = json.loads((folders / "s0" / "summary.json").read_text())
    assert found["plain"]["accuracy"] == last["accuracy"]["last"]
    assert found["val"]["accuracy"] == last["history"][-1]["val_accuracy"]
    assert found["shown"] == "2 networks"


def test_a_run_reports_views_and_ensemble_beside_the_plain_figure(folders, tmp_path, capsys):
    told = Console()
    settings = FEW | {"out": str(tmp_path / "out"), "eval.crops": 5, "eval.ensemble": [folders / "s1"]}
    done = noisyrun.run(settings, console=told).summary
    assert done["evaluation"]["shown"] == "5 crops, 2 networks"
    assert done["evaluation"]["plain"]["accuracy"] == done["accuracy"]["last"]
    assert done["evaluation"]["val"] == {}  # the other run has trained on other samples
    assert done["evaluation"]["seconds"] > 0
    assert "after the last epoch, with 5 crops, 2 networks" in capsys.readouterr().out
    settings = {"eval.crops": 5, "eval.ensemble": [folders / "s1"]}
    found = noisyrun.evaluate(folders / "s0", settings)  # the same run, but for what it evaluates at the end
    assert found["test"] == done["evaluation"]["test"]
    assert found["test"] != found["plain"]


def test_the_baseline_is_shown_the_same_views(tmp_path):
    done = run(tmp_path / "out", baseline=True, eval__flip=True).summary
    assert done["evaluation"]["baseline"] == done["evaluation"]["test"]  # nothing here judges labels
    assert done["evaluation"]["val"]


def test_plain_runs_have_no_second_evaluation(folders):
    assert json.loads((folders / "s0" / "summary.json").read_text())["evaluation"] is None


def test_the_verb_prints_a_table_or_json(folders, capsys):
    assert main(["evaluate", str(folders / "s0"), "--eval.flip", "--eval.scales", "1,1.25"]) == 0
    out = capsys.readouterr().out
    assert "mirrored, 2 scales" in out
    assert "gain" in out
    assert main(["evaluate", str(folders / "s0"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["views"] == 1
    assert found["test"] == found["plain"]


def test_features_are_averaged_over_networks_and_have_no_crops(on_features, tmp_path):
    settings = settings_on(on_features, tmp_path / "out")
    done = noisyrun.run(settings | {"eval.ensemble": [on_features / "r"]}, console=Console(quiet=True)).summary
    assert done["evaluation"]["test"] == pytest.approx(done["evaluation"]["plain"], abs=1e-6)
    assert done["evaluation"]["plain"]["accuracy"] > 0.7
    for field, value in (("crops", 10), ("flip", True), ("scales", [1.0, 1.2])):
        with pytest.raises(UserError, match=f"^--eval.{field}: needs images.*--eval.ensemble$"):
            noisyrun.run(settings_on(on_features, tmp_path / "no") | {f"eval.{field}": value})
    assert not (tmp_path / "no").exists()


def refusal(folder, out):
    """What a run says, before its folder is made, to an ensemble with a folder."""
    with pytest.raises(UserError) as refused:
        run(out, eval__ensemble=[folder])
    assert not out.exists()
    line = str(refused.value)
    assert "\n" not in line
    assert line.startswith(f"--eval.ensemble: {folder}")
    return line


def test_what_does_not_fit_is_refused_before_training(folders, on_features, tmp_path):
    out = tmp_path / "out"
    assert "not the folder of a run" in refusal(tmp_path / "nothing", out)
    assert "3 classes, but the data has 10" in refusal(on_features / "r", out)

    other = shutil.copytree(folders / "s0", tmp_path / "other")
    (other / "status.json").write_text('{"status": "interrupted"}')
    assert f"(interrupted); go on with: noisyrun resume {other}" in refusal(other, out)

    bare = shutil.copytree(folders / "s0", tmp_path / "bare")
    (bare / "checkpoint.safetensors").unlink()
    assert "no such checkpoint" in refusal(bare, out)
    (bare / "checkpoint.safetensors").write_bytes(b"PK\x03\x04 a pickle")
    assert "refused unopened" in refusal(bare, out)

    strange = shutil.copytree(folders / "s0", tmp_path / "strange")
    config = json.loads((strange / "config.json").read_text())
    (strange / "config.json").write_text(json.dumps(config | {"weighter": {"nowhere": {}}}))
    assert "its network cannot be built: " in refusal(strange, out)
    assert "'nowhere'" in refusal(strange, out)
    (strange / "config.json").write_text(json.dumps(config | {"backbone": {"small-cnn": {"width": 8}}}))
    assert "shape" in refusal(strange, out)


def test_a_plan_refuses_an_ensemble_that_a_run_would_refuse(folders, tmp_path, capsys):
    words = ["plan", "--no-cost", "--tracking", "none", "--data.subset", "200", "--eval.ensemble"]
    assert main([*words, str(folders / "s0")]) == 0
    assert main([*words, str(tmp_path / "nothing")]) == 2
    assert "--eval.ensemble: " in capsys.readouterr().err


def test_images_of_another_size_are_refused(folders, tmp_path):
    with pytest.raises(
        UserError, match=r"^--eval.ensemble: .*s0: is a run on images of 1 × 8 × 8, but .* 1 × 12 × 12$"
    ):
        run(tmp_path / "out", data__image_size=12, eval__ensemble=[folders / "s0"])


def test_the_verb_refuses_what_training_alone_could_change(folders):
    with pytest.raises(UserError, match=r"^epochs: nothing that evaluating"):
        noisyrun.evaluate(folders / "s0", {"epochs": 3})
    assert main(["evaluate", str(folders / "none")]) == 2
    assert main(["evaluate"]) == 2
