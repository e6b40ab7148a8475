"""Top-k label smoothing: the target by hand, several labels, and what happens before predictions exist."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from noisyrun.api import Labels, SideInfo, Targets
from noisyrun.testing import make_bank
from noisyrun_sinet.config import SinetCorrectorConfig
from noisyrun_sinet.corrector import SinetCorrector, merge

CLASSES = torch.tensor([[2, 0, 1, 3], [1, 3, 0, 2]])
PROBS = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.9, 0.06, 0.03, 0.01]])


def correct(
    labels: Labels | list[int],
    *,
    targets: Targets | None = None,
    predictions: tuple[Tensor, Tensor] | None = (CLASSES, PROBS),
    multi: bool = False,
    **settings: object,
) -> Targets:
    method = SinetCorrector(SinetCorrectorConfig.model_validate(settings))
    method.key = "corrector.sinet"
    assert method.needs.predictions == "smoothing"
    kept = {} if predictions is None else {"smoothing": predictions}
    count = len(labels)
    bank = make_bank(torch.ones(count, 3), labels, 4, logits=torch.zeros(count, 4), predictions=kept, multi=multi)
    block = bank.take(torch.arange(count))
    return method(block, Targets.of(block.labels) if targets is None else targets, None, SideInfo())


def test_a_label_is_smoothed_with_the_top_predictions() -> None:
    made = correct([0, 1], k=2, s=0.2)
    # Row 0: top 2 renormalised is 5/8 of class 2 and 3/8 of class 0; row 1: 0.9/0.96 of class 1, the label itself.
    want = torch.tensor([[0.8 + 0.2 * 0.375, 0.0, 0.2 * 0.625, 0.0], [0.0, 0.8 + 0.2 * 0.9375, 0.0, 0.2 * 0.0625]])
    assert torch.allclose(made.dense(4), want)
    assert made.alpha.tolist() == [1.0, 1.0]


def test_smoothing_alone_changes_no_label() -> None:
    assert correct([3, 0], s=0.2).top.tolist() == [3, 0]


def test_each_class_stands_once() -> None:
    made = correct([2, 1], k=4)
    for row in made.classes.tolist():
        kept = [c for c in row if c >= 0]
        assert len(kept) == len(set(kept))


def test_it_goes_on_from_the_corrector_before() -> None:
    before = Targets.hard(torch.tensor([3, 3]), 0.5)
    made = correct([0, 1], targets=before, k=1, s=0.2)
    assert torch.allclose(made.dense(4)[0], torch.tensor([0.4, 0.0, 0.2, 0.4]))


def test_before_the_predictions_exist_labels_stay_as_they_are() -> None:
    before = Targets.hard(torch.tensor([3, 2]), 0.25)
    made = correct([0, 1], targets=before, predictions=None)
    assert torch.equal(made.classes, before.classes)
    assert torch.equal(made.alpha, before.alpha)


def test_no_share_of_predictions_changes_nothing() -> None:
    made = correct([0, 1], s=0.0)
    assert made.alpha.tolist() == [0.0, 0.0]


def test_a_sample_without_a_label_is_its_prediction() -> None:
    made = correct([-1, 1], k=2)
    assert torch.allclose(made.dense(4)[0], torch.tensor([0.375, 0.0, 0.625, 0.0]))


def test_a_sample_without_a_prediction_keeps_its_label() -> None:
    nothing = torch.full((2, 2), -1), torch.zeros(2, 2)
    made = correct([0, -1], predictions=nothing)
    assert made.dense(4)[0].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert made.alpha[1].item() == 0.0


def test_several_labels_keep_values_between_zero_and_one() -> None:
    labels = Labels(torch.tensor([[0, 2], [3, -1]]), known=torch.tensor([[0, 1, 2], [3, -1, -1]]))
    made = correct(labels, multi=True, k=2, s=0.5)
    assert torch.allclose(made.dense(4)[0], torch.tensor([0.5 + 0.15, 0.0, 0.5 + 0.25, 0.0]))
    assert torch.allclose(made.dense(4)[1], torch.tensor([0.0, 0.45, 0.0, 0.5 + 0.03]))
    assert made.known is not None
    assert made.known.tolist() == [[0, 1, 2], [3, -1, -1]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_predictions_still_sum_to_one(dtype: torch.dtype) -> None:
    made = correct([0, 1], predictions=(CLASSES, PROBS.to(dtype).float()), k=3)
    assert made.values.sum(1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_samples_in_another_order_give_targets_in_that_order() -> None:
    first = correct([0, 1]).dense(4)
    again = correct([1, 0], predictions=(CLASSES.flip(0), PROBS.flip(0))).dense(4)
    assert torch.allclose(first.flip(0), again)


def test_inputs_are_left_alone() -> None:
    kept = CLASSES.clone(), PROBS.clone()
    correct([0, 1])
    assert torch.equal(kept[0], CLASSES)
    assert torch.equal(kept[1], PROBS)


def test_merge_adds_up_what_stands_twice() -> None:
    classes, values = merge(
        torch.tensor([[1, -1, 1, 2], [0, 3, -1, -1]]), torch.tensor([[0.2, 0, 0.3, 0.5], [1, 0, 0, 0]])
    )
    assert classes.tolist() == [[1, 2], [0, -1]]
    assert torch.allclose(values, torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
