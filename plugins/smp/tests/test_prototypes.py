"""Choosing prototypes: which samples, which rows, and what is never chosen."""

from __future__ import annotations

from typing import Any

import pytest
import smp_reference as slow
import torch

from noisyrun.api import PAD, FeatureBank, Phase, Prototypes, SideInfo, UserError
from noisyrun.testing import make_bank, make_phase
from noisyrun_smp.config import SmpPrototypesConfig
from noisyrun_smp.prototypes import SmpPrototypes, draw

KEY = "prototypes.smp"


def builder(**settings: Any) -> SmpPrototypes:
    made = SmpPrototypes(SmpPrototypesConfig(**settings))
    made.key = KEY
    return made


def phase(seed: int = 0, **fields: Any) -> Phase:
    return make_phase(seed, KEY, **fields)


def build(bank: FeatureBank, seed: int = 0, **settings: Any) -> Prototypes:
    return builder(**settings)(bank, SideInfo(), phase(seed))


def clusters(n: int = 90, classes: int = 3, dim: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features around a few centres, and labels of which a fifth are wrong."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(n) % classes
    centres = torch.randn(classes, dim, generator=generator) * 2
    features = centres[truth] + torch.randn(n, dim, generator=generator)
    wrong = torch.rand(n, generator=generator) < 0.2
    return features, torch.where(wrong, (truth + 1) % classes, truth)


@pytest.mark.parametrize("side", ["top", "bottom"])
def test_prototypes_are_those_of_the_slow_form_on_the_same_draw(side: str) -> None:
    features, labels = clusters()
    bank = make_bank(features, labels, 3)
    made = build(bank, m=20, p=4, density_side=side, eta=0.9)
    for c in range(3):
        rows = draw(bank.of_class(c), 20, phase().generator("class", c))
        expected = rows[slow.prototypes_of(features[rows].double().numpy(), 4, 0.9, 0.4, side)]
        assert made.rows is not None
        assert made.rows[c].tolist() == expected.tolist()
        assert torch.equal(made.vectors[c], features[expected])


def test_all_samples_of_a_class_are_candidates_where_there_are_no_more_than_m() -> None:
    features, labels = clusters(n=30)
    rows = torch.nonzero(labels == 1)[:, 0]
    expected = rows[slow.prototypes_of(features[rows].double().numpy(), 3)]
    assert build(make_bank(features, labels, 3), p=3).rows[1].tolist() == expected.tolist()  # type: ignore[index]


@pytest.mark.parametrize("limit", [0.2, 0.7, 0.95])
def test_the_few_densest_or_all_must_be_looked_at_and_both_follow_the_rule(limit: float) -> None:
    features, labels = clusters(n=360)
    rows = torch.nonzero(labels == 2)[:, 0]
    expected = rows[slow.prototypes_of(features[rows].double().numpy(), 3, limit)]
    made = build(make_bank(features, labels, 3), p=3, eta=limit)
    assert made.rows is not None
    assert made.rows[2].tolist() == expected.tolist()


def test_outliers_below_the_density_floor_are_not_chosen_while_others_are_left() -> None:
    # Sixteen nearly equal samples and four outliers: only the outliers (and the densest) have an η below the limit.
    generator = torch.Generator().manual_seed(0)
    alike = torch.tensor([1.0, 1.0, 0.0, 0.0]) + 0.01 * torch.randn(16, 4, generator=generator)
    bank = make_bank(torch.cat([alike, torch.eye(4) - 0.2]), [0] * 20, 1)
    as_published, floored = (build(bank, p=4, density_floor=floor).rows[0] for floor in (0.0, 0.5))  # type: ignore[index]
    assert int((as_published >= 16).sum()) == 3
    assert int((floored >= 16).sum()) == 0
    assert int((build(bank, p=20, density_floor=0.5).rows[0] >= 0).sum()) == 20  # type: ignore[index]


def test_a_class_with_fewer_than_p_samples_takes_all_and_masks_the_rest() -> None:
    features = torch.eye(4)
    made = build(make_bank(features, [0, 0, 0, 1], 3), p=8)
    assert made.mask.sum(1).tolist() == [3, 1, 0]
    assert made.rows is not None
    assert made.rows[1].tolist() == [3] + [PAD] * 7
    assert made.present.tolist() == [True, True, False]
    assert not made.vectors[~made.mask].any()


def test_duplicates_tie_and_are_all_candidates() -> None:
    # Ties in density follow the strict inequality: of two equal samples neither is denser than the other.
    point, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    made = build(make_bank(torch.stack([point, point, point, other]), [0] * 4, 1), p=3)
    assert made.rows is not None
    assert made.rows[0].tolist() == [0, 1, 2]


def test_equal_samples_are_still_p_prototypes() -> None:
    made = build(make_bank(torch.ones(10, 3), [0] * 10, 1), p=8)
    assert int(made.mask.sum()) == 8
    assert torch.isfinite(made.vectors).all()


def test_features_of_zero_are_no_trouble() -> None:
    features, labels = clusters()
    features[::7] = 0
    made = build(make_bank(features, labels, 3), p=5)
    assert torch.isfinite(made.vectors).all()


def test_the_draw_depends_on_seed_and_round_alone() -> None:
    bank = make_bank(*clusters(), 3)
    first, again = build(bank, m=10), build(bank, m=10)
    assert torch.equal(first.rows, again.rows)  # type: ignore[arg-type]
    other = builder(m=10)(bank, SideInfo(), phase(round=1))
    assert not torch.equal(first.rows, other.rows)  # type: ignore[arg-type]


def test_a_class_built_alone_is_the_same_as_with_all_others() -> None:
    bank = make_bank(*clusters(), 3)
    together = build(bank, m=12)
    alone = builder(m=12).build_classes([2], bank, SideInfo(), phase())[0]
    assert torch.equal(together.rows[2:], alone.rows)  # type: ignore[arg-type, index]


def test_draw_takes_m_different_rows_of_the_pool() -> None:
    pool = torch.arange(50) * 3
    rows = draw(pool, 20, torch.Generator().manual_seed(0))
    assert len(set(rows.tolist())) == 20
    assert set(rows.tolist()) <= set(pool.tolist())


def test_without_the_eta_limit_the_densest_are_taken_however_alike() -> None:
    # Three nearly equal samples are the densest; density alone takes them, the paper's rule spreads out.
    base = torch.tensor([1.0, 0.0, 0.0])
    near = [base + 0.001 * torch.randn(3, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    far = [torch.tensor([1.0, 0.9, 0.0]), torch.tensor([1.0, 0.0, 0.9])]
    bank = make_bank(torch.stack([*near, *far]), [0] * 5, 1)
    dense = build(bank, p=3, selection="density", density_share=0.36).rows[0]  # type: ignore[index]
    spread = build(bank, p=3, density_share=0.36).rows[0]  # type: ignore[index]
    assert set(dense.tolist()) == {0, 1, 2}
    assert set(spread.tolist()) >= {3, 4}


def test_k_means_gives_centroids_that_are_no_samples() -> None:
    features = torch.tensor([[0.0, 1.0], [0.2, 1.0], [5.0, 1.0], [5.2, 1.0]])
    made = build(make_bank(features, [0] * 4, 1), p=2, selection="k-means")
    assert sorted(made.vectors[0, :, 0].tolist()) == pytest.approx([0.1, 5.1])
    assert made.rows is not None
    assert made.rows.tolist() == [[PAD, PAD]]


def test_k_means_of_equal_samples_masks_what_it_cannot_fill() -> None:
    made = build(make_bank(torch.ones(10, 3), [0] * 10, 1), p=4, selection="k-means")
    assert made.mask.tolist() == [[True, False, False, False]]


def test_density_peaks_are_those_of_the_slow_form() -> None:
    features, labels = clusters()
    made = build(make_bank(features, labels, 3), p=4, selection="density-peaks", density_share=0.2)
    rows = torch.nonzero(labels == 0)[:, 0]
    expected = rows[slow.density_peaks(features[rows].double().numpy(), 4, 0.2)]
    assert made.rows is not None
    assert made.rows[0].tolist() == expected.tolist()


# --- verification labels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("selection", ["density-eta", "density", "density-peaks"])
def test_with_enough_verified_samples_prototypes_are_chosen_among_them_by_the_same_rule(selection: str) -> None:
    features, labels = clusters()
    verified = torch.full((90,), -1)
    verified[::2] = 1
    made = build(make_bank(features, labels, 3, verified=verified), p=4, selection=selection)
    assert made.rows is not None
    assert (verified[made.rows] == 1).all()
    right = torch.nonzero((labels == 0) & (verified == 1))[:, 0]
    alone = build(make_bank(features[right], [0] * len(right), 1), p=4, selection=selection)
    assert torch.equal(made.rows[0], right[alone.rows[0]])  # type: ignore[index]


def test_fewer_verified_than_p_are_all_taken_and_unverified_fill_up_by_the_usual_rule() -> None:
    features, labels = clusters()
    rows = torch.nonzero(labels == 0)[:, 0]
    verified = torch.full((90,), -1)
    verified[rows[3]] = verified[rows[7]] = 1
    verified[rows[:3]] = 0
    made = build(make_bank(features, labels, 3, verified=verified), p=5)
    unknown = rows[(verified[rows] == -1)]
    expected = unknown[slow.prototypes_of(features[unknown].double().numpy(), 3)]
    assert made.rows is not None
    assert made.rows[0].tolist() == [int(rows[3]), int(rows[7]), *expected.tolist()]


@pytest.mark.parametrize("selection", ["density-eta", "density", "k-means", "density-peaks"])
def test_samples_verified_wrong_are_never_chosen(selection: str) -> None:
    features, labels = clusters(n=24)
    verified = torch.zeros(24, dtype=torch.int64)
    verified[labels == 0] = -1
    verified[torch.nonzero(labels == 1)[:2, 0]] = 1
    made = build(make_bank(features, labels, 3, verified=verified), p=4, selection=selection)
    assert made.present.tolist() == [True, True, False]
    assert int(made.mask[1].sum()) == 2


def test_held_out_verification_labels_are_not_used() -> None:
    features, labels = clusters()
    verified = torch.zeros(90, dtype=torch.int64)
    bank = make_bank(features, labels, 3, verified=verified, held=torch.ones(90, dtype=torch.bool))
    plain = build(make_bank(features, labels, 3))
    assert torch.equal(build(bank).rows, plain.rows)  # type: ignore[arg-type]


# --- the rest -----------------------------------------------------------------------------------------------------


def test_rows_and_vectors_agree_in_a_centred_space() -> None:
    features, labels = clusters()
    bank = make_bank(features + 5, labels, 3, space="centred")
    made = build(bank, p=4)
    assert made.rows is not None
    assert torch.allclose(made.vectors[1], bank.take(made.rows[1]).features)


def test_multi_label_samples_count_for_each_of_their_classes() -> None:
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 1], [0, PAD], [1, PAD], [0, 1], [PAD, PAD], [1, PAD]])
    made = build(make_bank(features, labels, 2, multi=True), p=8)
    assert made.rows is not None
    assert sorted(made.rows[0][made.mask[0]].tolist()) == [0, 1, 3]
    assert sorted(made.rows[1][made.mask[1]].tolist()) == [0, 2, 3, 5]


