"""The main job from the command line to what it leaves, on real digits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.datasets import load_digits

import noisyrun
from noisyrun.api import EpochResult
from noisyrun.cli import main
from noisyrun.report.console import Console
from noisyrun.report.summary import Summary

#: A network and a number of digits that make an epoch a matter of a moment.
SMALL = [
    *("--data.subset", "240", "--batch-size", "48", "--device", "cpu", "--tracking", "none"),
    *("--backbone", "small-cnn", "--backbone.width", "4", "--backbone.depth", "2", "--backbone.blocks", "0"),
]
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MAIN = ["--weighter", "sinet", "--prototypes", "smp"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(out: str, *words: str) -> dict[str, Any]:
    """A run of the command line in this process; its summary, held against the schema."""
    assert main([*words, "--out", out]) == 0
    summary = json.loads(Path(out, "summary.json").read_text())
    Summary.model_validate(summary)
    return summary


def test_the_main_job_from_a_shell(tmp_path: Path) -> None:
    words = [*MAIN, "--corrector", "smp", *SMALL, "--epochs", "3", "--baseline", "--out", "out"]
    done = subprocess.run(
        [sys.executable, "-m", "noisyrun", *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert "igits" in first
    assert "40" in first
    assert "Traceback" not in done.stderr
    assert len([line for line in (done.stdout + done.stderr).splitlines() if line.startswith("epoch ")]) == 6
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    Summary.model_validate(summary)
    assert len(summary["history"]) == 3
    assert len(summary["rounds"]) == 2
    for measure in (summary["accuracy"], summary["baseline"]["accuracy"], summary["detection"]):
        assert all(value is not None and 0 <= value <= 1 for value in measure.values())
    assert summary["label_accuracy"]["before"] == pytest.approx(0.6, abs=0.08)
    assert summary["seconds"]["total"] > 0
    assert summary["peak_memory"]
    for name in summary["files"].values():
        assert (tmp_path / "out" / name).stat().st_size > 0
    assert {"curves.svg", "gallery.png"} <= set(summary["files"].values())
    assert {"noisyrun", "torch", "python", "api"} <= set(summary["versions"])
    assert any("noisyrun-sinet" in version for version in summary["versions"].values())
    assert not Path("runs").exists()


def test_labels_are_left_as_a_table_by_stable_index(tmp_path: Path) -> None:
    summary = run("out", *MAIN, "--corrector", "smp", *SMALL, "--epochs", "2")
    table = pq.read_table("out/labels.parquet").to_pandas()
    assert {"index", "observed", "corrected", "weight", "quality", "wrong"} <= set(table.columns)
    assert len(table) == summary["data"]["train"]
    assert table["index"].is_unique
    digits = load_digits().target[table["index"]]
    before, after = (float(np.mean(table[name] == digits)) for name in ("observed", "corrected"))
    assert before == pytest.approx(summary["label_accuracy"]["before"])
    assert after == pytest.approx(summary["label_accuracy"]["after"])


def comparable(summary: dict[str, Any]) -> dict[str, Any]:
    """What two runs of one seed must agree in."""
    timed = ("seconds", "images_per_second", "samples_per_second")
    history = [{k: v for k, v in epoch.items() if k not in timed} for epoch in summary["history"]]
    return {name: summary[name] for name in ("accuracy", "detection", "label_accuracy")} | {"history": history}


def test_same_seed_same_result_and_another_seed_another(tmp_path: Path) -> None:
    words = [*MAIN, "--corrector", "smp", *SMALL, "--epochs", "2"]
    first, second = run("a", *words), run("b", *words)
    other = run("c", *words, "--seed", "1")
    assert comparable(first) == comparable(second)
    assert pq.read_table("a/labels.parquet").equals(pq.read_table("b/labels.parquet"))
    assert comparable(other) != comparable(first)
    assert other["data"]["digests"]["labels"] != first["data"]["digests"]["labels"]


def test_from_python_as_from_the_command_line(tmp_path: Path) -> None:
    shell = run("a", *MAIN, *SMALL, "--epochs", "2")
    python = noisyrun.run(
        {
            "weighter": "sinet",
            "prototypes": "smp",
            "backbone": {"small-cnn": {"width": 4, "depth": 2, "blocks": 0}},
            "data": {"subset": 240},
            "batch_size": 48,
            "device": "cpu",
            "tracking": "none",
            "epochs": 2,
            "out": str(tmp_path / "b"),
        }
    )
    assert comparable(dict(python.summary)) == comparable(shell)
    assert len(python.labels) == shell["data"]["train"]
    assert len(python.history) == 2


def test_a_run_repeated_from_what_it_left_is_the_same_run(tmp_path: Path) -> None:
    first = run("a", *MAIN, *SMALL, "--epochs", "2")
    noise = Path("a/noise.parquet")
    assert noise.is_file()
    again = run("b", *MAIN, *SMALL, "--epochs", "2", "--data.noise-file", str(noise))
    assert again["data"]["digests"]["labels"] == first["data"]["digests"]["labels"]
    assert comparable(again) == comparable(first)


def blobs(path: Path, classes: int = 4, each: int = 60, wrong: float = 0.3) -> Path:
    """Features of well separated classes, some labelled wrong."""
    rng = np.random.default_rng(0)
    clean = np.repeat(np.arange(classes), each)
    centres = rng.normal(size=(classes, 16)) * 3
    points = centres[clean] + rng.normal(size=(len(clean), 16))
    noisy = np.where(rng.random(len(clean)) < wrong, (clean + rng.integers(1, classes, len(clean))) % classes, clean)
    test = np.repeat(np.arange(classes), 20)
    np.savez(
        path,
        features=points.astype(np.float32),
        noisy_label=noisy,
        clean_label=clean,
        test_features=(centres[test] + rng.normal(size=(len(test), 16))).astype(np.float32),
        test_clean_label=test,
    )
    return path


def test_a_run_on_features_alone(tmp_path: Path) -> None:
    file = blobs(tmp_path / "features.npz")
    words = ["--dataset", str(file), "--tracking", "none", "--device", "cpu", "--batch-size", "32", "--epochs", "6"]
    summary = run("out", *words, *MAIN, "--corrector", "smp")
    assert summary["accuracy"]["last"] > 0.9
    assert summary["label_accuracy"]["after"] > summary["label_accuracy"]["before"] + 0.1
    assert summary["detection"]["auroc"] > 0.9
    assert "noise" not in summary["data"]["digests"]


def test_detection_on_the_same_features(tmp_path: Path) -> None:
    file = blobs(tmp_path / "features.npz")
    assert main(["detect", "--features", str(file), *MAIN, "--corrector", "smp", "--out", "found"]) == 0
    summary = json.loads(Path("found/summary.json").read_text())
    Summary.model_validate(summary)
    table = pq.read_table("found/labels.parquet")
    assert table.num_rows == 240
    assert summary["label_accuracy"]["after"] > 0.9
    assert summary["detection"]["auroc"] > 0.9


def test_a_clean_subset_is_fine_tuned_on_at_the_end(tmp_path: Path) -> None:
    words = ["--epochs", "3", "--clean", "0.2", "--train.finetune-epochs", "1"]
    summary = run("out", *MAIN, *SMALL, *words)
    assert [epoch["stage"] for epoch in summary["history"]] == ["warmup", "rounds", "rounds", "finetune"]


def test_verification_labels_reach_the_methods(tmp_path: Path) -> None:
    plain = run("a", *MAIN, "--corrector", "smp", *SMALL, "--epochs", "2")
    verified = run("b", *MAIN, "--corrector", "smp", *SMALL, "--epochs", "2", "--verify", "0.5")
    assert plain["data"]["digests"]["labels"] == verified["data"]["digests"]["labels"]
    assert plain["detection"] != verified["detection"]


def test_a_run_stopped_by_ctrl_c_goes_on_to_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*MAIN, "--corrector", "smp", *SMALL, "--epochs", "3"]
    whole = run("whole", *words)
    original = Console.epoch

    def stop_after_two(self: Console, result: EpochResult, *args: Any, **kwargs: Any) -> None:
        original(self, result, *args, **kwargs)
        if result.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Console, "epoch", stop_after_two)
        assert main([*words, "--out", "broken"]) == 130
    assert not Path("broken/summary.json").exists()
    assert main(["resume", "broken"]) == 0
    resumed = json.loads(Path("broken/summary.json").read_text())
    assert comparable(resumed) == comparable(whole)
    assert pq.read_table("broken/labels.parquet").equals(pq.read_table("whole/labels.parquet"))


def recipes() -> list[str]:
    from noisyrun.plugins import discover

    return sorted(discover().recipes)


@pytest.mark.parametrize("recipe", recipes())
def test_every_recipe_resolves(recipe: str) -> None:
    from noisyrun.config.resolve import RunConfig, resolve

    config = resolve({"recipe": recipe})
    assert RunConfig.from_dict(json.loads(json.dumps(config.as_dict()))).as_dict() == config.as_dict()
    assert config.settings.stages or config.sockets["corrector"]


def test_plain_training_beats_chance_and_leaves_labels_as_they_are(tmp_path: Path) -> None:
    torch.manual_seed(99)  # what the caller drew before must not matter
    words = ["--dataset", "digits", "--tracking", "none", "--device", "cpu", "--epochs", "4", "--batch-size", "16"]
    summary = run("out", *words, "--data.subset", "400", "--backbone", "small-cnn", "--backbone.width", "8")
    assert summary["accuracy"]["last"] > 0.25
    assert summary["detection"]["auroc"] is None
    assert summary["rounds"] == []
