"""The equations against their slow forms in float64, and against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import urnet_reference as slow

from noisyrun.api import PAD
from noisyrun_urnet import equations


@pytest.mark.parametrize("scale", ["mean", "literal"])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_class_weights_are_those_of_the_slow_form(scale: str, alpha: float) -> None:
    counts = torch.randint(1, 500, (30,), generator=torch.Generator().manual_seed(0))
    found = equations.class_weight(counts, alpha, scale)
    assert found.numpy() == pytest.approx(slow.class_weight(counts.tolist(), alpha, scale), rel=1e-12)


def test_class_weights_by_hand() -> None:
    # Sizes 1 and 3. Literal: r = 1, 1/3, which sum to 4/3: 3/4 and 1/4. Mean: N / (C·N_c) = 4/2 and 4/6.
    counts = torch.tensor([1, 3])
    assert equations.class_weight(counts, 0.5, "literal").tolist() == pytest.approx([0.875, 0.625])
    assert equations.class_weight(counts, 0.5, "mean").tolist() == pytest.approx([1.5, 5 / 6])
    assert equations.class_weight(counts, 0.0).tolist() == [1.0, 1.0]


def test_with_alpha_1_every_class_has_the_same_sum_of_weights() -> None:
    counts = torch.tensor([2, 5, 100])
    for scale in ("mean", "literal"):
        total = equations.class_weight(counts, 1.0, scale) * counts
        assert total.tolist() == pytest.approx([float(total[0])] * 3)


def test_scaled_class_weights_have_mean_1_over_the_samples() -> None:
    counts = torch.tensor([2, 0, 5, 100])
    weights = equations.class_weight(counts, 0.7)
    assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1.0)


def test_a_class_without_samples_counts_as_a_mean_one() -> None:
    assert equations.class_weight(torch.tensor([4, 0, 4]), 0.5, "mean")[1] == 1.0
    assert equations.class_weight(torch.tensor([4, 0, 4]), 0.5, "literal")[1] == pytest.approx(0.75)
    assert equations.class_weight(torch.zeros(3, dtype=torch.int64), 0.5).tolist() == [1.0] * 3


@pytest.mark.parametrize("k", [1, 4, 20])
def test_confused_classes_are_those_of_the_slow_form(k: int) -> None:
    generator = torch.Generator().manual_seed(1)
    observed = torch.randint(-1, 9, (300,), generator=generator)
    predicted = torch.randint(-1, 9, (300,), generator=generator)
    found = equations.confused_classes(observed, predicted, 9, k)
    assert found.tolist() == slow.confused_classes(observed.tolist(), predicted.tolist(), 9, k)


def test_confused_classes_by_hand() -> None:
    # Class 0 is taken twice for 2 and once for 1; class 1 never for another; class 2 has no samples.
    found = equations.confused_classes(torch.tensor([0, 0, 0, 0, 1]), torch.tensor([2, 1, 2, 0, 1]), 3, 2)
    assert found.tolist() == [[2, 1], [PAD, PAD], [PAD, PAD]]


def test_renumbered_classes_are_confused_with_the_renumbered_ones() -> None:
    # No ties: class c is taken for class c + d exactly 4 − d times, d = 1, 2, 3.
    observed = torch.arange(6).repeat_interleave(6)
    predicted = (observed + torch.tensor([1, 1, 1, 2, 2, 3]).repeat(6)) % 6
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    first = equations.confused_classes(observed, predicted, 6, 3)
    second = equations.confused_classes(order[observed], order[predicted], 6, 3)
    assert torch.equal(order[first], second[order])


def test_group_weights_by_hand() -> None:
    found = equations.group_weight(torch.tensor([5, 0, 3, 2]), torch.tensor([0, 2, 2, 3]))
    assert found.tolist() == pytest.approx([0.5, 0.3, 0.3, 0.2])
    assert found.dtype == torch.float32


def test_the_correlation_loss_is_that_of_the_slow_form() -> None:
    images, texts, wrong = torch.randn(3, 20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = slow.correlation_loss(images.numpy(), texts.numpy(), wrong.numpy())
    assert float(equations.correlation_loss(images, texts, wrong)) == pytest.approx(expected, rel=1e-12)


def test_the_correlation_loss_by_hand() -> None:
    # Cosine 1 to the own text and −1 to the wrong one: as low as it gets.
    image = torch.tensor([[2.0, 0.0]])
    assert float(equations.correlation_loss(image, image * 3, -image)) == pytest.approx(-2)
    assert equations.correlation(image, torch.zeros(1, 2)).tolist() == [0.0]


def test_bag_features_are_those_of_the_slow_form() -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(12, 4, dtype=torch.float64, generator=generator)
    saliency = 30 * torch.randn(12, dtype=torch.float64, generator=generator)
    bags = torch.randint(0, 6, (12,), generator=generator)
    mask = torch.rand(12, generator=generator) < 0.7
    pooled, shares = equations.bag_features(features, saliency, bags, mask)
    expected = slow.bag_features(features.numpy(), saliency.numpy(), bags.tolist(), mask.tolist())
    for bag in range(12):
        assert pooled[bag].numpy() == pytest.approx(expected.get(bag, np.zeros(4)), rel=1e-10, abs=1e-12)
        assert float(shares[bag].sum()) == pytest.approx(1.0 if bag in expected else 0.0)


def test_bag_features_by_hand() -> None:
    # Equal saliency: the mean; ln 3 more: three times the share.
    features = torch.tensor([[1.0], [5.0], [0.0], [4.0]])
    saliency = torch.tensor([0.0, 0.0, 0.0, float(np.log(3))])
    pooled, _ = equations.bag_features(features, saliency, torch.tensor([0, 0, 1, 1]), torch.ones(4, dtype=torch.bool))
    assert pooled[:, 0].tolist() == pytest.approx([3.0, 3.0, 0.0, 0.0])


def test_gradients_of_empty_and_masked_bags_are_finite() -> None:
    features = torch.randn(4, 3, requires_grad=True)
    saliency = torch.randn(4, requires_grad=True)
    mask = torch.tensor([True, True, False, False])
    pooled, _ = equations.bag_features(features, saliency, torch.tensor([0, 0, 1, 1]), mask)
    pooled.square().sum().backward()
    assert features.grad is not None
    assert saliency.grad is not None
    assert torch.isfinite(features.grad).all()
    assert torch.isfinite(saliency.grad).all()
    assert features.grad[2:].abs().sum() == 0


def test_the_lowest_keys_of_each_group() -> None:
    groups = torch.tensor([2, 0, 2, 0, 2, 5])
    keys = torch.tensor([3.0, 1.0, 1.0, 1.0, 2.0, 9.0])
    assert equations.top_of_group(groups, keys, 2).tolist() == [1, 3, 2, 4, 5]
    assert equations.top_of_group(groups[:0], keys[:0], 2).tolist() == []
    assert equations.place_in_group(torch.tensor([0, 0, 3, 3, 3])).tolist() == [0, 1, 0, 1, 2]
