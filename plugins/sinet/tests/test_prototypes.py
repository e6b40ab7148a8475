"""Visual prototypes: against slow arithmetic, from clean samples, and for classes with few samples or none."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from noisyrun.api import DenseRows, FeatureBank, Labels, Prototypes, SideInfo, UserError
from noisyrun.testing import make_bank, make_phase
from noisyrun_sinet.config import SinetPrototypesConfig
from noisyrun_sinet.prototypes import SinetPrototypes

Clusters = Callable[..., tuple[Tensor, Tensor]]
Relation = Callable[..., SideInfo]


def build(bank: FeatureBank, side: SideInfo, **settings: object) -> Prototypes:
    method = SinetPrototypes(SinetPrototypesConfig.model_validate(settings))
    method.key = "prototypes.sinet"
    return method(bank, side, make_phase(0, method.key))


def slow(
    features: Tensor, labels: Tensor, confidence: Tensor, relation: Tensor, k: int, top: int | None, weighted: bool
) -> np.ndarray:
    """Section 3.2 in float64, sample by sample."""
    g, s_t = features.double().numpy(), relation.double().numpy()
    count = len(s_t)
    rows = [[i for i in range(len(g)) if labels[i] == c] for c in range(count)]
    initial = [g[sorted(of, key=lambda i: -float(confidence[i]))[:k]].mean(0) for of in rows]

    def score(i: int, c: int) -> float:
        visual = np.array([g[i] @ v / math.sqrt((g[i] @ g[i]) * (v @ v)) for v in initial])
        p, q = np.exp(s_t[c] / 0.1), np.exp(visual / 0.1)
        p, q = p / p.sum(), q / q.sum()
        return 1 / (float((p * np.log(p / q)).sum()) + 1e-3) ** 2

    made = []
    for c, of in enumerate(rows):
        scores = {i: score(i, c) for i in of}
        best = sorted(of, key=lambda i: -scores[i])[:top]
        shares = {i: scores[i] if weighted else 1.0 for i in best}
        made.append(sum(shares[i] * g[i] for i in best) / sum(shares.values()))
    return np.array(made)


@pytest.mark.parametrize(("weighting", "top"), [("weighting", None), ("weighting", 4), ("constant", 4)])
def test_prototypes_agree_with_slow_arithmetic(
    weighting: str, top: int | None, make_clusters: Clusters, make_relation: Relation
) -> None:
    features, labels = make_clusters(5, 9)
    labels = labels.roll(3)  # some labels are wrong
    bank, side = make_bank(features, labels, 5), make_relation(5)
    made = build(bank, side, weighting=weighting, top=top, k=3)
    assert side.class_similarity is not None
    want = slow(
        features, labels, bank.label_probs[:, 0], side.class_similarity.dense(), 3, top, weighting == "weighting"
    )
    np.testing.assert_allclose(made.vectors[:, 0].numpy(), want, rtol=1e-4, atol=1e-5)


def test_the_plain_mean_of_all_samples_asks_for_no_relation(make_clusters: Clusters) -> None:
    features, labels = make_clusters(3, 5)
    method = SinetPrototypes(SinetPrototypesConfig(weighting="constant"))
    assert not method.needs.class_similarity
    made = build(make_bank(features, labels, 3), SideInfo(), weighting="constant")
    assert torch.allclose(made.vectors[1, 0], features[labels == 1].mean(0), atol=1e-6)


def test_a_missing_relation_is_one_clear_line(make_clusters: Clusters) -> None:
    assert SinetPrototypes(SinetPrototypesConfig()).needs.class_similarity
    with pytest.raises(UserError, match="--side-info sinet"):
        build(make_bank(*make_clusters(3, 5), 3), SideInfo())


def test_blocks_do_not_change_the_prototypes(make_clusters: Clusters, make_relation: Relation) -> None:
    features, labels = make_clusters(3, 40)
    side = make_relation(3)
    whole = build(make_bank(features, labels, 3), side)
    blocks = build(make_bank(features, labels, 3, memory=2000), side)
    assert torch.allclose(whole.vectors, blocks.vectors, atol=1e-5)


def test_samples_in_another_order_give_the_same_prototypes(make_clusters: Clusters, make_relation: Relation) -> None:
    features, labels = make_clusters(4, 10)
    labels = labels.roll(2)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    side = make_relation(4)
    first = build(make_bank(features, labels, 4), side, k=3)
    again = build(make_bank(features[order], labels[order], 4), side, k=3)
    assert torch.allclose(first.vectors, again.vectors, atol=1e-3)  # ε makes p_i sensitive to the last bits of KL


def test_classes_in_another_order_give_their_prototypes_in_that_order(
    make_clusters: Clusters, make_relation: Relation
) -> None:
    features, labels = make_clusters(4, 10)
    side = make_relation(4)
    assert side.class_similarity is not None
    order = torch.tensor([2, 0, 3, 1])
    turned = SideInfo(class_similarity=DenseRows(side.class_similarity.dense()[order][:, order]))
    first = build(make_bank(features, labels, 4), side)
    again = build(make_bank(features, order.argsort()[labels], 4), turned)
    assert torch.allclose(again.vectors, first.vectors[order], atol=1e-3)


def test_the_same_call_gives_the_same_answer_and_leaves_its_inputs_alone(
    make_clusters: Clusters, make_relation: Relation
) -> None:
    features, labels = make_clusters(3, 10)
    bank, side = make_bank(features, labels, 3), make_relation(3)
    kept = features.clone(), labels.clone(), bank.label_probs.clone()
    first, again = build(bank, side), build(bank, side)
    assert torch.equal(first.vectors, again.vectors)
    assert torch.equal(features, kept[0])
    assert torch.equal(labels, kept[1])
    assert torch.equal(bank.label_probs, kept[2])


def test_a_class_without_samples_is_masked(make_clusters: Clusters, make_relation: Relation) -> None:
    features, labels = make_clusters(3, 6)
    labels[labels == 1] = 2
    made = build(make_bank(features, labels, 3), make_relation(3))
    assert made.present.tolist() == [True, False, True]
    assert not bool(made.vectors[1].any())


def test_a_class_of_one_sample_is_that_sample(make_clusters: Clusters, make_relation: Relation) -> None:
    features, _ = make_clusters(2, 4)
    made = build(make_bank(features, [0, 1, 1, 1, 1, 1, 1, 1], 2), make_relation(2))
    assert torch.allclose(made.vectors[0, 0], features[0], atol=1e-6)


def test_a_zero_feature_is_no_trouble(make_clusters: Clusters, make_relation: Relation) -> None:
    features, labels = make_clusters(3, 4)
    features[0] = 0
    features[labels == 2] = 0
    made = build(make_bank(features, labels, 3), make_relation(3))
    assert bool(torch.isfinite(made.vectors).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_come_close(
    dtype: torch.dtype, make_clusters: Clusters, make_relation: Relation
) -> None:
    features, labels = make_clusters(3, 20)
    side = make_relation(3)
    exact = build(make_bank(features, labels, 3), side)
    rough = build(make_bank(features.to(dtype), labels, 3, logits=torch.zeros(60, 3)), side)
    rough_exact = build(make_bank(features.to(dtype).float(), labels, 3, logits=torch.zeros(60, 3)), side)
    assert torch.allclose(rough.vectors, rough_exact.vectors, atol=1e-5)
    assert rough.vectors.dtype == exact.vectors.dtype == torch.float32


def test_clean_samples_take_the_place_of_noisy_ones(make_clusters: Clusters, make_relation: Relation) -> None:
    features, truth = make_clusters(3, 8)
    labels = truth.roll(1)
    trusted = torch.full((24,), -1)
    trusted[[0, 1, 9]] = truth[[0, 1, 9]]
    bank, side = make_bank(features, labels, 3, trusted=trusted), make_relation(3)
    made = build(bank, side, top=1, k=1)
    assert any(torch.allclose(made.vectors[0, 0], features[i]) for i in (0, 1))
    assert torch.allclose(made.vectors[1, 0], features[9])
    assert any(torch.allclose(made.vectors[2, 0], features[i]) for i in (labels == 2).nonzero()[:, 0])  # none is clean
    ignoring = build(bank, side, clean="never")
    plain = build(make_bank(features, labels, 3), side)
    assert torch.equal(ignoring.vectors, plain.vectors)


def test_always_clean_asks_for_a_clean_subset() -> None:
    assert SinetPrototypes(SinetPrototypesConfig(clean="always")).needs.clean
    assert not SinetPrototypes(SinetPrototypesConfig()).needs.clean


def test_a_sample_of_several_labels_counts_in_each_of_its_classes(make_relation: Relation) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(6, 5, generator=generator)
    both = Labels(torch.tensor([[0, 1], [0, -1], [1, -1], [2, 0], [2, -1], [1, 2]]))
    bank = make_bank(features, both, 3, multi=True)
    made = build(bank, make_relation(3), weighting="constant")
    assert torch.allclose(made.vectors[0, 0], features[[0, 1, 3]].mean(0), atol=1e-6)
    assert torch.allclose(made.vectors[2, 0], features[[3, 4, 5]].mean(0), atol=1e-6)


def test_initial_prototypes_take_the_samples_of_highest_confidence(make_relation: Relation) -> None:
    from noisyrun_sinet.scores import Candidates, initial_prototypes

    features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [9.0, 9.0], [0.0, 2.0]])
    logits = torch.tensor([[3.0, 0.0], [2.0, 0.0], [0.0, 5.0], [0.0, 1.0]])
    bank = make_bank(features, [0, 0, 0, 1], 2, logits=logits)
    vectors, present = initial_prototypes(bank, Candidates(bank, clean=False), 2, make_phase())
    assert vectors.tolist() == [[2.0, 0.0], [0.0, 2.0]]
    assert present.tolist() == [0, 1]


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_weighted_means_agree_with_slow_arithmetic(scale: float) -> None:
    from noisyrun_sinet.scores import weighted_means

    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3000, 3, generator=generator)
    labels = torch.randint(4, (3000,), generator=generator)
    shares = torch.rand(3000, generator=generator) * scale
    bank = make_bank(features, labels, 5)

    def weights(part: torch.Tensor, named: torch.Tensor) -> torch.Tensor:
        at = (part[:, None, 0] == features[None, :, 0]).int().argmax(1)
        assert torch.equal(labels[at], named)
        return shares[at]

    # Several blocks, several pieces of each, and more rows than are added up in single precision.
    bank.memory = 100_000
    made = weighted_means(bank, torch.arange(3000), labels, make_phase(), weights, size=100)
    assert len(list(bank.blocks())) > 2
    slow, exact = shares.double(), features.double()
    for c in range(4):
        own = labels == c
        expected = (slow[own].unsqueeze(1) * exact[own]).sum(0) / slow[own].sum()
        assert torch.allclose(made[c].double(), expected, atol=1e-6)
    assert made[4].tolist() == [0.0, 0.0, 0.0]


def test_no_label_at_all_is_one_clear_line(make_relation: Relation) -> None:
    with pytest.raises(UserError, match="nothing to build prototypes from"):
        build(make_bank(torch.ones(2, 3), [-1, -1], 2, logits=torch.zeros(2, 2)), make_relation(2))
