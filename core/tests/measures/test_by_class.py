"""What is known of each class, by hand."""

from __future__ import annotations

from dataclasses import replace

import torch

from noisyrun.api import PAD, Labels, Task, Text
from noisyrun.data.samples import Samples, no_labels
from noisyrun.engine.label_state import LabelState
from noisyrun.report.by_class import class_records

NAMES = ("cat", "dog", "fox")
ONE = Task(NAMES)


def samples(labels: Labels, truth: Labels | None = None, task: Task = ONE) -> Samples:
    n = len(labels)
    return Samples(
        task=task,
        index=torch.arange(n),
        labels=labels,
        verified=torch.full((n,), -1, dtype=torch.int8),
        verified_held=torch.zeros(n, dtype=torch.bool),
        trusted=no_labels(n),
        clean=torch.zeros(n, dtype=torch.bool),
        text=Text(NAMES),
        truth=truth,
    )


def test_one_label_a_sample() -> None:
    observed = Labels.of(torch.tensor([0, 0, 0, 0, 1, PAD]))
    train = samples(observed, Labels.of(torch.tensor([0, 1, 2, PAD, 1, 2])))
    state = replace(LabelState.initial(observed), wrong=torch.tensor([False, True, False, True, False, True]))
    test = samples(Labels.of(torch.tensor([0, 1, 1, PAD])))
    assert class_records(train, state, test, [1.0, 0.5, None]) == [
        {"name": "cat", "test": 1, "accuracy": 1.0, "observed": 4, "called_wrong": 0.5, "wrong": 2 / 3},
        {"name": "dog", "test": 2, "accuracy": 0.5, "observed": 1, "called_wrong": 0.0, "wrong": 0.0},
        {"name": "fox", "test": 0, "accuracy": None, "observed": 0, "called_wrong": None, "wrong": None},
    ]


def test_what_is_not_known_is_not_told() -> None:
    train = samples(Labels.of(torch.tensor([0, 1, 1])))
    assert class_records(train, LabelState.initial(train.labels)) == [
        {"name": name, "observed": count} for name, count in zip(NAMES, (1, 2, 0), strict=True)
    ]


def test_several_labels_a_sample() -> None:
    observed = Labels(torch.tensor([[0, 1], [0, PAD], [0, 1]]))
    truth = Labels(torch.tensor([[0], [1], [PAD]]), torch.tensor([[0, 1], [0, 1], [1, PAD]]))
    train = samples(observed, truth, Task(NAMES, "multi", "binary-cross-entropy"))
    state = replace(
        LabelState.initial(observed),
        wrong=torch.tensor([True, True, False]),
        pair_wrong=torch.tensor([[True, False], [False, False], [False, False]]),
    )
    cat, dog, fox = class_records(train, state, train, [0.5, 0.25, None])
    assert cat == {"name": "cat", "test": 3, "accuracy": 0.5, "observed": 3, "called_wrong": 1 / 3, "wrong": 1 / 2}
    assert dog == {"name": "dog", "test": 2, "accuracy": 0.25, "observed": 2, "called_wrong": 0.0, "wrong": 1.0}
    assert fox == {"name": "fox", "test": 0, "accuracy": None, "observed": 0, "called_wrong": None, "wrong": None}
