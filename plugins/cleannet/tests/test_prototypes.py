"""CleanNet as a builder: references, training, state, and what it shows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from synthetic import KEY, Data, builder, make

from noisyrun.api import PAD, Exhibit, FeatureBank, Needs, Phase, Prototypes, SideInfo, UserError
from noisyrun.testing import make_bank, make_phase
from noisyrun_cleannet import training
from noisyrun_cleannet.config import CleanNetPrototypesConfig
from noisyrun_cleannet.equations import best_threshold
from noisyrun_cleannet.prototypes import attention_exhibit, input_of
from noisyrun_cleannet.references import choose_references
from noisyrun_cleannet.weighter import ClassCosine


def phase(seed: int = 0, **fields: Any) -> Phase:
    return make_phase(seed, KEY, **fields)


def build(bank: FeatureBank, seed: int = 0, **settings: Any) -> Prototypes:
    return builder(**settings)(bank, SideInfo(), phase(seed))


def same(a: Prototypes, b: Prototypes, features: torch.Tensor) -> bool:
    return torch.equal(a.vectors, b.vectors) and torch.equal(a.embed(features), b.embed(features))


# --- what is built ------------------------------------------------------------------------------------------------


def test_there_is_one_embedding_a_class_and_a_module_that_queries_go_through() -> None:
    data = make()
    made = build(data.bank())
    assert list(made.vectors.shape) == [4, 1, 12]
    assert made.project is not None
    assert made.embed(data.features[:5]).shape == (5, 12)
    assert not made.project.training
    assert not any(parameter.requires_grad for parameter in made.project.parameters())


def test_a_class_without_samples_has_no_prototype() -> None:
    data = make()
    labels = torch.where(data.labels == 2, 1, data.labels)
    made = build(Data(data.features, labels, data.truth, 5).bank())
    assert made.present.tolist() == [True, True, False, True, False]
    assert not made.vectors[~made.present].any()
    assert made.vectors[made.present].any()


def test_a_class_of_one_sample_is_its_own_reference() -> None:
    data = make()
    labels = data.labels.clone()
    labels[0] = 4
    made = build(Data(data.features, labels, data.truth, 5).bank())
    assert made.present.all()
    assert torch.isfinite(made.vectors).all()


def test_features_of_zero_are_no_trouble() -> None:
    data = make()
    data.features[::5] = 0
    made = build(data.bank())
    assert torch.isfinite(made.vectors).all()
    assert torch.isfinite(made.embed(data.features)).all()


def test_several_labels_a_sample_make_a_pair_each() -> None:
    data = make()
    labels = torch.stack([data.labels, torch.where(torch.arange(360) % 3 == 0, (data.labels + 1) % 4, PAD)], dim=1)
    labels[5] = PAD
    bank = make_bank(data.features, labels, 4, multi=True, verified=data.right, held=torch.arange(360) % 2 == 0)
    assert build(bank).present.all()


# --- references ---------------------------------------------------------------------------------------------------


def test_random_references_are_samples_of_their_class() -> None:
    data = make()
    found = choose_references(data.bank(), CleanNetPrototypesConfig(references="random", reference_size=6), phase())
    assert found.mask.all()
    assert torch.equal(data.labels[found.rows], torch.arange(4).unsqueeze(1).expand(4, 6))
    assert torch.equal(found.vectors, data.features[found.rows])
    assert all(len(set(rows)) == 6 for rows in found.rows.tolist())


def test_centroids_know_the_sample_of_their_cluster_that_is_nearest() -> None:
    features = torch.tensor([[0.0], [1.0], [1.4], [10.0], [11.0], [11.2]])
    config = CleanNetPrototypesConfig(reference_size=2)
    found = choose_references(make_bank(features, [0] * 6, 1), config, phase())
    order = found.vectors[0, :, 0].argsort()
    assert found.vectors[0, order, 0].tolist() == pytest.approx([0.8, 10.7333], abs=1e-3)
    assert found.rows[0][order].tolist() == [1, 4]


def test_a_class_with_few_samples_takes_all_and_masks_the_rest() -> None:
    found = choose_references(
        make_bank(torch.eye(4), [0, 0, 0, 1], 3), CleanNetPrototypesConfig(reference_size=5), phase()
    )
    assert found.mask.sum(1).tolist() == [3, 1, 0]
    assert found.rows[1].tolist() == [3, PAD, PAD, PAD, PAD]
    assert not found.vectors[~found.mask].any()


def test_equal_samples_leave_centroids_out() -> None:
    found = choose_references(
        make_bank(torch.ones(9, 3), [0] * 9, 1), CleanNetPrototypesConfig(reference_size=4), phase()
    )
    assert found.mask.tolist() == [[True, False, False, False]]


def test_the_references_of_a_class_do_not_depend_on_other_classes() -> None:
    data = make()
    config = CleanNetPrototypesConfig(reference_size=6)
    both = choose_references(data.bank(), config, phase())
    alone = choose_references(
        make_bank(data.features[data.labels == 1], [1] * int((data.labels == 1).sum()), 4), config, phase()
    )
    assert torch.allclose(both.vectors[1], alone.vectors[1])


def test_more_references_than_memory_holds_are_refused_with_the_most_that_fit() -> None:
    with pytest.raises(UserError, match=r"--prototypes\.reference_size.*at most 4"):
        choose_references(make().bank(), CleanNetPrototypesConfig(), phase(memory=2 * 4 * 4 * 10 * 4))


# --- inputs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "expected"), [(100.0, "log"), (0.0, "unit")])
def test_the_logarithm_is_taken_where_no_feature_is_negative(shift: float, expected: str) -> None:
    data = make()
    bank = make_bank(data.features + shift, data.labels, 4)
    assert input_of(bank, CleanNetPrototypesConfig()) == expected


def test_the_logarithm_of_negative_features_is_refused() -> None:
    with pytest.raises(UserError, match=r"--prototypes\.input"):
        input_of(make().bank(), CleanNetPrototypesConfig(input="log"))


# --- training -----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    data = make()
    first, again, other = (build(data.bank(), seed) for seed in (0, 0, 1))
    assert same(first, again, data.features)
    assert not torch.equal(first.vectors, other.vectors)


def test_the_global_generator_is_left_as_it_was() -> None:
    data = make()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build(data.bank())
    assert torch.equal(torch.rand(3), expected)


def test_features_that_do_not_fit_in_memory_are_read_step_by_step_with_the_same_result() -> None:
    data = make()
    roomy = builder(references="random")(data.bank(), SideInfo(), phase())
    # Room for the references and the held-out queries, not for those that train.
    tight = builder(references="random")(data.bank(memory=20_000), SideInfo(), phase(memory=32_000))
    assert torch.allclose(roomy.vectors, tight.vectors, atol=1e-5)


def test_held_out_verification_labels_do_not_train() -> None:
    data = make()
    held = torch.arange(360) % 2 == 0
    flipped = torch.where(held, 1 - data.right, data.right)
    plain, lied = (build(data.bank(verified=v), patience=0) for v in (data.right, flipped))
    assert torch.equal(plain.vectors, lied.vectors)


def test_the_network_of_least_error_on_held_out_labels_is_kept() -> None:
    data, logged = make(), {}
    looks = {"steps": 400, "check_every": 10, "patience": 3}
    kept = builder(**looks)(data.bank(), SideInfo(), phase(log=logged.__setitem__))
    assert logged["best_step"] < logged["steps"] < 400
    assert logged["best_step"] % 10 == 0
    held = torch.arange(0, 360, 2)
    found = ClassCosine(kept)(kept.embed(data.features[held]), data.labels[held])
    error = best_threshold(found, data.right[held], data.labels[held])[1]
    assert logged["held_error"] == pytest.approx(error)


@pytest.mark.parametrize(("patience", "last"), [(3, 70), (6, 110)])
def test_the_lower_rate_has_its_own_looks(patience: int, last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # No look brings a gain but the first, and half of the steps come before or after the patience is at an end.
    monkeypatch.setattr(training, "held_out", lambda *_: (0.5, 0.5))
    logged: dict[str, Any] = {}
    builder(steps=120, check_every=10, patience=patience)(make().bank(), SideInfo(), phase(log=logged.__setitem__))
    assert logged["best_step"] == 10
    assert logged["steps"] == last


def test_without_held_out_labels_all_steps_are_taken() -> None:
    data, logged = make(), {}
    bank = data.bank(held=torch.zeros(360, dtype=torch.bool))
    builder()(bank, SideInfo(), phase(log=logged.__setitem__))
    assert logged["steps"] == 60
    assert "held_error" not in logged


def test_with_every_sample_verified_batches_are_filled_with_verified_ones() -> None:
    data = make()
    made = build(data.bank(held=torch.zeros(360, dtype=torch.bool)))
    assert made.present.all()


def test_no_verification_label_to_train_on_is_one_clear_line() -> None:
    data = make()
    with pytest.raises(UserError, match="none of the samples is verified"):
        build(data.bank(held=torch.ones(360, dtype=torch.bool)))


def test_what_is_known_is_that_verification_must_be_given() -> None:
    assert builder().needs == Needs(verification=True)
    assert builder(verification="predictions").needs == Needs()
    assert builder(verification="predictions", predictions="teacher").needs == Needs(predictions="teacher")


# --- rounds and state ---------------------------------------------------------------------------------------------


def test_a_later_round_goes_on_from_the_one_before() -> None:
    data, logged = make(), {}
    made = builder(refresh_steps=0)
    first = made(data.bank(), SideInfo(), phase())
    second = made(data.bank(), SideInfo(), phase(round=1, log=logged.__setitem__))
    assert "steps" not in logged
    assert torch.equal(first.embed(data.features), second.embed(data.features))


def test_what_an_earlier_round_gave_does_not_change_as_training_goes_on() -> None:
    data = make()
    made = builder()
    first = made(data.bank(), SideInfo(), phase())
    before = first.embed(data.features)
    made(data.bank(), SideInfo(), phase(round=1))
    assert torch.equal(first.embed(data.features), before)


def test_features_of_another_width_start_anew() -> None:
    made, wide = builder(), make(context=8)
    made(make().bank(), SideInfo(), phase())
    assert made(wide.bank(), SideInfo(), phase(round=1)).embed(wide.features).shape == (360, 12)


def test_a_restored_builder_projects_and_goes_on_as_the_unbroken_one() -> None:
    data = make()
    unbroken, resumed = builder(), builder()
    first = unbroken(data.bank(), SideInfo(), phase())
    resumed.load_state_dict(unbroken.state_dict())
    project = resumed.projection()
    assert project is not None
    assert torch.equal(project(data.features), first.embed(data.features))
    again = resumed(data.bank(), SideInfo(), phase(round=1))
    assert same(unbroken(data.bank(), SideInfo(), phase(round=1)), again, data.features)


def test_a_builder_that_has_built_nothing_has_no_state() -> None:
    made = builder()
    assert made.state_dict() == {}
    made.load_state_dict({})
    assert made.projection() is None


# --- attention ----------------------------------------------------------------------------------------------------


def test_the_attention_of_each_class_is_shown_by_samples_of_it() -> None:
    data, shown = make(), []
    made = builder(show_classes=2)
    made(data.bank(), SideInfo(), phase(show=shown.append))
    exhibit: Exhibit = shown[0]
    assert exhibit.titles == ("0: most", "0: least", "2: most", "2: least")
    for group, c in enumerate([0, 0, 2, 2]):
        rows = exhibit.rows[group]
        assert (data.labels[rows[rows != PAD]] == c).all()
    assert exhibit.values[0, 0] >= exhibit.values[0, 2] >= exhibit.values[1, 2] >= exhibit.values[1, 0] > 0


def test_the_attention_picture_worked_by_hand() -> None:
    weights = torch.tensor([[0.1, 0.4, 0.2, 0.3, 0.0]])
    rows = torch.tensor([[11, 12, 13, 14, PAD]])
    exhibit = attention_exhibit(torch.tensor([1]), weights, rows, ("cat", "dog"))
    assert exhibit.titles == ("dog: most", "dog: least")
    assert exhibit.rows[:, :3].tolist() == [[12, 14, PAD], [11, 13, PAD]]
    assert exhibit.values[:, :2].flatten().tolist() == pytest.approx([1.6, 1.2, 0.4, 0.8])


def test_no_picture_is_made_where_none_is_wanted() -> None:
    shown: list[Exhibit] = []
    builder(show_classes=0)(make().bank(), SideInfo(), phase(show=shown.append))
    assert shown == []


@pytest.mark.parametrize(
    "field", [{"reference_size": 0}, {"dropout": 1.0}, {"references": "best"}, {"lr": 0.0}, {"patience": -1}]
)
def test_settings_out_of_range_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        CleanNetPrototypesConfig(**field)
