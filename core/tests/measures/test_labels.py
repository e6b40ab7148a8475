"""labels.parquet."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from noisyrun.api import PAD, Labels, Targets, Task
from noisyrun.engine.label_state import LabelState
from noisyrun.report import labels as report

TASK = Task(("cat", "dog", "ox"))
INDEX = torch.tensor([3, 5, 9])


def state(wrong: torch.Tensor | None = None) -> LabelState:
    targets = Targets.hard(torch.tensor([1, 1, 0]), torch.tensor([0.5, 0.5, 0.0]))
    return LabelState(targets, torch.tensor([[0.5], [2], [1]]), torch.ones(3, 1), torch.tensor([0.1, 0.9, 0.4]), wrong)


def test_each_sample_is_a_row_and_class_names_are_kept(tmp_path: Path) -> None:
    labels = Labels.of(torch.tensor([0, 1, PAD]))
    wrong = torch.tensor([True, False, False])
    table = report.label_table(INDEX, labels, state(wrong), TASK, Labels.of(torch.tensor([1, 1, 2])))
    report.write_labels(table, tmp_path / "labels.parquet")
    assert [file.name for file in tmp_path.iterdir()] == ["labels.parquet"]
    frame = report.label_frame(pq.read_table(tmp_path / "labels.parquet"))
    assert frame["index"].tolist() == [3, 5, 9]
    assert frame["observed"].isna().tolist() == [False, False, True]
    assert frame["corrected"].tolist()[:2] == [1, 1]
    assert frame["weight"].tolist() == [0.5, 2, 1]
    assert frame["quality"].tolist() == pytest.approx([0.1, 0.9, 0.4])
    assert frame["wrong"].tolist() == [True, False, False]
    assert frame["truth"].tolist() == [1, 1, 2]
    assert str(frame["truth"].dtype) == "int64"
    assert report.read_classes(tmp_path / "labels.parquet") == ["cat", "dog", "ox"]


def test_nobodys_decision_is_null_and_an_unknown_truth_is_left_out() -> None:
    table = report.label_table(INDEX, Labels.of(torch.tensor([0, 1, 2])), state(), TASK)
    frame = report.label_frame(table)
    assert frame["wrong"].isna().all()
    assert "truth" not in frame
    assert frame["corrected"].tolist() == [1, 1, 2]


def test_multi_label_rows_hold_lists_and_the_mean_weight() -> None:
    labels = Labels(torch.tensor([[0, 2], [1, PAD], [PAD, PAD]]))
    weights = torch.tensor([[1.0, 3.0], [2.0, 9.0], [9.0, 9.0]])
    given = LabelState(Targets.of(labels), weights, weights, torch.ones(3))
    frame = report.label_frame(report.label_table(INDEX, labels, given, Task(TASK.classes, "multi")))
    assert [list(row) for row in frame["observed"]] == [[0, 2], [1], []]
    assert [list(row) for row in frame["corrected"]] == [[0, 2], [1], []]
    assert frame["weight"].tolist() == [2, 2, 1]
