"""Mixing the predicted label in."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from noisyrun.api import PAD, FeatureBank, SideInfo, Targets
from noisyrun.testing import make_bank
from noisyrun_urnet.config import LabelMixConfig
from noisyrun_urnet.label import LabelMix


def corrector(**settings: Any) -> LabelMix:
    made = LabelMix(LabelMixConfig(**settings))
    made.key = "corrector.urnet-label"
    return made


def correct(bank: FeatureBank, before: Targets | None = None, **settings: Any) -> Targets:
    block = bank.take(torch.arange(len(bank)))
    return corrector(**settings)(block, Targets.of(block.labels) if before is None else before, None, SideInfo())


LOGITS = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 0, 9]])


def test_a_fifth_is_the_predicted_label_where_it_is_another() -> None:
    bank = make_bank(torch.randn(3, 2), [0, 0, 0], 3, logits=LOGITS)
    found = correct(bank)
    assert found.top.tolist() == [0, 1, 2]
    assert found.alpha.tolist() == pytest.approx([0.0, 0.2, 0.2])
    assert found.confidence is not None
    assert found.confidence[1:].tolist() == pytest.approx([1.0, 1.0], abs=1e-3)


def test_beta_is_the_share_of_the_observed_label() -> None:
    bank = make_bank(torch.randn(3, 2), [1, 0, 0], 3, logits=LOGITS)
    assert correct(bank, beta=0.3).alpha.tolist() == pytest.approx([0.7] * 3)
    assert correct(bank, beta=1.0).alpha.tolist() == pytest.approx([0.0] * 3)


def test_the_prediction_may_be_that_of_an_earlier_stage() -> None:
    kept = (torch.tensor([[1, 2], [1, 0], [0, 1]]), torch.tensor([[0.6, 0.4]] * 3))
    bank = make_bank(torch.randn(3, 2), [0, 0, 0], 3, logits=LOGITS, predictions={"baseline": kept})
    found = correct(bank, predictions="baseline")
    assert found.top.tolist() == [1, 1, 0]
    assert found.alpha.tolist() == pytest.approx([0.2, 0.2, 0.0])
    assert corrector(predictions="baseline").needs.predictions == "baseline"


def test_where_they_agree_the_target_stays_as_it_was() -> None:
    before = Targets(torch.tensor([[2, 1]] * 3), torch.tensor([[0.7, 0.3]] * 3), torch.tensor([0.9] * 3))
    bank = make_bank(torch.randn(3, 2), [0, 0, 2], 3, logits=LOGITS)
    found = correct(bank, before)
    assert found.classes.tolist() == [[2, 1], [1, PAD], [2, 1]]
    assert found.alpha.tolist() == pytest.approx([0.9, 0.2, 0.9])


def test_a_sample_without_a_label_takes_the_predicted_one() -> None:
    bank = make_bank(torch.randn(3, 2), [PAD, 1, 2], 3, logits=LOGITS)
    assert correct(bank).top.tolist() == [0, 1, 2]


def test_relabelling_the_classes_relabels_the_answer() -> None:
    logits = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(30) % 4
    order = torch.tensor([2, 0, 3, 1])
    first = correct(make_bank(torch.randn(30, 2), labels, 4, logits=logits))
    moved = correct(make_bank(torch.randn(30, 2), order[labels], 4, logits=logits[:, order.argsort()]))
    assert torch.equal(order[first.top], moved.top)
    assert torch.equal(first.alpha, moved.alpha)


def test_it_keeps_no_state_and_needs_single_labels() -> None:
    assert corrector().state_dict() == {}
    assert corrector().needs.labels == {"single"}
    assert corrector().needs.predictions is None
