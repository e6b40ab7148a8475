"""Noise weighting: against slow arithmetic, with one or several prototypes, and what it calls wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from noisyrun.api import FeatureBank, Judgement, Labels, Prototypes, SideInfo, UserError
from noisyrun.testing import make_bank, make_phase
from noisyrun_sinet.config import SinetPrototypesConfig, SinetWeighterConfig
from noisyrun_sinet.prototypes import SinetPrototypes
from noisyrun_sinet.weighter import Directions, SinetWeighter, distance, likely_other, nearest_other, two_groups

Clusters = Callable[..., tuple[Tensor, Tensor]]
Relation = Callable[..., SideInfo]
NOTHING = SideInfo()


def make(**settings: object) -> SinetWeighter:
    method = SinetWeighter(SinetWeighterConfig.model_validate(settings))
    method.key = "weighter.sinet"
    return method


def judge(
    method: SinetWeighter, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo = NOTHING
) -> Judgement:
    """Fit, and weigh every observed label."""
    method.fit(bank, prototypes, side, make_phase(0, method.key))
    rows, labels = bank.labels.pairs()
    return method(bank.take(rows), labels, prototypes, side)


def towards(prototypes: Prototypes) -> Directions:
    return Directions.of(prototypes, torch.device("cpu"))


def noisy(make_clusters: Clusters, wrong: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Features, labels of which `wrong` a class are wrong, and which those are."""
    features, truth = make_clusters(4, 15)
    labels = truth.clone()
    moved = torch.cat([torch.arange(c * 15, c * 15 + wrong) for c in range(4)])
    labels[moved] = (labels[moved] + 1) % 4
    return features, labels, labels != truth


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    return torch.stack([features[labels == c].mean(0) for c in range(classes)])


@pytest.mark.parametrize(("alpha", "beta"), [(1.2, 1.5), (0.8, 1.0), (1.4, 2.5)])
def test_weights_agree_with_slow_arithmetic(alpha: float, beta: float, make_clusters: Clusters) -> None:
    features, labels, _ = noisy(make_clusters)
    vectors = class_means(features, labels, 4)
    made = judge(make(alpha=alpha, beta=beta), make_bank(features, labels, 4), Prototypes.of(vectors)).weights
    g, v = features.double().numpy(), vectors.double().numpy()
    slow = [
        max(0.0, alpha - np.linalg.norm(v[c] / np.linalg.norm(v[c]) - g[i] / np.linalg.norm(g[i]))) ** beta
        for i, c in enumerate(labels.tolist())
    ]
    np.testing.assert_allclose(made.numpy(), slow, atol=1e-5)


def test_a_weight_by_hand() -> None:
    bank = make_bank(torch.tensor([[0.0, 5.0], [2.0, 0.0], [-1.0, 0.0]]), [0, 0, 0], 1, logits=torch.zeros(3, 1))
    made = judge(make(beta=2.0), bank, Prototypes.of(torch.tensor([[3.0, 0.0]]))).weights
    assert made.tolist() == pytest.approx([0.0, 1.44, 0.0], abs=2e-3)  # √2, 0 and 2 away


@pytest.mark.parametrize("classes", [3, 150])
@pytest.mark.parametrize("reduce", ["nearest", "mean"])
def test_several_prototypes_reduce_as_told(classes: int, reduce: str) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(classes, 4, 6, generator=generator)
    mask = torch.rand(classes, 4, generator=generator) > 0.3
    mask[:, 0] = True
    weights = torch.rand(classes, 4, generator=generator)
    features = torch.randn(200, 6, generator=generator)
    labels = torch.randint(classes, (200,), generator=generator)
    bank = make_bank(features, labels, classes, logits=torch.zeros(200, classes))
    made = judge(make(reduce=reduce, alpha=2.0, beta=1.0), bank, Prototypes.of(vectors, mask, weights)).weights
    g, v = features.double().numpy(), vectors.double().numpy()
    for i, c in enumerate(labels.tolist()):
        at = [p for p in range(4) if mask[c, p]]
        far = [np.linalg.norm(v[c, p] / np.linalg.norm(v[c, p]) - g[i] / np.linalg.norm(g[i])) for p in at]
        want = min(far) if reduce == "nearest" else np.average(far, weights=[float(weights[c, p]) for p in at])
        assert made[i].item() == pytest.approx(2.0 - want, abs=1e-5)


