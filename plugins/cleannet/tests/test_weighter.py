"""CleanNet as a weighter and a detector, on its own prototypes and on anyone's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from synthetic import builder, make

from noisyrun.api import PAD, FeatureBank, Judgement, Labels, Needs, Phase, Prototypes, SideInfo, UserError, ops
from noisyrun.testing import make_bank, make_phase
from noisyrun_cleannet.config import CleanNetWeighterConfig
from noisyrun_cleannet.equations import average_error, best_threshold
from noisyrun_cleannet.verification import pairs_of
from noisyrun_cleannet.weighter import ClassCosine, CleanNetWeighter


def weighter(**settings: Any) -> CleanNetWeighter:
    made = CleanNetWeighter(CleanNetWeighterConfig(**settings))
    made.key = "weighter.cleannet"
    return made


def phase(**fields: Any) -> Phase:
    return make_phase(0, "weighter.cleannet", **fields)


def judge(made: CleanNetWeighter, bank: FeatureBank, prototypes: Prototypes) -> Judgement:
    made.fit(bank, prototypes, SideInfo(), phase())
    return made(bank.take(torch.arange(len(bank))), bank.labels.single, prototypes, SideInfo())


#: Two classes along the axes; of the first, one sample points the other class's way.
FEATURES = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.1, 1.0], [0.0, 1.0], [0.6, 0.8]])
LABELS = torch.tensor([0, 0, 0, 1, 1])
AXES = Prototypes.of(torch.eye(2))


def bank(verified: list[int] | None = None) -> FeatureBank:
    return make_bank(FEATURES, LABELS, 2, verified=verified, held=[True] * 5)


# --- weights ------------------------------------------------------------------------------------------------------


def test_soft_weights_are_the_cosines_and_need_no_verification_labels() -> None:
    made = judge(weighter(), bank(), AXES)
    cosines = [1.0, 0.8, 0.1 / 1.01**0.5, 1.0, 0.8]
    assert made.weights.tolist() == pytest.approx(cosines)
    assert made.wrong is None


def test_a_negative_cosine_weighs_nothing_and_still_ranks() -> None:
    made = weighter()(make_bank(-FEATURES, LABELS, 2).take(torch.arange(2)), LABELS[:2], AXES, SideInfo())
    assert made.weights.tolist() == [0.0, 0.0]
    assert made.score is not None
    assert made.score.tolist() == pytest.approx([-1.0, -0.8])


def test_with_held_out_labels_the_threshold_lies_between_right_and_wrong() -> None:
    one = weighter()
    made = judge(one, bank([1, 1, 0, 1, 1]), AXES)
    assert one.delta == pytest.approx((0.8 + 0.1 / 1.01**0.5) / 2)
    assert made.wrong is not None
    assert made.wrong.tolist() == [False, False, True, False, False]


def test_hard_weights_keep_what_reaches_the_threshold() -> None:
    assert judge(weighter(weights="hard", delta=0.9), bank(), AXES).weights.tolist() == [1.0, 0.0, 0.0, 1.0, 0.0]
    assert judge(weighter(weights="hard"), bank([1, 1, 0, 1, 1]), AXES).weights.tolist() == [1.0, 1.0, 0.0, 1.0, 1.0]


def test_hard_weights_ask_for_verification_labels_before_training() -> None:
    assert weighter(weights="hard").needs == Needs(prototypes=True, verification=True)
    assert weighter(weights="hard", delta=0.3).needs == weighter().needs == Needs(prototypes=True)
    with pytest.raises(UserError, match=r"--weighter\.delta"):
        judge(weighter(weights="hard"), bank(), AXES)


def test_labels_that_train_do_not_choose_the_threshold() -> None:
    trains = make_bank(FEATURES, LABELS, 2, verified=[1, 1, 0, 1, 1], held=[False] * 5)
    one = weighter()
    assert judge(one, trains, AXES).wrong is None
    assert one.delta is None


def test_a_class_without_prototypes_is_not_judged() -> None:
    half = Prototypes.of(torch.eye(2), torch.tensor([True, False]))
    made = judge(weighter(), bank([1, 1, 0, 0, 0]), half)
    assert made.weights[3:].tolist() == [1.0, 1.0]
    assert made.wrong is not None
    assert made.wrong.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("similarity", ["mean", "nearest"])
def test_several_prototypes_a_class_reduce_as_the_slow_form_does(similarity: str) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, mask = torch.randn(3, 4, 5, generator=generator), torch.rand(3, 4, generator=generator) < 0.7
    mask[:, 0] = True
    weights = torch.rand(3, 4, generator=generator) + 0.1
    queries, labels = torch.randn(20, 5, generator=generator), torch.arange(20) % 3
    found = ClassCosine(Prototypes.of(vectors, mask, weights), similarity)(queries, labels)
    for i, c in enumerate(labels.tolist()):
        own = ops.cosine(queries[i : i + 1], vectors[c][mask[c]])[0]
        share = weights[c][mask[c]] / weights[c][mask[c]].sum()
        assert float(found[i]) == pytest.approx(
            float((own * share).sum() if similarity == "mean" else own.max()), abs=1e-6
        )


def test_a_restored_weighter_judges_as_before() -> None:
    one, again = weighter(), weighter()
    judge(one, bank([1, 1, 0, 1, 1]), AXES)
    again.load_state_dict(one.state_dict())
    assert again.delta == one.delta


# --- whose word is taken ------------------------------------------------------------------------------------------


def test_that_one_of_several_labels_is_wrong_says_not_which_unless_a_trusted_label_does() -> None:
    labels = torch.tensor([[0, 1], [0, 1], [0, PAD], [0, 1]])
    trusted = torch.tensor([[PAD, PAD], [1, 2], [PAD, PAD], [PAD, PAD]])
    several = make_bank(torch.eye(4), labels, 3, multi=True, verified=[0, 0, 0, 1], trusted=Labels(trusted))
    found = pairs_of(several, "train", CleanNetWeighterConfig(), phase())
    assert list(zip(found.rows.tolist(), found.classes.tolist(), found.relevance.tolist())) == [
        (0, 0, -1),
        (0, 1, -1),
        (1, 0, 0),
        (1, 1, 1),
        (2, 0, 0),
        (3, 0, 1),
        (3, 1, 1),
    ]


def test_predictions_verify_some_samples_of_each_class_and_hold_out_others() -> None:
    data = make()
    logits = torch.nn.functional.one_hot(data.truth, 4).float()
    known = data.bank(logits=logits, verified=None)
    config = CleanNetWeighterConfig(verification="predictions", top_k=1, per_class=20)
    train, held = (pairs_of(known, split, config, phase()).verified for split in ("train", "held"))
    assert torch.equal(torch.bincount(train.classes), torch.tensor([20] * 4))
    assert torch.equal(torch.bincount(held.classes), torch.tensor([4] * 4))
    assert not set(train.rows.tolist()) & set(held.rows.tolist())
    assert torch.equal(train.relevance.long(), data.right[train.rows])
    again = pairs_of(known, "train", config, make_phase(0, "prototypes.cleannet", round=3)).verified
    assert torch.equal(train.rows, again.rows)


@pytest.mark.parametrize(("learns", "chooses"), [(5, 60), (60, 5), (20, 1000), (1, 3)])
def test_no_part_chooses_by_what_another_one_of_another_size_trains_on(learns: int, chooses: int) -> None:
    data = make()
    known = data.bank(logits=torch.nn.functional.one_hot(data.truth, 4).float(), verified=None)
    split = {"train": learns, "held": chooses}
    train, held = (
        pairs_of(known, name, CleanNetWeighterConfig(verification="predictions", top_k=1, per_class=n), phase())
        for name, n in split.items()
    )
    assert len(train.verified)
    assert len(held.verified)
    assert not set(train.verified.rows.tolist()) & set(held.verified.rows.tolist())


def test_predictions_that_a_stage_kept_can_be_gone_by() -> None:
    data = make()
    kept = {"teacher": (data.truth.unsqueeze(1), torch.ones(360, 1))}
    known = data.bank(verified=None, predictions=kept)
    config = CleanNetWeighterConfig(verification="predictions", predictions="teacher", top_k=1)
    train = pairs_of(known, "train", config, phase()).verified
    assert torch.equal(train.relevance.long(), data.right[train.rows])


def test_more_best_classes_than_are_kept_are_refused() -> None:
    config = CleanNetWeighterConfig(verification="predictions", top_k=5)
    with pytest.raises(UserError, match=r"weighter\.cleannet\.top_k: 5, but only the 4 best"):
        pairs_of(make().bank(), "train", config, phase())


# --- together -----------------------------------------------------------------------------------------------------


def test_what_is_learned_of_some_classes_serves_the_others_better_than_the_mean_of_their_features() -> None:
    # What tells classes apart has to be learned, on labels of 30 of 40 classes, and holds for all.
    data = make(n=3000, classes=40, signal=3, context=4)
    some = data.bank(classes=30)
    longer = {"steps": 1000, "check_every": 100, "patience": 0, "lr": 0.2, "dropout": 0.1}
    trained = builder(**longer)(some, SideInfo(), make_phase(0, "prototypes.cleannet"))
    made = judge(weighter(), some, trained)
    others = data.labels >= 30
    assert made.wrong is not None
    error = average_error(made.wrong[others], data.right[others], data.labels[others])
    means = Prototypes.of(ops.segment_mean(data.features, data.labels, 40))
    cosines = ClassCosine(means)(data.features, data.labels)
    # The mean is even given the best threshold there is for the classes it is tried on.
    _, of_means = best_threshold(cosines[others], data.right[others], data.labels[others])
    assert error < 0.8 * of_means