def test_neither_features_nor_labels_are_changed() -> None:
    features, labels = clusters()
    bank = make_bank(features.clone(), labels.clone(), 3)
    for selection in ("density-eta", "density", "k-means", "density-peaks"):
        build(bank, p=4, selection=selection)
    assert torch.equal(bank.take(torch.arange(90)).features, features)
    assert torch.equal(bank.labels.single, labels)


def test_more_samples_than_memory_allows_are_refused_with_the_most_that_fit() -> None:
    features, labels = clusters()
    with pytest.raises(UserError, match=r"--prototypes\.m.*at most 17"):
        builder()(make_bank(features, labels, 3), SideInfo(), phase(memory=32 * 17 * 17 + 5))


def test_there_is_no_state_to_keep() -> None:
    made = builder()
    made.load_state_dict(made.state_dict())
    assert made.state_dict() == {}


def test_prototypes_are_right_more_often_than_labels() -> None:
    features, labels = clusters(n=900, dim=32)
    truth = torch.arange(900) % 3
    made = build(make_bank(features, labels, 3))
    assert made.rows is not None
    right = (truth[made.rows] == torch.arange(3).unsqueeze(1)).float().mean()
    assert float(right) > float((truth == labels).float().mean())


@pytest.mark.parametrize(
    "field", [{"p": 0}, {"m": 1}, {"eta": 1.5}, {"density_share": 1.0}, {"density_floor": 1.0}, {"selection": "best"}]
)
def test_settings_out_of_range_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        SmpPrototypesConfig(**field)
