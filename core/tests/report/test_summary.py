"""summary.json: complete, honest, whole."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from noisyrun.api.labels import Labels
from noisyrun.api.side_info import Text
from noisyrun.api.task import Task
from noisyrun.data.samples import Data, Samples, no_labels
from noisyrun.engine.label_state import LabelState
from noisyrun.engine.outcome import Outcome
from noisyrun.files import atomic, write_text
from noisyrun.report import summary as summaries


def make_data(n: int = 6) -> Data:
    labels = Labels.of(torch.arange(n) % 2)
    samples = Samples(
        task=Task(("a", "b")),
        index=torch.arange(n),
        labels=labels,
        verified=torch.full((n,), -1, dtype=torch.int8),
        verified_held=torch.zeros(n, dtype=torch.bool),
        trusted=no_labels(n),
        clean=torch.zeros(n, dtype=torch.bool),
        text=Text(("a", "b")),
    )
    return Data("toy", samples, None, samples, {"labels": "abc"}, ("one note",))


def make_outcome(**changes) -> Outcome:
    labels = Labels.of(torch.zeros(6, dtype=torch.int64))
    fields = {
        "network": torch.nn.Identity(),
        "state": LabelState.initial(labels),
        "accuracy": {"last": 0.9, "best_noisy_val": None, "oracle": 0.95},
        "history": [{"stage": "rounds", "epoch": 1, "loss": float("nan"), "lr": np.float32(0.5)}],
        "rounds": [{"round": 0, "auroc": torch.tensor(0.75)}],
        "seconds": {"train": 2.0, "evaluate": 1.0},
        "peak_memory": {"process": 1000},
    }
    return Outcome(**(fields | changes))


def test_every_key_is_there_and_what_was_not_measured_is_null():
    made = summaries.build()
    assert set(made) == set(summaries.Summary.model_fields)
    assert made["accuracy"] == {"last": None, "best_noisy_val": None, "oracle": None}
    assert made["label_accuracy"] == dict.fromkeys(("before", "after", "f1_before", "f1_after"))
    assert set(made["detection"].values()) == {None}
    assert made["baseline"] is None
    assert made["data"] is None


def test_a_run_is_told_in_json_values():
    made = summaries.build(
        config={"epochs": 1, "out": Path("runs/x")},
        data=make_data(),
        outcome=make_outcome(),
        detection={"auroc": 0.9, "called_wrong": 0.3, "something_else": 1.0},
        label_accuracy={"before": 0.6, "after": float("nan")},
        baseline=make_outcome(accuracy={"last": 0.5}),
    )
    json.dumps(made, allow_nan=False)
    assert made["accuracy"]["last"] == 0.9
    assert made["seconds"] == {"train": 2.0, "evaluate": 1.0, "total": 3.0}
    assert made["history"][0] == {"stage": "rounds", "epoch": 1, "loss": None, "lr": 0.5}
    assert made["rounds"][0]["auroc"] == 0.75
    assert {name: value for name, value in made["detection"].items() if value is not None} == {
        "auroc": 0.9,
        "called_wrong": 0.3,
    }
    assert made["label_accuracy"] == {"before": 0.6, "after": None, "f1_before": None, "f1_after": None}
    assert made["baseline"]["accuracy"] == {"last": 0.5, "best_noisy_val": None, "oracle": None}
    assert (made["data"]["train"], made["data"]["val"], made["data"]["test"]) == (6, None, 6)
    assert made["config"] == {"epochs": 1, "out": "runs/x"}
    assert {"python", "api", "noisyrun", "torch"} <= set(made["versions"])


def test_measures_stand_at_the_epochs_of_accuracy():
    epochs = [
        {"val_accuracy": 0.5, "test_accuracy": 0.6, "test_top5": 0.8, "test_ece": 0.1},
        {"val_accuracy": 0.7, "test_accuracy": 0.5, "test_top5": 0.9, "test_ece": 0.2},
        {"val_accuracy": 0.7, "test_accuracy": 0.4, "test_top5": 0.7, "test_ece": 0.3},
        {},  # an epoch without evaluation
    ]
    outcome = make_outcome(history=epochs, seen=90, energy={"gpu": 12.5})
    made = summaries.build(outcome=outcome, baseline=outcome)
    assert made["top5"] == {"last": 0.7, "best_noisy_val": 0.9, "oracle": 0.8}
    assert made["calibration"]["ece"] == {"last": 0.3, "best_noisy_val": 0.2, "oracle": 0.1}
    assert set(made["calibration"]["nll"].values()) == {None}
    assert made["ap_all"] is None
    assert made["baseline"]["top5"] == made["top5"]
    assert made["baseline"]["calibration"] == made["calibration"]
    assert made["samples_per_second"] == 45
    assert made["energy"] == {"gpu": 12.5, "cpu": None}


def test_classes_and_unverified_labels_have_parts_of_their_own():
    classes = [{"name": "a", "observed": 3}, {"name": "b", "observed": 0, "wrong": None}]
    made = summaries.build(per_class=classes, unverified={"auroc": 0.8, "noise_rate": 0.4, "else": 1})
    assert [one["name"] for one in made["per_class"]] == ["a", "b"]
    assert made["per_class"][0]["observed"] == 3
    assert made["per_class"][0]["accuracy"] is None
    assert {name: value for name, value in made["detection_unverified"].items() if value is not None} == {
        "auroc": 0.8,
        "noise_rate": 0.4,
    }


def test_a_summary_from_before_there_were_these_measures_is_read(tmp_path):
    made = summaries.build(data=make_data(), outcome=make_outcome(), baseline=make_outcome())
    new = ("top5", "calibration", "detection_unverified", "per_class", "samples_per_second", "energy")
    old = copy.deepcopy({name: value for name, value in made.items() if name not in new})
    old["detection"] = dict.fromkeys(("auroc", "average_precision", "f1", "called_wrong", "changed"))
    for name in ("top5", "calibration"):
        del old["baseline"][name]
    (tmp_path / "summary.json").write_text(json.dumps(old))
    read = summaries.read(tmp_path / "summary.json")
    assert read == made
    assert read["calibration"]["ece"]["last"] is None


def test_what_was_written_is_read_again(tmp_path):
    made = summaries.build(data=make_data(), outcome=make_outcome())
    summaries.write(made, tmp_path / "summary.json")
    assert summaries.read(tmp_path / "summary.json") == made


def test_a_summary_that_does_not_fit_the_schema_is_not_written(tmp_path):
    with pytest.raises(ValidationError):
        summaries.write({**summaries.build(), "acuracy": 1}, tmp_path / "summary.json")
    assert list(tmp_path.iterdir()) == []


def test_the_schema_describes_every_key():
    described = summaries.schema()["properties"]
    assert set(described) == set(summaries.build())
    assert all(value.get("description") for value in described.values())


def test_a_file_whose_writing_fails_leaves_the_old_one_and_no_litter(tmp_path):
    path = tmp_path / "notes.txt"
    write_text(path, "old")

    def write_half() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
