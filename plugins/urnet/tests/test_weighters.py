"""Class, cluster and source weights on banks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from noisyrun.api import PAD, Block, FeatureBank, Judgement, MethodError, SampleWeighter, SideInfo, UserError
from noisyrun.testing import make_bank, make_phase
from noisyrun_urnet.class_size import ClassSize
from noisyrun_urnet.clusters import Clusters
from noisyrun_urnet.config import ClassSizeConfig, ClustersConfig, SourceTrustConfig
from noisyrun_urnet.source import SourceTrust

METHODS = {
    "class": (ClassSize, ClassSizeConfig),
    "cluster": (Clusters, ClustersConfig),
    "source": (SourceTrust, SourceTrustConfig),
}


def weighter(name: str, **settings: Any) -> SampleWeighter[Any]:
    factory, config = METHODS[name]
    made = factory(config(**settings))
    made.key = f"weighter.urnet-{name}"
    return made


def fitted(name: str, bank: FeatureBank, **settings: Any) -> SampleWeighter[Any]:
    made = weighter(name, **settings)
    made.fit(bank, None, SideInfo(), make_phase(method=made.key))
    return made


def judged(made: SampleWeighter[Any], bank: FeatureBank, labels: Tensor | None = None) -> Judgement:
    block = bank.take(torch.arange(len(bank)))
    return made(block, bank.labels.single if labels is None else labels, None, SideInfo())


def blobs(sizes: list[list[int]], dim: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features and labels: sizes[c][g] samples of class c in far-away cluster g."""
    generator = torch.Generator().manual_seed(seed)
    groups = len(sizes[0])
    centres = 100 * torch.eye(groups, dim)
    features, labels = [], []
    for c, row in enumerate(sizes):
        for g, n in enumerate(row):
            features.append(centres[g] + torch.randn(n, dim, generator=generator))
            labels += [c] * n
    return torch.cat(features), torch.tensor(labels)


def said(*classes: int, of: int) -> Tensor:
    """Logits of a classifier that predicts these classes."""
    return 20.0 * torch.nn.functional.one_hot(torch.tensor(classes), of)


class Watched(FeatureBank):
    """A bank that notes how many rows were read at once."""

    def __init__(self, bank: FeatureBank) -> None:
        vars(self).update(vars(bank))
        self.bank, self.most = bank, 0

    def take(self, rows: Tensor) -> Block:
        self.most = max(self.most, len(rows))
        return self.bank.take(rows)

    def blocks(self, rows: Tensor | None = None, size: int | None = None) -> Iterator[Block]:
        for block in self.bank.blocks(rows, size):
            self.most = max(self.most, len(block))
            yield block

    def of_class(self, c: int) -> Tensor:
        return self.bank.of_class(c)

    def verified(self, split: Any = "all") -> Tensor:
        return self.bank.verified(split)

    def predictions(self, name: str) -> tuple[Tensor, Tensor]:
        return self.bank.predictions(name)


def test_each_label_has_the_weight_of_its_own_class() -> None:
    bank = make_bank(torch.randn(4, 3), [0, 1, 1, 1], 2)
    made = fitted("class", bank)
    assert judged(made, bank).weights.tolist() == pytest.approx([1.5, 5 / 6, 5 / 6, 5 / 6])
    other = judged(made, bank, torch.tensor([1, 0, 0, 1])).weights
    assert other.tolist() == pytest.approx([5 / 6, 1.5, 1.5, 5 / 6])


def test_class_sizes_count_positives_where_a_sample_has_several() -> None:
    bank = make_bank(torch.randn(3, 3), torch.tensor([[0, 1], [1, PAD], [1, PAD]]), 2, multi=True)
    made = fitted("class", bank)
    rows = torch.tensor([0, 0, 1, 2])
    assert made(bank.take(rows), torch.tensor([0, 1, 1, 1]), None, SideInfo()).weights.tolist() == pytest.approx(
        [1.5, 5 / 6, 5 / 6, 5 / 6]
    )


def test_neither_class_nor_cluster_size_ranks_the_labels() -> None:
    features, labels = blobs([[4, 1], [2, 3]])
    bank = make_bank(features, labels, 2)
    for name in ("class", "cluster"):
        found = judged(fitted(name, bank), bank)
        assert found.score is not None
        assert found.score.unique().tolist() == [1.0]
        assert found.wrong is None