def test_prototypes_in_a_learned_space_are_met_there() -> None:
    turn = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(turn.weight)
    with torch.no_grad():
        turn.weight[0, 2] = turn.weight[1, 0] = 1.0
    bank = make_bank(torch.tensor([[0.0, 7.0, 1.0], [1.0, 7.0, 0.0]]), [0, 0], 1, logits=torch.zeros(2, 1))
    made = judge(make(beta=1.0), bank, Prototypes.of(torch.tensor([[1.0, 0.0]]), project=turn)).weights
    assert made.tolist() == pytest.approx([1.2, 0.0], abs=1e-3)


def test_wrong_labels_rank_below_right_ones(make_clusters: Clusters, make_relation: Relation) -> None:
    features, labels, wrong = noisy(make_clusters)
    bank, side = make_bank(features, labels, 4), make_relation(4)
    builder = SinetPrototypes(SinetPrototypesConfig(k=5))
    prototypes = builder(bank, side, make_phase())
    for score in ("weight", "consistency"):
        made = judge(make(score=score, k=5), bank, prototypes, side)
        assert made.score is not None
        above = (made.score[~wrong].unsqueeze(1) > made.score[wrong]).float().mean()
        assert above > 0.9
        assert made.wrong is not None
        assert (made.wrong == wrong).float().mean() > 0.85


def test_consistency_scores_are_equation_4_of_the_label_that_is_judged(
    make_clusters: Clusters, make_relation: Relation
) -> None:
    from noisyrun_sinet.equations import consistency

    features, labels, _ = noisy(make_clusters)
    bank, side = make_bank(features, labels, 4), make_relation(4)
    prototypes = Prototypes.of(class_means(features, labels, 4))
    method = make(score="consistency", k=100)
    assert method.needs.class_similarity
    judge(method, bank, prototypes, side)
    other = (labels + 1) % 4
    made = method(bank.take(torch.arange(len(labels))), other, prototypes, side)
    visual = nn.functional.cosine_similarity(features.unsqueeze(1), class_means(features, labels, 4), dim=2)
    assert side.class_similarity is not None
    assert made.score is not None
    assert torch.allclose(made.score, consistency(side.class_similarity.take(other), visual).log(), atol=1e-3)


def test_consistency_without_a_relation_is_one_clear_line(make_clusters: Clusters) -> None:
    features, labels, _ = noisy(make_clusters)
    with pytest.raises(UserError, match="--side-info sinet"):
        judge(make(score="consistency"), make_bank(features, labels, 4), Prototypes.of(features[:4]))


def test_shift_calls_wrong_what_weighs_nothing(make_clusters: Clusters) -> None:
    features, labels, _ = noisy(make_clusters)
    prototypes = Prototypes.of(class_means(features, labels, 4))
    made = judge(make(decision="shift", alpha=0.9), make_bank(features, labels, 4), prototypes)
    assert made.wrong is not None
    assert torch.equal(made.wrong, made.weights == 0)
    assert 0 < int(made.wrong.sum()) < len(labels)


def test_keep_weighs_high_confidence_samples_one_and_the_rest_nothing(make_clusters: Clusters) -> None:
    features, labels, _ = noisy(make_clusters)
    bank, prototypes = make_bank(features, labels, 4), Prototypes.of(class_means(features, labels, 4))
    made = judge(make(weights="keep"), bank, prototypes)
    assert made.wrong is not None
    assert torch.equal(made.weights, (~made.wrong).float())
    half = judge(make(weights="keep", keep_share=0.5), bank, prototypes)
    assert half.score is not None
    assert int(half.weights.sum()) == 30
    assert half.score[half.weights == 1].min() > half.score[half.weights == 0].max()


def test_a_class_without_prototype_weighs_one_and_counts_as_right(make_clusters: Clusters) -> None:
    features, labels, _ = noisy(make_clusters)
    prototypes = Prototypes.of(class_means(features, labels, 4), torch.tensor([True, True, False, True]))
    made = judge(make(), make_bank(features, labels, 4), prototypes)
    assert made.wrong is not None
    assert bool((made.weights[labels == 2] == 1).all())
    assert not bool(made.wrong[labels == 2].any())


def test_every_label_of_a_sample_is_weighed_by_itself() -> None:
    bank = make_bank(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), Labels(torch.tensor([[0, 1], [1, -1]])), 2, multi=True)
    made = judge(make(beta=1.0), bank, Prototypes.of(torch.eye(2)))
    assert made.weights.tolist() == pytest.approx([1.2, 0.0, 1.2], abs=2e-3)


