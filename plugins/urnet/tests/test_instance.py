"""The image-text model and the weights it gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from noisyrun.api import PAD, FeatureBank, Judgement, MethodError, SideInfo, UserError
from noisyrun.testing import make_bank, make_phase
from noisyrun_urnet.config import InstanceConfig
from noisyrun_urnet.instance import Instance

SMALL = {"hidden": 16, "width": 8, "epochs": 30, "batch_size": 64, "lr": 1e-2}


def instance(**settings: Any) -> Instance:
    made = Instance(InstanceConfig(**{**SMALL, **settings}))
    made.key = "weighter.urnet-instance"
    return made


def scene(per: int = 40, classes: int = 4, seed: int = 0) -> tuple[FeatureBank, SideInfo, Tensor]:
    """Separable classes, a fifth of the labels wrong; their texts; which labels are wrong."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(classes).repeat_interleave(per)
    features = 3 * torch.eye(classes, 6)[truth] + torch.randn(len(truth), 6, generator=generator)
    wrong = torch.rand(len(truth), generator=generator) < 0.2
    labels = torch.where(wrong, (truth + 1) % classes, truth)
    texts = torch.randn(classes, 5, generator=generator)
    return make_bank(features, labels, classes), SideInfo(class_embeddings=texts), wrong


def fitted(bank: FeatureBank, side: SideInfo, **settings: Any) -> Instance:
    made = instance(**settings)
    made.fit(bank, None, side, make_phase(method=made.key))
    return made


def judged(made: Instance, bank: FeatureBank, labels: Tensor | None = None, rows: Tensor | None = None) -> Judgement:
    rows = torch.arange(len(bank)) if rows is None else rows
    given = (bank.labels.single if labels is None else labels)[rows]
    return made(bank.take(rows), given, None, SideInfo())


def test_wrong_labels_weigh_less() -> None:
    bank, side, wrong = scene()
    found = judged(fitted(bank, side, top=20), bank)
    assert float(found.weights[~wrong].mean()) > 0.8
    assert float(found.weights[wrong].mean()) < 0.2


def test_weights_are_cosines_of_which_negative_ones_count_nothing() -> None:
    bank, side, _ = scene()
    found = judged(fitted(bank, side, top=20), bank)
    assert found.score is not None
    assert found.wrong is not None
    assert float(found.score.min()) < 0
    assert float(found.score.abs().max()) <= 1 + 1e-5
    assert torch.equal(found.weights, found.score.clamp(min=0))
    assert torch.equal(found.wrong, found.weights == 0)


def test_the_weight_is_that_of_the_observed_label_for_any_label() -> None:
    bank, side, _ = scene()
    made = fitted(bank, side)
    assert torch.equal(judged(made, bank).weights, judged(made, bank, (bank.labels.single + 1) % 4).weights)


def test_a_sample_without_a_label_is_judged_by_the_label_in_question() -> None:
    bank, side, _ = scene()
    made = fitted(bank, side, top=20)
    block = bank.take(torch.tensor([0]))
    unlabelled = make_bank(block.features.repeat(4, 1), [PAD] * 4, 4)
    found = judged(made, unlabelled, torch.arange(4)).weights
    assert int(found.argmax()) == 0  # the first sample is of class 0, whatever its label says


def top_rows(bank: FeatureBank, **settings: Any) -> list[int]:
    return sorted(instance(**settings)._surest(bank).tolist())


def test_the_model_learns_from_the_top_of_the_search_where_the_data_has_it() -> None:
    logits = 5 * torch.tensor([[1.0, 0], [0, 1], [2, 0], [0, 1], [0, 2], [0, 0]])
    labels = [0, 0, 0, 1, 1, 1]
    ranked = make_bank(torch.randn(6, 3), labels, 2, logits=logits, rank=[0, 1, 2, -1, 9, 3])
    unranked = make_bank(torch.randn(6, 3), labels, 2, logits=logits)
    assert top_rows(ranked, top=2) == [0, 1, 4, 5]
    assert top_rows(unranked, top=2) == [0, 2, 3, 4]
    assert top_rows(ranked, top=2, rank="confidence") == [0, 2, 3, 4]
    assert instance(rank="search").needs.rank


def test_the_default_is_the_papers_30() -> None:
    assert InstanceConfig().top == 30


def test_a_class_without_a_text_and_its_samples_weigh_1() -> None:
    bank, side, _ = scene()
    assert side.class_embeddings is not None
    texts = side.class_embeddings.clone()
    texts[2] = 0
    found = judged(fitted(bank, SideInfo(class_embeddings=texts)), bank)
    assert found.weights[bank.labels.single == 2].unique().tolist() == [1.0]
    assert float(found.weights[bank.labels.single != 2].min()) < 1


@pytest.mark.parametrize("case", ["one class", "no text", "no labels"])
def test_where_nothing_can_be_learned_all_weigh_1(case: str) -> None:
    classes = 1 if case == "one class" else 3
    labels = [PAD] * 5 if case == "no labels" else [0] * 5
    texts = torch.zeros(classes, 4) if case == "no text" else torch.ones(classes, 4)
    bank = make_bank(torch.randn(5, 3), labels, classes)
    made = fitted(bank, SideInfo(class_embeddings=texts))
    assert judged(made, bank, torch.zeros(5, dtype=torch.int64)).weights.tolist() == [1.0] * 5
    restored = instance()
    restored.load_state_dict(made.state_dict())
    assert judged(restored, bank, torch.zeros(5, dtype=torch.int64)).weights.tolist() == [1.0] * 5


def test_empty_and_one_sample_classes_and_columns_that_never_vary() -> None:
    features = torch.cat([torch.randn(9, 3), torch.ones(9, 1)], 1)
    bank = make_bank(features, [0] * 8 + [2], 4)
    found = judged(fitted(bank, SideInfo(class_embeddings=torch.randn(4, 5))), bank).weights
    assert bool(torch.isfinite(found).all())


def test_training_is_repeatable_and_leaves_global_randomness_alone() -> None:
    bank, side, _ = scene()
    before = torch.random.get_rng_state()
    first, second = (judged(fitted(bank, side), bank).weights for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state())


def test_training_works_where_the_label_phase_takes_no_gradients() -> None:
    bank, side, _ = scene()
    with torch.no_grad():
        found = judged(fitted(bank, side), bank).weights
    assert torch.equal(found, judged(fitted(bank, side), bank).weights)


def test_state_is_restored_without_training() -> None:
    bank, side, _ = scene()
    made = fitted(bank, side)
    state = made.state_dict()
    assert all(isinstance(value, Tensor) for value in state.values())
    restored = instance(hidden=4, width=4)  # sizes come with the state
    restored.load_state_dict(state)
    assert torch.equal(judged(made, bank).weights, judged(restored, bank).weights)
    untouched = instance()
    untouched.load_state_dict(instance().state_dict())
    assert untouched.state_dict() == {}


def test_weights_follow_the_samples_whatever_their_order() -> None:
    bank, side, _ = scene()
    made = fitted(bank, side)
    order = torch.randperm(len(bank), generator=torch.Generator().manual_seed(1))
    moved = judged(made, bank, rows=order).weights
    assert torch.allclose(judged(made, bank).weights[order], moved, atol=1e-6)


def test_it_needs_the_text_of_the_classes_and_single_labels() -> None:
    assert instance().needs.class_embeddings
    assert instance().needs.labels == {"single"}
    bank, _, _ = scene()
    with pytest.raises(UserError, match="side-info"):
        fitted(bank, SideInfo())
    with pytest.raises(MethodError, match="fitted"):
        judged(instance(), bank)
