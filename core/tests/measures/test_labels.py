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


MULTI = Task(TASK.classes, "multi")


def pairs(labels: Labels, given: LabelState, truth: Labels | None = None) -> list[tuple[object, ...]]:
    """Rows of the table of pairs, null as None."""
    table = report.label_table(INDEX, labels, given, MULTI, truth)
    return [tuple(row.values()) for row in table.to_pylist()]


def test_several_labels_are_a_row_each_with_its_own_weight_and_quality() -> None:
    labels = Labels(torch.tensor([[2, 0], [1, PAD], [PAD, PAD]]))
    weights = torch.tensor([[1.0, 3.0], [2.0, 9.0], [9.0, 9.0]])
    score = torch.tensor([[0.25, 0.5], [0.75, 0.0], [0.0, 0.0]])
    wrong = torch.tensor([[True, False], [False, True], [True, True]])
    given = LabelState(Targets.of(labels), weights, weights, torch.ones(3), pair_score=score, pair_wrong=wrong)
    assert pairs(labels, given) == [
        (3, 0, True, 1.0, 3.0, 0.5, False),
        (3, 2, True, 1.0, 1.0, 0.25, True),
        (5, 1, True, 1.0, 2.0, 0.75, False),
    ]


def test_pairs_that_correction_or_the_truth_adds_are_rows_too_and_what_nobody_said_is_null() -> None:
    labels = Labels(torch.tensor([[0], [PAD], [1]]), torch.tensor([[0, PAD], [PAD, PAD], [1, 2]]))
    targets = Targets(
        torch.tensor([[0, 1], [2, 0], [0, PAD]]),
        torch.tensor([[0.25, 0.75], [0.5, 0.25], [0.9, 0.0]]),
        torch.tensor([0.5, 1.0, 0.0]),
    )
    truth = Labels(torch.tensor([[1], [PAD], [2]]), torch.tensor([[0, 1], [PAD, PAD], [2, PAD]]))
    ones = torch.ones(3, 1)
    given = LabelState(
        targets, ones, 2 * torch.ones(3, 2), torch.ones(3), pair_wrong=torch.tensor([[True], [False], [False]])
    )
    assert pairs(labels, given, truth) == [
        (3, 0, True, 0.25, 1.0, None, True, False),
        (3, 1, None, 0.75, 2.0, None, True, True),
        (5, 2, None, 0.5, 2.0, None, True, None),
        # Sample 9 was not corrected (its alpha is 0): class 1 stands, and the true class 2 is lacking.
        (9, 1, True, 1.0, 1.0, None, False, None),
        (9, 2, False, 0.0, 1.0, None, False, True),
    ]