def test_zero_vectors_and_empty_blocks_are_no_trouble() -> None:
    bank = make_bank(torch.zeros(3, 4), [0, 1, 1], 2, logits=torch.zeros(3, 2))
    prototypes = Prototypes.of(torch.zeros(2, 4))
    method = make()
    assert bool(torch.isfinite(judge(method, bank, prototypes).weights).all())
    nothing = torch.zeros(0, dtype=torch.int64)
    assert len(method(bank.take(nothing), nothing, prototypes, NOTHING).weights) == 0


def test_no_prototypes_is_one_clear_line(make_clusters: Clusters) -> None:
    features, labels, _ = noisy(make_clusters)
    with pytest.raises(UserError, match="--prototypes"):
        judge(make(), make_bank(features, labels, 4), None)


def test_samples_in_another_order_get_their_weights_in_that_order(make_clusters: Clusters) -> None:
    features, labels, _ = noisy(make_clusters)
    prototypes = Prototypes.of(class_means(features, labels, 4))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    first = judge(make(), make_bank(features, labels, 4), prototypes)
    again = judge(make(), make_bank(features[order], labels[order], 4), prototypes)
    assert torch.allclose(first.weights[order], again.weights, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_come_close(dtype: torch.dtype, make_clusters: Clusters) -> None:
    features, labels, _ = noisy(make_clusters)
    prototypes = Prototypes.of(class_means(features, labels, 4))
    exact = judge(make(), make_bank(features, labels, 4), prototypes).weights
    rough = judge(make(), make_bank(features.to(dtype), labels, 4, logits=torch.zeros(60, 4)), prototypes).weights
    assert torch.allclose(rough, exact, atol=0.02)


def test_state_restores_thresholds_and_initial_prototypes(make_clusters: Clusters, make_relation: Relation) -> None:
    features, labels, _ = noisy(make_clusters)
    bank, side = make_bank(features, labels, 4), make_relation(4)
    prototypes = Prototypes.of(class_means(features, labels, 4))
    method, restored = (make(score="consistency", weights="keep", keep_share=0.3) for _ in range(2))
    first = judge(method, bank, prototypes, side)
    restored.load_state_dict(method.state_dict())
    again = restored(bank.take(torch.arange(len(labels))), labels, prototypes, side)
    assert first.score is not None
    assert again.score is not None
    assert torch.equal(first.weights, again.weights)
    assert torch.equal(first.score, again.score)


def test_inputs_are_left_alone(make_clusters: Clusters) -> None:
    features, labels, _ = noisy(make_clusters)
    prototypes = Prototypes.of(class_means(features, labels, 4))
    kept = features.clone(), labels.clone(), prototypes.vectors.clone()
    judge(make(), make_bank(features, labels, 4), prototypes)
    assert torch.equal(features, kept[0])
    assert torch.equal(labels, kept[1])
    assert torch.equal(prototypes.vectors, kept[2])


def test_two_groups_finds_the_valley_between_them() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.cat([torch.randn(400, generator=generator), torch.randn(600, generator=generator) + 8])
    threshold = two_groups(scores)
    assert threshold is not None
    assert 2 < threshold < 6


def test_two_groups_sees_none_where_all_scores_are_one() -> None:
    assert two_groups(torch.ones(10)) is None


@pytest.mark.parametrize("classes", [3, 90])
@pytest.mark.parametrize("reduce", ["nearest", "mean"])
def test_the_nearest_other_class_agrees_with_judging_every_class(classes: int, reduce: str) -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(classes, 4, generator=generator) > 0.4
    mask[1] = False
    vectors = torch.randn(classes, 4, 6, generator=generator)
    prototypes = Prototypes.of(vectors, mask, torch.rand(classes, 4, generator=generator))
    features = torch.randn(40, 6, generator=generator)
    labels = torch.randint(classes, (40,), generator=generator)
    to = towards(prototypes)
    every = torch.stack([distance(features, torch.full((40,), c), to, reduce) for c in range(classes)], 1)
    every[:, ~prototypes.present] = torch.inf
    every[torch.arange(40), labels] = torch.inf
    torch.testing.assert_close(nearest_other(features, labels, to, reduce), every.amin(1), atol=1e-5, rtol=0)


def test_clean_labels_are_not_called_wrong_though_otsu_splits_their_scores(make_clusters: Clusters) -> None:
    features, labels = make_clusters(4, 15)
    prototypes = Prototypes.of(class_means(features, labels, 4))
    method = make()
    made = judge(method, make_bank(features, labels, 4), prototypes)
    assert made.wrong is not None
    assert made.score is not None
    assert method.threshold is not None
    assert bool((made.score < method.threshold).any())
    assert not bool(made.wrong.any())


@pytest.mark.parametrize("share", [1, 3, 6, 9])
def test_labels_called_wrong_are_those_that_are(share: int, make_clusters: Clusters) -> None:
    features, labels, wrong = noisy(make_clusters, share)
    truth = torch.arange(4).repeat_interleave(15)
    prototypes = Prototypes.of(class_means(features, truth, 4))
    made = judge(make(), make_bank(features, labels, 4), prototypes)
    assert made.wrong is not None
    assert torch.equal(made.wrong, wrong)


def test_nearest_calls_wrong_what_is_nearer_to_another_class(make_clusters: Clusters) -> None:
    features, labels, _ = noisy(make_clusters)
    vectors = class_means(features, labels, 4)
    made = judge(make(decision="nearest"), make_bank(features, labels, 4), Prototypes.of(vectors))
    closest = nn.functional.cosine_similarity(features.unsqueeze(1), vectors, dim=2).argmax(1)
    assert made.wrong is not None
    assert torch.equal(made.wrong, closest != labels)


def test_with_one_class_alone_nothing_is_called_wrong() -> None:
    bank = make_bank(torch.tensor([[0.0, 5.0], [2.0, 0.0]]), [0, 0], 1, logits=torch.zeros(2, 1))
    made = judge(make(), bank, Prototypes.of(torch.tensor([[3.0, 0.0]])))
    assert made.wrong is not None
    assert not bool(made.wrong.any())


def many_classes(classes: int = 90) -> tuple[FeatureBank, Prototypes]:
    """A bank of so many classes that a guess is tried before all of them, and a prototype of each."""
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randn(classes, 160, generator=generator)
    truth = torch.arange(classes).repeat(8)
    features = vectors[truth] + 2.5 * torch.randn(len(truth), 160, generator=generator)
    labels = torch.where(torch.rand(len(truth), generator=generator) < 0.4, (truth + 7) % classes, truth)
    return make_bank(features, labels, classes), Prototypes.of(vectors)


def test_a_guess_changes_nothing_of_what_is_called_wrong() -> None:
    bank, prototypes = many_classes()
    method = make()
    found = judge(method, bank, prototypes)
    block = bank.take(torch.arange(len(bank)))
    far = distance(block.features, block.observed, towards(prototypes))
    assert method.threshold is not None
    low = 1.2 - far < method.threshold
    other = nearest_other(block.features, block.observed, towards(prototypes))
    guess = likely_other(block.features, block.observed, towards(prototypes), torch.arange(len(bank)))
    assert found.wrong is not None
    assert torch.equal(found.wrong, low & (other < far))
    assert bool((guess != block.observed).all())
    nearest = distance(block.features, guess, towards(prototypes)).isclose(other, atol=1e-4)
    assert float(nearest.float().mean()) > 0.1  # by mere chance it would be one in 89


def test_what_the_fit_keeps_is_used_for_its_own_bank_prototypes_and_labels_alone() -> None:
    bank, prototypes = many_classes()
    method = make()
    fitted = judge(method, bank, prototypes)
    block = bank.take(torch.arange(len(bank)))
    moved = Prototypes.of(prototypes.vectors[:, 0].roll(1, 0))
    turned = make_bank(block.features.flip(0), block.observed, 90)
    for other, labels, with_prototypes in (
        (block, (block.observed + 1) % 90, prototypes),
        (block, block.observed, moved),
        (turned.take(torch.arange(len(bank))), block.observed, prototypes),
    ):
        found = method(other, labels, with_prototypes, NOTHING).weights
        alone = (1.2 - distance(other.features, labels, towards(with_prototypes))).clamp(min=0) ** 1.5
        assert torch.allclose(found, alone, atol=1e-5)
        assert not torch.allclose(found, fitted.weights, atol=1e-2)


def test_distances_of_some_rows_are_those_of_all() -> None:
    bank, prototypes = many_classes()
    block, rows = bank.take(torch.arange(len(bank))), torch.tensor([5, 3, 700])
    several = Prototypes.of(prototypes.vectors.expand(-1, 2, -1))
    for one in (prototypes, several):
        to = towards(one)
        whole = distance(block.features, block.observed, to)
        assert torch.allclose(distance(block.features, block.observed[rows], to, rows=rows), whole[rows], atol=1e-5)
