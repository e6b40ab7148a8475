"""The bag branch: what it adds to the loss, and where it is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from noisyrun.api import BAGS, PAD, Batch, Labels, SideInfo, Targets, Task
from noisyrun.testing import make_bank
from noisyrun_urnet.bags import Bags
from noisyrun_urnet.config import BagsConfig

TASK = Task(("a", "b", "c"), "single", "cross-entropy")


def bags(**settings: Any) -> Bags:
    made = Bags(BagsConfig(**settings))
    made.key = "weighter.urnet-bag"
    return made


def batch(labels: list[int], mask: list[bool] | None = None, of: list[int] | None = None) -> Batch:
    given, n = Labels.of(torch.tensor(labels)), len(labels)
    return Batch(
        index=torch.arange(n),
        labels=given,
        targets=Targets.of(given),
        weights=torch.ones(n, 1),
        clean=torch.zeros(n, dtype=torch.bool),
        trusted=Labels(torch.full((n, 1), PAD)),
        mask=torch.ones(n, dtype=torch.bool) if mask is None else torch.tensor(mask),
        bags=torch.arange(n) // 3 if of is None else torch.tensor(of),
    )


def scene() -> tuple[Bags, nn.Module, Tensor]:
    method = bags(hidden=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        part = method.part(4, TASK)
        features = torch.randn(6, 4, requires_grad=True)
    return method, part, features


def loss(method: Bags, part: nn.Module, given: Batch, features: Tensor) -> Tensor:
    return method.loss(part, given, features, torch.zeros(len(features), 3))["bag"]


def number(method: Bags, part: nn.Module, given: Batch, features: Tensor) -> float:
    return float(loss(method, part, given, features).detach())


def test_the_loss_is_the_cross_entropy_of_the_weighted_sum() -> None:
    method, part, features = scene()
    found = number(method, part, batch([0, 0, 0, 2, 2, 2]), features)
    expected = []
    for rows, label in ((slice(0, 3), 0), (slice(3, 6), 2)):
        share = torch.softmax(part.saliency(features[rows])[:, 0], 0)  # type: ignore[operator]
        logits = part.classifier((share.unsqueeze(1) * features[rows]).sum(0, keepdim=True))  # type: ignore[operator]
        expected.append(functional.cross_entropy(logits, torch.tensor([label])))
    assert found == pytest.approx(float(torch.stack(expected).mean().detach()), rel=1e-5)


def test_the_backbone_learns_from_it_and_so_does_every_layer() -> None:
    method, part, features = scene()
    loss(method, part, batch([0, 0, 0, 2, 2, 2]), features).backward()
    assert features.grad is not None
    assert bool((features.grad.abs().sum(1) > 0).all())
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in part.parameters())


def test_padding_counts_in_no_bag() -> None:
    method, part, features = scene()
    mask = [True, True, True, True, False, False]
    padded = number(method, part, batch([0, 0, 0, 2, 2, 2], mask), features)
    alone = number(method, part, batch([0, 0, 0, 2], of=[0, 0, 0, 1]), features[:4])
    assert padded == pytest.approx(alone, rel=1e-6)


def test_the_order_of_the_rows_does_not_matter() -> None:
    method, part, features = scene()
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    first = number(method, part, batch([0, 0, 0, 2, 2, 2]), features)
    moved = batch([[0, 0, 0, 2, 2, 2][i] for i in order], of=[[0, 0, 0, 1, 1, 1][i] for i in order])
    assert number(method, part, moved, features[order]) == pytest.approx(first, rel=1e-6)


def test_bags_without_a_label_count_nothing() -> None:
    method, part, features = scene()
    both = number(method, part, batch([0, 0, 0, PAD, PAD, PAD]), features)
    one = number(method, part, batch([0, 0, 0]), features[:3])
    assert both == pytest.approx(one, rel=1e-6)
    nothing = loss(method, part, batch([PAD] * 6), features)
    assert float(nothing.detach()) == 0.0
    assert nothing.requires_grad


def test_a_stage_without_bags_adds_nothing() -> None:
    method, part, features = scene()
    given = replace(batch([0] * 6), bags=None)
    assert number(method, part, given, features) == 0.0


def test_its_share_of_the_loss_is_a_setting() -> None:
    method, part, features = scene()
    given = batch([0, 0, 0, 2, 2, 2])
    half = number(bags(share=0.5, hidden=5), part, given, features)
    assert half == pytest.approx(number(method, part, given, features) / 2)


def test_its_weights_are_1() -> None:
    bank = make_bank(torch.randn(4, 3), [0, 1, 1, 0], 2)
    found = bags()(bank.take(torch.arange(4)), bank.labels.single, None, SideInfo())
    assert found.weights.tolist() == [1.0] * 4


def test_it_needs_bags_of_three_images_and_a_backbone_that_trains() -> None:
    needs = bags().needs
    assert needs.batches == BAGS(3)
    assert needs.images
    assert needs.trainable_backbone
    assert needs.labels == {"single"}
    assert bags(size=4).needs.batches == BAGS(4)
