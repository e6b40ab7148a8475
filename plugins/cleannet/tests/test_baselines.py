"""The baselines of section 4.2 against plain loops, and what they do where there is nothing to go by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from noisyrun.api import FeatureBank, SampleWeighter, SideInfo, UserError
from noisyrun.testing import make_bank, make_phase
from noisyrun_cleannet.baselines import (
    AverageWeighter,
    FilteringWeighter,
    NaiveWeighter,
    place_of,
)
from noisyrun_cleannet.baselines_config import AverageConfig, FilteringConfig, NaiveConfig
from noisyrun_cleannet.config import CleanNetPrototypesConfig
from noisyrun_cleannet.equations import average_error
from noisyrun_cleannet.references import choose_references


def scene(n: int = 120, classes: int = 3, dim: int = 6, seed: int = 0, **extra: Any) -> tuple[FeatureBank, Tensor]:
    """Samples about class means, a third of the labels wrong, half of them verified; and which labels are right."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, classes, (n,), generator=generator)
    features = 2 * torch.eye(classes, dim)[truth] + torch.randn(n, dim, generator=generator)
    other = (truth + torch.randint(1, classes, (n,), generator=generator)) % classes
    right = torch.rand(n, generator=generator) > 1 / 3
    labels = torch.where(right, truth, other)
    order = torch.rand(n, generator=generator)
    given = {"verified": torch.where(order < 0.5, right.long(), -1), "held": order < 0.25} | extra
    return make_bank(features, labels, classes, **given), right


def judge(weighter: SampleWeighter[Any], bank: FeatureBank) -> Any:
    phase = make_phase(0, weighter.key, device=bank.device)
    weighter.fit(bank, None, SideInfo(), phase)
    block = bank.take(torch.arange(len(bank)))
    return weighter(block, block.observed, None, SideInfo())


def brute_threshold(scores: np.ndarray, right: np.ndarray, labels: np.ndarray) -> float:
    """The least average error over classes of any threshold."""
    cuts = [-np.inf, *(np.unique(scores) + 1e-9)]
    return min(
        float(np.mean([np.mean((scores[labels == c] >= cut) != right[labels == c]) for c in np.unique(labels)]))
        for cut in cuts
    )


def test_naive_calls_nothing_wrong() -> None:
    bank, _ = scene()
    made = judge(NaiveWeighter(NaiveConfig()), bank)
    assert not bool(made.wrong.any())
    assert made.weights.tolist() == [1.0] * len(bank)


def test_average_is_the_cosine_with_the_mean_of_the_class() -> None:
    bank, _ = scene()
    made = judge(AverageWeighter(AverageConfig(delta=0.3, references="all")), bank)
    features = bank.take(torch.arange(len(bank))).features.double().numpy()
    labels = bank.labels.single.numpy()
    for row in range(len(bank)):
        mean = features[labels == labels[row]].mean(0)
        cosine = features[row] @ mean / np.linalg.norm(features[row]) / np.linalg.norm(mean)
        assert float(made.score[row]) == pytest.approx(cosine, abs=1e-5)
        assert bool(made.wrong[row]) == (cosine < 0.3)
    assert torch.equal(made.weights, (~made.wrong).float())


def test_the_mean_is_that_of_the_reference_set() -> None:
    bank, _ = scene()
    weighter = AverageWeighter(AverageConfig(delta=0.3, reference_size=4))
    judge(weighter, bank)
    config = CleanNetPrototypesConfig(reference_size=4)
    found = choose_references(bank, config, make_phase(0, weighter.key))
    assert weighter.means is not None
    assert torch.allclose(weighter.means, found.vectors.mean(1), atol=1e-6)


def test_a_class_without_samples_is_left_alone() -> None:
    bank = make_bank(torch.eye(6), [0, 0, 0, 1, 1, 1], 3)
    weighter = AverageWeighter(AverageConfig(delta=0.9))
    judge(weighter, bank)
    block = bank.take(torch.arange(2))
    assert weighter(block, torch.tensor([2, 1]), None, SideInfo()).wrong.tolist() == [False, True]


def test_several_labels_a_sample_are_judged_one_by_one() -> None:
    labels = torch.tensor([[0, 1], [0, -1], [1, -1], [0, 1]])
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    bank = make_bank(features, labels, 2, verified=[1, 0, 1, 1], held=[True] * 4, multi=True)
    weighter = AverageWeighter(AverageConfig(references="all"))
    weighter.fit(bank, None, SideInfo(), make_phase(0, weighter.key))
    rows, classes = bank.labels.pairs()
    made = weighter(bank.take(rows), classes, None, SideInfo())
    assert made.score is not None
    assert len(made.score) == 6


