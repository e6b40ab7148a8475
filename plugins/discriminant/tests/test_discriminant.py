"""The discriminant is what the textbook says, judges without the sample itself, and finds wrong labels."""

from __future__ import annotations

import pytest
import torch

import noisyrun
from noisyrun.api import SideInfo
from noisyrun.testing import make_bank, make_phase, parametrize_with_checks, subject
from noisyrun_discriminant import noisyrun_plugins
from noisyrun_discriminant.config import DiscriminantConfig
from noisyrun_discriminant.weighter import Discriminant, two_groups

BLENDED = subject("weighter.discriminant", {"predictions": 0.5, "weights": "soft"})


@parametrize_with_checks([*noisyrun_plugins(), BLENDED])
def test_conformance(plugin, check):
    check(plugin)


@pytest.fixture(scope="module")
def data():
    """Three overlapping classes with three labels in ten wrong: features [600, 5], labels, truth."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(600) % 3
    skew = torch.randn(5, 5, generator=generator)
    features = 4 * torch.eye(3, 5)[truth] @ skew + torch.randn(600, 5, generator=generator) @ skew
    flipped = torch.rand(600, generator=generator) < 0.3
    return features, torch.where(flipped, (truth + 1) % 3, truth), truth


def fitted(features, labels, classes=3, **settings):
    bank = make_bank(features, labels, classes)
    weighter = Discriminant(DiscriminantConfig(**settings))
    weighter.fit(bank, None, SideInfo(), make_phase())
    return weighter, bank


def naive(features, labels, i, ridge, classes=3):
    """Log-probabilities [C] of sample i, its own class's mean taken without it, in float64."""
    x = features.double()
    means = torch.stack([x[labels == c].mean(0) for c in range(classes)])
    off = x - means[labels]
    covariance = off.T @ off / len(x)
    covariance += ridge * covariance.trace() / len(covariance) * torch.eye(len(covariance))
    rest = torch.arange(len(x)) != i
    means[labels[i]] = x[rest & (labels == labels[i])].mean(0)
    counts = torch.bincount(labels, minlength=classes)
    far = torch.stack([(x[i] - m) @ torch.linalg.inv(covariance) @ (x[i] - m) for m in means])
    return (counts.log() - far / 2).log_softmax(0)


@pytest.mark.parametrize("ridge", [0.01, 1.0, 10.0])
def test_the_score_is_the_posterior_with_the_sample_left_out_of_its_class(data, ridge):
    features, labels, _ = data
    weighter, bank = fitted(features, labels.tolist(), ridge=ridge)
    block = bank.take(torch.arange(40))
    made = weighter(block, labels[:40], None, SideInfo()).score
    expected = torch.stack([naive(features, labels, i, ridge)[labels[i]] for i in range(40)])
    assert torch.allclose(made.double(), expected, atol=1e-4)


def test_a_label_that_a_corrector_gave_is_judged_as_the_same_posterior_has_it(data):
    features, labels, _ = data
    weighter, bank = fitted(features, labels.tolist())
    other = (labels[:10] + 1) % 3
    made = weighter(bank.take(torch.arange(10)), other, None, SideInfo()).score
    expected = torch.stack([naive(features, labels, i, 10.0)[other[i]] for i in range(10)])
    assert torch.allclose(made.double(), expected, atol=1e-4)


def test_wrong_labels_are_found(data):
    features, labels, truth = data
    found = noisyrun.detect(features, labels, clean_labels=truth, weighter={"discriminant": {"ridge": 0.1}})
    assert found.metrics["auroc"] > 0.95
    assert found.metrics["f1"] > 0.9


def test_given_logits_take_part_in_the_score_as_far_as_they_are_asked(data):
    features, labels, _ = data
    logits = torch.randn(600, 3, generator=torch.Generator().manual_seed(1))
    scores = [
        torch.from_numpy(
            noisyrun.detect(features, labels, logits=logits, weighter={"discriminant": {"predictions": share}})
            .labels["quality"]
            .to_numpy(copy=True)
        )
        for share in (0.0, 0.5, 1.0)
    ]
    log_probs = logits.log_softmax(1).gather(1, labels.unsqueeze(1))[:, 0]
    assert bool((scores[2].argsort() == log_probs.argsort()).all())
    weighter, bank = fitted(features, labels.tolist())
    halves = (weighter(bank.take(torch.arange(600)), labels, None, SideInfo()).score + log_probs) / 2
    assert bool((scores[1].argsort() == halves.argsort()).all())


def test_soft_weights_are_a_half_at_the_threshold_and_order_labels_as_the_margin_does(data):
    features, labels, _ = data
    hard, bank = fitted(features, labels.tolist())
    soft, _ = fitted(features, labels.tolist(), weights="soft")
    block = bank.take(torch.arange(600))
    kept, weights = (one(block, labels, None, SideInfo()) for one in (hard, soft))
    assert bool(((weights.weights < 0.5) == kept.wrong).all())
    assert 0 < float(kept.weights.mean()) < 1


def test_a_class_with_one_label_gives_no_ground():
    features = torch.randn(21, 4, generator=torch.Generator().manual_seed(0))
    weighter, bank = fitted(features, [0] * 10 + [1] * 10 + [2], classes=4)
    block = bank.take(torch.tensor([20, 20]))
    judged = weighter(block, torch.tensor([2, 3]), None, SideInfo())
    assert judged.weights.tolist() == [1.0, 1.0]
    assert not bool(judged.wrong.any())


def test_the_threshold_lies_between_two_groups_and_one_value_has_none():
    generator = torch.Generator().manual_seed(0)
    groups = torch.cat([torch.randn(300, generator=generator) - 10, torch.randn(700, generator=generator)])
    assert -9 < two_groups(groups) < -2
    assert two_groups(torch.ones(5)) is None
    assert two_groups(torch.zeros(0)) is None
