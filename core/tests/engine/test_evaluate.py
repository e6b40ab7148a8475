"""Measures of predictions that come batch by batch, against the same computed sample by sample."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from noisyrun.api import PAD, Labels, Task
from noisyrun.engine.evaluate import measure
from noisyrun.report import metrics

CPU = torch.device("cpu")
CLASSES = 7


def batches(scores):
    positions = torch.arange(len(scores))
    return [(rows, scores[rows]) for rows in positions.split(9)]


@pytest.fixture
def samples(kit):
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, CLASSES - 1, (50,), generator=draw)  # some are not known, and none is of the last class
    return replace(kit.make_data().test, task=Task(tuple("abcdefg")), labels=Labels.of(labels))


@pytest.fixture
def logits():
    return 2 * torch.randn(50, CLASSES, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("as_logits", [True, False])
def test_one_label(samples, logits, as_logits):
    got = measure(samples, batches(logits if as_logits else logits.softmax(1)), CPU, logits=as_logits)
    truth = samples.labels.single
    known = [(row.double().softmax(0), y) for row, y in zip(logits, truth.tolist(), strict=True) if y != PAD]
    assert got.numbers["accuracy"] == metrics.top_k(logits, truth)
    assert got.numbers["top5"] == metrics.top_k(logits, truth, 5)
    assert got.numbers["nll"] == pytest.approx(-sum(math.log(p[y]) for p, y in known) / len(known), rel=1e-5)
    brier = sum(sum((float(p[c]) - (c == y)) ** 2 for c in range(CLASSES)) for p, y in known) / len(known)
    assert got.numbers["brier"] == pytest.approx(brier, rel=1e-5)
    for c, share in enumerate(got.by_class):
        hits = [int(p.argmax()) == c for p, y in known if y == c]
        assert share == (sum(hits) / len(hits) if hits else None)
    assert got.by_class[-1] is None


def test_several_labels(samples, logits):
    draw = torch.Generator().manual_seed(2)
    both = torch.stack([samples.labels.single, torch.where(torch.rand(50, generator=draw) < 0.5, 6, PAD)], 1)
    several = replace(
        samples, task=replace(samples.task, labels="multi", loss="binary-cross-entropy"), labels=Labels(both)
    )
    hot = several.labels.multi_hot(CLASSES).bool()
    got = measure(several, batches(logits), CPU, logits=True)
    assert got.numbers["map"] == got.numbers["accuracy"] == metrics.mean_average_precision(logits, hot)
    assert got.by_class == metrics.average_precisions(logits, hot)
    probs = logits.double().sigmoid()
    assert got.numbers["nll"] == pytest.approx(float(-torch.where(hot, probs, 1 - probs).log().mean()), rel=1e-5)
    assert got.numbers["brier"] == pytest.approx(float((probs - hot.double()).square().mean()), rel=1e-5)
    averaged = measure(several, batches(logits.sigmoid()), CPU, logits=False)
    assert averaged.numbers == pytest.approx(got.numbers, rel=1e-5)


@pytest.mark.parametrize(("labels", "loss"), [("single", "binary-cross-entropy"), ("multi", "cross-entropy")])
def test_a_loss_that_states_no_probability_of_a_label_is_not_called_calibrated(samples, logits, labels, loss):
    other = replace(samples, task=replace(samples.task, labels=labels, loss=loss))
    assert not {"ece", "nll", "brier"} & measure(other, batches(logits), CPU, logits=True).numbers.keys()


def test_a_probability_of_zero_is_no_reason_to_stop(samples):
    probs = torch.eye(CLASSES)[torch.zeros(50, dtype=torch.int64)]
    got = measure(samples, batches(probs), CPU, logits=False)
    assert math.isfinite(got.numbers["nll"])