def test_the_average_threshold_is_the_best_on_held_out_labels() -> None:
    bank, right = scene()
    weighter = AverageWeighter(AverageConfig())
    made = judge(weighter, bank)
    held = (bank.verified("held") >= 0).numpy()
    labels = bank.labels.single.numpy()[held]
    said = right.numpy()[held]
    found = average_error(made.wrong[held], torch.from_numpy(said), torch.from_numpy(labels))
    assert found == pytest.approx(brute_threshold(made.score.numpy()[held], said, labels))


def test_place_among_the_best_classes() -> None:
    best = torch.tensor([[2, 0], [1, 2]])
    assert place_of(best, torch.tensor([0, 0])).tolist() == [1, 2]


@pytest.mark.parametrize("k", [1, 2])
def test_filtering_keeps_labels_among_the_k_best_classes(k: int) -> None:
    bank, _ = scene()
    made = judge(FilteringWeighter(FilteringConfig(k=k)), bank)
    for row in range(len(bank)):
        assert bool(made.wrong[row]) == (int(bank.labels.single[row]) not in bank.top_classes[row, :k].tolist())


def test_k_is_the_best_on_held_out_labels() -> None:
    # The classifier is right in second place for all right labels, and in third for all wrong ones.
    labels = torch.arange(40) % 4
    logits = torch.zeros(40, 4)
    logits[torch.arange(40), (labels + 1) % 4] = 3.0
    right = torch.arange(40) % 3 > 0
    logits[torch.arange(40), labels] = torch.where(right, 2.0, -1.0)
    bank = make_bank(torch.eye(40), labels, 4, logits=logits, verified=right.long(), held=torch.arange(40) >= 20)
    weighter = FilteringWeighter(FilteringConfig())
    made = judge(weighter, bank)
    assert weighter.k == 2
    assert torch.equal(made.wrong, ~right)


def test_filtering_reads_what_a_stage_kept() -> None:
    kept = (torch.zeros(120, 1, dtype=torch.int64), torch.ones(120, 1))
    bank, _ = scene(predictions={"baseline": kept})
    made = judge(FilteringWeighter(FilteringConfig(k=1, classifier="baseline")), bank)
    assert torch.equal(made.wrong, bank.labels.single != 0)
    assert torch.equal(made.score, (bank.labels.single == 0).float())


def test_more_classes_than_are_kept_is_one_line() -> None:
    bank, _ = scene(classes=5, top=2)
    weighter = FilteringWeighter(FilteringConfig(k=3))
    weighter.key = "weighter.filtering"
    with pytest.raises(UserError, match=r"weighter.filtering.k: is 3.*--bank.top 3"):
        judge(weighter, bank)


@pytest.mark.parametrize(
    "make", [lambda: AverageWeighter(AverageConfig()), lambda: FilteringWeighter(FilteringConfig())]
)
def test_without_held_out_labels_a_threshold_is_refused(make: Any) -> None:
    bank, _ = scene(held=None)
    with pytest.raises(UserError, match="held out"):
        judge(make(), bank)


@pytest.mark.parametrize(
    "make", [lambda: AverageWeighter(AverageConfig()), lambda: FilteringWeighter(FilteringConfig())]
)
def test_state_brings_back_the_same_judgement(make: Any) -> None:
    bank, _ = scene()
    first, second = make(), make()
    made = judge(first, bank)
    second.load_state_dict(first.state_dict())
    block = bank.take(torch.arange(len(bank)))
    assert torch.equal(second(block, block.observed, None, SideInfo()).wrong, made.wrong)
    assert torch.equal(second(block, block.observed, None, SideInfo()).score, made.score)


@pytest.mark.parametrize(
    "make", [lambda: AverageWeighter(AverageConfig(delta=0.3)), lambda: FilteringWeighter(FilteringConfig(k=2))]
)
def test_a_setting_given_outlives_the_state_of_one_that_was_not_fitted(make: Any) -> None:
    bank, _ = scene()
    restored = make()
    restored.load_state_dict({})
    assert torch.equal(judge(restored, bank).wrong, judge(make(), bank).wrong)


def test_only_what_is_chosen_by_verification_labels_needs_them() -> None:
    assert not FilteringWeighter(FilteringConfig(k=2)).needs.verification
    assert FilteringWeighter(FilteringConfig()).needs.verification
    assert FilteringWeighter(FilteringConfig(classifier="baseline")).needs.predictions == "baseline"
    assert AverageWeighter(AverageConfig()).needs.verification
    assert not AverageWeighter(AverageConfig(delta=0.1)).needs.verification