def test_cluster_weights_by_hand() -> None:
    # Class 0 is confused with class 1 alone. Together: 6 + 2 in the first cluster, 1 + 3 in the second, of 12.
    # Class 1 is confused with none: 2 and 3 of 5. Class 2: one sample, one group.
    features, labels = blobs([[6, 1], [2, 3], [0, 1]])
    predicted = [0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 1, 2]
    bank = make_bank(features, labels, 3, logits=said(*predicted, of=3))
    found = judged(fitted("cluster", bank, groups=2), bank).weights
    assert found.tolist() == pytest.approx([8 / 12] * 6 + [4 / 12] + [2 / 5] * 2 + [3 / 5] * 3 + [1.0])


def test_only_the_most_confused_classes_are_clustered_together() -> None:
    # Class 0 is taken twice for 2 and once for 1.
    features, labels = blobs([[4, 1], [7, 0], [0, 3]])
    predicted = [2, 2, 1, 0, 0] + [1] * 7 + [2] * 3
    bank = make_bank(features, labels, 3, logits=said(*predicted, of=3))
    found = judged(fitted("cluster", bank, confused=1, groups=2), bank).weights
    assert found[:5].tolist() == pytest.approx([4 / 8] * 5)
    with_both = judged(fitted("cluster", bank, confused=2, groups=2), bank).weights
    assert with_both[:5].tolist() == pytest.approx([11 / 15] * 4 + [4 / 15])


def test_cluster_weights_are_those_of_the_observed_class_for_any_label() -> None:
    features, labels = blobs([[6, 1], [2, 3]])
    bank = make_bank(features, labels, 2)
    made = fitted("cluster", bank, groups=2)
    assert torch.equal(judged(made, bank).weights, judged(made, bank, 1 - bank.labels.single).weights)


def test_confusion_may_come_from_predictions_that_a_stage_kept() -> None:
    features, labels = blobs([[4, 1], [7, 0], [0, 3]])
    kept = torch.tensor([2, 2, 1, 0, 0] + [1] * 7 + [2] * 3).unsqueeze(1)
    bank = make_bank(features, labels, 3, predictions={"baseline": (kept, torch.ones(15, 1))})
    made = weighter("cluster", predictions="baseline", confused=1, groups=2)
    assert made.needs.predictions == "baseline"
    made.fit(bank, None, SideInfo(), make_phase())
    assert judged(made, bank).weights[:5].tolist() == pytest.approx([4 / 8] * 5)


def test_a_sample_without_a_label_has_the_mean_weight() -> None:
    features, labels = blobs([[6, 2]])
    labels[3] = PAD
    bank = make_bank(features, labels, 1)
    found = judged(fitted("cluster", bank, groups=2), bank, torch.zeros(8, dtype=torch.int64)).weights
    rest = torch.cat([found[:3], found[4:]])
    assert rest.tolist() == pytest.approx([5 / 7] * 5 + [2 / 7] * 2)
    assert float(found[3]) == pytest.approx(float(rest.mean()))


def test_fewer_classes_and_samples_than_groups() -> None:
    bank = make_bank(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), [0, 0, 1], 4)
    found = judged(fitted("cluster", bank), bank).weights
    assert torch.isfinite(found).all()
    assert bool((found > 0).all())


def test_alike_samples_are_one_group() -> None:
    bank = make_bank(torch.ones(6, 3), [0] * 6, 2)
    assert judged(fitted("cluster", bank), bank).weights.tolist() == [1.0] * 6


def test_clusters_that_do_not_fit_are_found_on_a_part_and_the_rest_assigned() -> None:
    features, labels = blobs([[300, 100], [50, 150]], seed=4)
    whole = make_bank(features, labels, 2)
    watched = Watched(whole)
    made = weighter("cluster", groups=2)
    room = 60
    made.fit(watched, None, SideInfo(), make_phase(memory=room * 6 * 6 * 4))
    assert watched.most <= room
    assert torch.equal(judged(made, whole).weights, judged(fitted("cluster", whole, groups=2), whole).weights)


def test_the_numbering_of_classes_does_not_matter_to_clusters() -> None:
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(80, 5, generator=generator)
    labels = torch.arange(4).repeat(20)
    # Class c is taken for c + d exactly 4 − d times: no ties.
    predicted = labels.clone()
    for c in range(4):
        of = (labels == c).nonzero()[:6, 0]
        predicted[of] = (c + torch.tensor([1, 1, 1, 2, 2, 3])) % 4
    order = torch.tensor([2, 0, 3, 1])
    banks = [
        make_bank(features, labels, 4, logits=said(*predicted.tolist(), of=4)),
        make_bank(features, order[labels], 4, logits=said(*order[predicted].tolist(), of=4)),
    ]
    first, second = (judged(fitted("cluster", bank, confused=2), bank).weights for bank in banks)
    assert torch.equal(first, second)
    assert len(first.unique()) > 5


