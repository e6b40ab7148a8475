"""Mixing the predicted label in."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from noisyrun.api import PAD, FeatureBank, SideInfo, Targets
from noisyrun.engine.loss import step_loss
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


def dense(found: Targets) -> list[list[float]]:
    return (found.dense(3) * found.alpha.unsqueeze(1)).tolist()


def test_a_fifth_is_the_predicted_label_where_it_is_another() -> None:
    bank = make_bank(torch.randn(3, 2), [0, 0, 0], 3, logits=LOGITS)
    found = correct(bank)
    assert found.alpha.tolist() == [0.0, 1.0, 1.0]
    assert dense(found)[1:] == [pytest.approx([0.8, 0.2, 0]), pytest.approx([0.8, 0, 0.2])]
    assert found.top.tolist() == [0, 0, 0]  # no label is changed
    assert found.confidence is not None
    assert found.confidence.tolist() == pytest.approx([1.0, -1.0, -1.0], abs=1e-3)  # two are doubtful


def test_the_loss_is_that_of_equation_10() -> None:
    # −Σ_j w_j (β·y_j + (1 − β)·ŷ_j) log p_j, each term by the weight of its own class; observed 0, predicted 1.
    bank = make_bank(torch.randn(1, 2), [0], 3, logits=LOGITS[1:2])
    found = correct(bank)
    logits = torch.tensor([[0.3, -0.2, 0.9]])
    weights = torch.tensor([2.0, 5.0, 7.0])
    of_targets = torch.where(found.classes == PAD, 1.0, weights[found.classes.clamp(min=0)])
    made = step_loss(logits, bank.labels, found, weights[:1].unsqueeze(0), of_targets)
    log = logits.log_softmax(1)[0]
    assert float(made) == pytest.approx(float(-(0.8 * 2 * log[0] + 0.2 * 5 * log[1])), rel=1e-5)


def test_beta_is_the_share_of_the_observed_label() -> None:
    bank = make_bank(torch.randn(3, 2), [1, 0, 0], 3, logits=LOGITS)
    found = correct(bank, beta=0.3)
    assert dense(found) == [pytest.approx(row) for row in ([0.7, 0.3, 0], [0.3, 0.7, 0], [0.3, 0, 0.7])]
    assert found.top.tolist() == [0, 1, 2]
    assert found.confidence is not None
    assert bool((found.confidence > 0).all())  # how sure it is of its changes
    assert dense(correct(bank, beta=1.0)) == [pytest.approx(row) for row in ([0, 1, 0], [1, 0, 0], [1, 0, 0])]


def test_the_prediction_may_be_that_of_an_earlier_stage() -> None:
    kept = (torch.tensor([[1, 2], [1, 0], [0, 1]]), torch.tensor([[0.6, 0.4]] * 3))
    bank = make_bank(torch.randn(3, 2), [0, 0, 0], 3, logits=LOGITS, predictions={"baseline": kept})
    found = correct(bank, predictions="baseline")
    assert dense(found)[:2] == [pytest.approx([0.8, 0.2, 0])] * 2
    assert found.alpha.tolist() == [1.0, 1.0, 0.0]
    assert corrector(predictions="baseline").needs.predictions == "baseline"


def test_what_correctors_before_it_made_is_mixed_too_and_stays_where_they_agree() -> None:
    before = Targets(torch.tensor([[2, 1]] * 3), torch.tensor([[0.75, 0.25]] * 3), torch.tensor([0.4] * 3))
    bank = make_bank(torch.randn(3, 2), [0, 0, 2], 3, logits=LOGITS)
    found = correct(bank, before)
    # The second was 0.6 of 0, 0.1 of 1, 0.3 of 2.
    assert dense(found)[1] == pytest.approx([0.48, 0.28, 0.24])
    assert sorted(found.classes[1].tolist()) == [PAD, 0, 1, 2]
    for row in (0, 2):
        assert found.classes[row].tolist() == [2, 1, PAD, PAD]
        assert float(found.alpha[row]) == pytest.approx(0.4)


def test_a_sample_without_a_label_takes_the_predicted_one() -> None:
    bank = make_bank(torch.randn(3, 2), [PAD, 1, 2], 3, logits=LOGITS)
    found = correct(bank)
    assert found.top.tolist() == [0, 1, 2]
    assert dense(found)[0] == [1.0, 0.0, 0.0]


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
