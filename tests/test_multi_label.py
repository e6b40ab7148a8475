"""Several labels a sample, from the data to the report: training, methods, resume, detection, refusals."""

from __future__ import annotations

import json
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from noisyrun.api import Needs
from noisyrun.api.hooks import EpochResult
from noisyrun.cli import main
from noisyrun.config.resolve import resolve
from noisyrun.report.console import Console
from noisyrun.report.summary import Summary

ROOT = Path(__file__).resolve().parent.parent
N, C, D = 240, 5, 12
CLASSES = [f"class-{c}" for c in range(C)]
SMALL = ["--tracking", "none", "--device", "cpu", "--batch-size", "24", "--data.val", "0.2"]
NOISE = ["--noise", "flip:0.3,0.1"]
METHODS = ["--weighter", "sinet", "--prototypes", "smp"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features that are the sum of those of their classes, one to three of five, and clean labels."""
    draw = np.random.default_rng(0)
    centres = 4 * draw.normal(size=(C, D))
    hot = np.zeros((N + 80, C), bool)
    for row in hot:
        row[draw.choice(C, draw.integers(1, 4), replace=False)] = True
    points = (hot @ centres + draw.normal(size=(len(hot), D))).astype(np.float32)
    clean, test = hot.astype(np.uint8)[:N], np.where(draw.random((80, C)) < 0.2, -1, hot[N:]).astype(np.int8)
    file = tmp_path_factory.mktemp("several") / "several.npz"
    arrays = {"features": points[:N], "labels": clean, "test_features": points[N:], "test_labels": test}
    np.savez(file, classes=np.array(CLASSES), **arrays)
    return file


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(out: str, file: Path, *words: str) -> dict[str, Any]:
    assert main(["--dataset", str(file), *SMALL, *words, "--out", out]) == 0
    summary = json.loads(Path(out, "summary.json").read_text())
    Summary.model_validate(summary)
    return dict(summary)


def pairs(out: str) -> dict[str, np.ndarray]:
    table = pq.read_table(Path(out, "labels.parquet"))
    return {name: table[name].to_numpy() for name in table.column_names}


def test_plain_training_is_measured_by_average_precision(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = run("out", archive, *NOISE, "--epochs", "8", "--baseline")
    printed = capsys.readouterr().out
    assert "test mAP" in printed
    assert "test AP over all pairs" in printed
    assert summary["data"]["labels"] == "multi"
    assert summary["accuracy"]["last"] > 0.8
    last = summary["history"][-1]
    assert summary["accuracy"]["last"] == last["test_map"] == last["test_accuracy"]
    assert summary["ap_all"]["last"] == last["test_ap_all"]
    # Nothing was judged: the baseline is the same training.
    assert summary["baseline"]["accuracy"] == summary["accuracy"]
    assert summary["baseline"]["ap_all"] == summary["ap_all"]
    labels = summary["label_accuracy"]
    assert labels["after"] is labels["f1_after"] is None
    assert 0.6 < labels["f1_before"] < labels["before"] < 0.9


def test_the_best_epoch_is_that_of_the_highest_average_precision_on_noisy_validation(archive: Path) -> None:
    summary = run("out", archive, *NOISE, "--epochs", "4")
    assert all(epoch["val_accuracy"] == epoch["val_map"] for epoch in summary["history"])
    best = max(summary["history"], key=lambda epoch: epoch["val_map"])
    assert summary["accuracy"]["best_noisy_val"] == best["test_map"]
    assert summary["ap_all"]["best_noisy_val"] == best["test_ap_all"]


def test_methods_judge_pairs_and_leave_them_as_a_table(archive: Path) -> None:
    words = ["--epochs", "6", *METHODS, "--clean", "0.3", "--data.clean-pairs", "0.5", "--corrector", "noisereg"]
    summary = run("out", archive, *NOISE, *words)
    assert summary["accuracy"]["last"] > 0.7
    assert summary["detection"]["auroc"] > 0.6
    made = pairs("out")
    order = made["index"] * C + made["class"]
    assert (np.diff(order) > 0).all()
    with np.load(archive) as arrays:
        truth = arrays["labels"][made["index"], made["class"]].astype(bool)
    assert (made["truth"].astype(bool) == truth).all()
    seen, hits = made["observed"].astype(bool), int((made["observed"].astype(bool) & truth).sum())
    f1 = 2 * hits / (int(seen.sum()) + int(truth.sum()))
    assert summary["label_accuracy"]["f1_before"] == pytest.approx(f1)
    assert np.isnan(made["quality"][~seen]).all()
    assert np.isfinite(made["quality"][seen]).all()
    assert made["weight"][seen].std() > 0


def comparable(summary: dict[str, Any]) -> dict[str, Any]:
    timed = ("seconds", "images_per_second", "samples_per_second")
    history = [{k: v for k, v in epoch.items() if k not in timed} for epoch in summary["history"]]
    return {name: summary[name] for name in ("accuracy", "ap_all", "detection", "label_accuracy")} | {
        "history": history
    }


def test_a_run_stopped_goes_on_to_the_same_result(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*NOISE, *METHODS, "--epochs", "3"]
    whole = run("whole", archive, *words)
    original = Console.epoch

    def stop_after_two(self: Console, result: EpochResult, *args: Any, **kwargs: Any) -> None:
        original(self, result, *args, **kwargs)
        if result.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Console, "epoch", stop_after_two)
        assert main(["--dataset", str(archive), *SMALL, *words, "--out", "broken"]) == 130
    assert main(["resume", "broken"]) == 0
    assert comparable(json.loads(Path("broken/summary.json").read_text())) == comparable(whole)
    assert pq.read_table("broken/labels.parquet").equals(pq.read_table("whole/labels.parquet"))
    assert pq.read_table("broken/noise.parquet").equals(pq.read_table("whole/noise.parquet"))


def test_detection_finds_labels_that_were_never_there(archive: Path) -> None:
    words = ["detect", "--features", str(archive), *METHODS, "--noise", "flip-on:0.15", "--out", "found"]
    assert main(words) == 0
    summary = json.loads(Path("found/summary.json").read_text())
    assert summary["detection"]["auroc"] > 0.75
    made = pairs("found")
    wrong = made["observed"].astype(bool) & ~made["truth"].astype(bool)
    assert made["quality"][wrong].mean() < made["quality"][~wrong].mean()


def records() -> list[tuple[str, str]]:
    """Kind and name of every method that is installed."""
    kinds = ("side_info", "prototypes", "weighter", "corrector")
    registry = resolve({}).registry
    return [(kind, name) for kind in kinds for name in registry.names(kind)]


def needs_of(kind: str, name: str) -> Needs | None:
    """What a method asks for in its default configuration; None where it has none."""
    from noisyrun.plan import BASES

    registry = resolve({}).registry
    try:
        return registry.factory(kind, name, BASES[kind])(registry.config_class(kind, name)()).needs
    except Exception:  # a setting that it cannot do without
        return None


def single_only() -> list[tuple[str, str]]:
    return [(kind, name) for kind, name in records() if (needs := needs_of(kind, name)) and "multi" not in needs.labels]


def test_some_methods_are_for_one_label_a_sample() -> None:
    assert ("corrector", "smp") in single_only()
    assert ("weighter", "sinet") not in single_only()


@pytest.mark.parametrize(("kind", "name"), single_only())
@pytest.mark.parametrize("verb", ["run", "plan", "detect"])
def test_a_method_for_one_label_says_so_before_anything_starts(
    kind: str, name: str, verb: str, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = f"--{kind.replace('_', '-')}"
    data = ["--features" if verb == "detect" else "--dataset", str(archive)]
    words = [*([] if verb == "run" else [verb]), *data, flag, name, "--out", "out"]
    if verb == "detect" and kind in ("side_info", "prototypes"):
        words += ["--weighter", "sinet"]
    code = main([*words, "--tracking", "none"] if verb != "detect" else words)
    printed = capsys.readouterr()
    said = [
        line for line in (printed.out + printed.err).splitlines() if f"{flag} {name}" in line and "multi-label" in line
    ]
    assert code != 0
    assert len(said) == 1
    assert "Traceback" not in printed.err
    assert not Path("out").exists()


def source(folder: Path, each: int = 3) -> Path:
    """A data set of one label a sample: plain colours, 16 pixels."""
    import io

    import pyarrow as pa

    kind = {"_type": "ClassLabel", "names": CLASSES}
    for split in ("train", "val"):
        images, labels = [], []
        for c in range(C):
            for number in range(each):
                buffer = io.BytesIO()
                Image.new("RGB", (16, 16), (40 * c, 255 - 40 * c, 20 * number)).save(buffer, "PNG")
                images.append({"bytes": buffer.getvalue(), "path": None})
                labels.append(c)
        table = pa.table({"image": images, "label": labels})
        info = {"info": {"features": {"label": kind}}}
        pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), folder / f"{split}.parquet")
    return folder


def test_composites_are_made_and_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--source", str(source(tmp_path)), "--out", "made", "--train", "60", "--test", "20"]
    words += ["--classes", "4", "--tile", "8", "--noise", "flip:0.25,0.2", "--features", "made/features.npz"]
    words += ["--epochs", "1", "--width", "2", "--amp", "off"]
    monkeypatch.setattr(sys, "argv", ["composites.py", *words])
    runpy.run_path(str(ROOT / "benchmarks" / "composites.py"), run_name="__main__")
    clean, noisy = (pq.read_table("made/train.parquet")[name].to_pylist() for name in ("clean_labels", "noisy_labels"))
    assert {len(row) for row in clean} == {2, 3, 4}
    assert all(len(set(row)) == len(row) for row in clean)
    lost = sum(len(set(before) - set(after)) for before, after in zip(clean, noisy)) / sum(map(len, clean))
    assert lost == pytest.approx(0.25, abs=0.03)
    with np.load("made/features.npz") as made:
        hot = np.zeros((60, 4), np.uint8)
        for row, classes in enumerate(clean):
            hot[row, classes] = 1
        assert (made["clean_labels"] == hot).all()
        assert made["logits"].shape == (60, 4)
        assert made["test_features"].shape[0] == 20
    summary = run("out", Path("made"), "--backbone", "small-cnn", "--backbone.width", "2", *METHODS, "--epochs", "2")
    assert {"curves", "gallery"} <= set(summary["files"])
    run("again", Path("made/features.npz"), "--data.test", "made/features.npz", *METHODS, "--epochs", "2")