def test_weights_follow_the_samples_whatever_their_order() -> None:
    features, labels = blobs([[6, 1], [2, 3]])
    bank = make_bank(features, labels, 2)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(6))
    for name in ("class", "cluster"):
        made = fitted(name, bank)
        moved = made(bank.take(order), bank.labels.single[order], None, SideInfo()).weights
        assert torch.equal(judged(made, bank).weights[order], moved)


def test_the_same_seed_gives_the_same_weights_and_leaves_global_randomness_alone() -> None:
    generator = torch.Generator().manual_seed(7)
    bank = make_bank(torch.randn(60, 5, generator=generator), torch.arange(60) % 3, 3)
    before = torch.random.get_rng_state()
    first, second = (judged(fitted("cluster", bank), bank).weights for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.random.get_rng_state())


def sources() -> FeatureBank:
    # Class 0: two of flickr at rank 5 and 0, one at no rank; class 1: flickr at 7; the rest of google.
    return make_bank(
        torch.randn(6, 3),
        [0, 0, 0, 1, 0, 1],
        2,
        source=[1, 1, 1, 1, 0, 0],
        source_names=("google", "flickr"),
        rank=[5, 0, -1, 7, 900, 3],
    )


def test_only_the_top_ranked_of_an_unreliable_source_count() -> None:
    bank = sources()
    assert judged(fitted("source", bank, top=1), bank).weights.tolist() == [0, 1, 0, 1, 1, 1]
    assert judged(fitted("source", bank, top=2), bank).weights.tolist() == [1, 1, 0, 1, 1, 1]
    assert judged(fitted("source", bank), bank).weights.tolist() == [1] * 6


def test_each_unreliable_source_has_its_own_top() -> None:
    bank = sources()
    made = fitted("source", bank, top=1, unreliable=("flickr", "google"))
    assert judged(made, bank).weights.tolist() == [0, 1, 0, 1, 1, 1]


def test_a_sample_of_several_classes_counts_when_it_is_on_top_of_one() -> None:
    labels = torch.tensor([[0, 1], [0, PAD], [1, PAD]])
    bank = make_bank(torch.randn(3, 3), labels, 2, multi=True, source=[0] * 3, source_names=("flickr",), rank=[2, 1, 3])
    made = fitted("source", bank, top=1)
    assert made(bank.take(torch.arange(3)), torch.tensor([0, 0, 1]), None, SideInfo()).weights.tolist() == [1, 1, 0]


def test_a_source_that_the_data_does_not_have_is_named() -> None:
    with pytest.raises(UserError, match=r"no source 'bing'; its sources are google, flickr"):
        fitted("source", sources(), unreliable=("bing",))


@pytest.mark.parametrize("name", list(METHODS))
def test_state_is_restored_without_fitting(name: str) -> None:
    bank = sources()
    made = fitted(name, bank)
    restored = weighter(name)
    restored.load_state_dict(made.state_dict())
    assert torch.equal(judged(made, bank).weights, judged(restored, bank).weights)


@pytest.mark.parametrize("name", ["cluster", "source"])
def test_state_is_kept_by_stable_index(name: str) -> None:
    bank = sources()
    made = fitted(name, bank)
    block = bank.take(torch.tensor([4, 1, 0]))
    part = make_bank(block.features, [0, 0, 0], 2, index=torch.tensor([4, 1, 77]), source=[0, 1, 1], rank=[900, 0, 5])
    kept = weighter(name)
    kept.load_state_dict(made.state_dict())
    whole, found = judged(made, bank).weights, judged(kept, part).weights
    assert found[:2].tolist() == whole[[4, 1]].tolist()
    assert bool(torch.isfinite(found[2]))  # a sample that was not there when the weights were made


@pytest.mark.parametrize("name", list(METHODS))
def test_weighing_before_fitting_is_an_error(name: str) -> None:
    with pytest.raises(MethodError, match="fitted"):
        judged(weighter(name), sources())


def test_what_each_needs() -> None:
    assert weighter("class").needs.labels == {"single", "multi"}
    assert weighter("cluster").needs.labels == {"single"}
    source = weighter("source").needs
    assert (source.source, source.rank, source.labels) == (True, True, {"single", "multi"})


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (ClassSizeConfig, {"alpha": 1.5}),
        (ClustersConfig, {"groups": 0}),
        (SourceTrustConfig, {"unreliable": ()}),
        (SourceTrustConfig, {"top": 0}),
    ],
)
def test_settings_out_of_range_are_refused(config: type[Any], field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        config(**field)
