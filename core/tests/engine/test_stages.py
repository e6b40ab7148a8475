"""The stages of a run: defaults, selections, and schedules that span several."""

from dataclasses import replace

import pytest
import torch

from noisyrun.api import BAGS, MIX, UNIFORM, Stage, UserError
from noisyrun.api.stage import Optimizer, Schedule
from noisyrun.engine import stages
from noisyrun.engine.label_state import LabelState


def names(made):
    return [(stage.name, stage.epochs, stage.label_phase) for stage in made]


def test_by_default_a_third_warms_up_and_label_phases_come_before_each_later_epoch(kit):
    made = stages.resolve_stages(kit.make_settings(epochs=15), judge_labels=True)
    assert names(made) == [("warmup", 5, "never"), ("rounds", 10, "every:1")]


def test_without_anything_that_judges_labels_there_is_one_plain_stage(kit):
    made = stages.resolve_stages(kit.make_settings(epochs=15), judge_labels=False)
    assert names(made) == [("train", 15, "never")]


def test_fine_tuning_on_the_clean_subset_comes_last_when_it_is_asked_for(kit):
    settings = kit.make_settings(epochs=6, train={"finetune_epochs": 2, "finetune_lr": 0.001, "warmup_epochs": 0})
    made = stages.resolve_stages(settings, judge_labels=True)
    assert names(made) == [("rounds", 6, "every:1"), ("finetune", 2, "never")]
    assert (made[1].samples, made[1].targets, made[1].weighted) == ("clean", "trusted", False)
    assert made[1].optimizer.lr == 0.001


def test_a_frozen_backbone_makes_every_stage_train_the_head(kit):
    made = stages.resolve_stages(kit.make_settings(train={"freeze_backbone": True}), judge_labels=True)
    assert {stage.trains for stage in made} == {"head"}


def test_warm_up_longer_than_the_run_is_refused(kit):
    with pytest.raises(UserError, match="at most --epochs, 3"):
        stages.resolve_stages(kit.make_settings(epochs=3, train={"warmup_epochs": 4}), judge_labels=True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([Stage(name="a", epochs=1), Stage(name="a", epochs=1)], "two are called 'a'"),
        ([Stage(name="a", epochs=1, weights_from="stage:b"), Stage(name="b", epochs=1)], "no earlier stage"),
    ],
)
def test_stages_that_contradict_each_other_are_refused(given, words, kit):
    with pytest.raises(UserError, match=words):
        stages.resolve_stages(kit.make_settings(stages=given), judge_labels=True)


def test_the_baseline_neither_judges_nor_corrects_nor_weighs():
    given = (
        Stage(name="a", epochs=2),
        Stage(name="b", epochs=3, label_phase="every:1", samples="top:0.5"),
        Stage(name="c", epochs=1, samples="clean", targets="trusted"),
    )
    made = stages.baseline_stages(given)
    assert [(s.epochs, s.label_phase, s.samples, s.targets, s.weighted) for s in made] == [
        (2, "never", "all", "observed", False),
        (3, "never", "all", "observed", False),
        (1, "never", "clean", "trusted", False),
    ]


def test_the_baseline_keeps_what_a_stage_says_of_trusted_labels_and_batches():
    given = (Stage(name="m", epochs=1, targets="mixed", batches="mix:1:9", online=False),)
    (made,) = stages.baseline_stages(given)
    assert (made.targets, made.batches, made.weighted) == ("mixed", "mix:1:9", False)


@pytest.mark.parametrize(
    ("stage", "drawn"),
    [
        ({}, MIX(1, 9)),
        ({"batches": "bags:3"}, BAGS(3)),
        ({"batches": "uniform"}, UNIFORM),
        ({"online": False}, UNIFORM),
        ({"online": False, "batches": "mix:1:4"}, MIX(1, 4)),
        ({"samples": "clean"}, UNIFORM),
        ({"samples": "clean", "batches": "bags:2"}, BAGS(2)),
    ],
)
def test_a_stage_draws_batches_as_it_says_else_as_the_parts_in_it_ask(stage, drawn):
    assert stages.batches_of(Stage(name="s", epochs=1, **stage), MIX(1, 9)) == drawn


@pytest.mark.parametrize("text", ["bags", "bags:0", "mix:1", "mix:1:x", "uniform:2", "heaps"])
def test_batches_that_make_no_sense_are_refused(text):
    with pytest.raises(ValueError, match="must be uniform, bags:N or mix:CLEAN:NOISY"):
        Stage(name="s", epochs=1, batches=text)


def test_a_stage_that_trains_only_parts_without_them_is_refused():
    with pytest.raises(ValueError, match="would train nothing"):
        Stage(name="s", epochs=1, trains="parts", online=False)


@pytest.fixture
def train(kit):
    return kit.with_clean(kit.make_data()).train


def chosen(kind, samples, state=None):
    stage = Stage(name="s", epochs=1, samples=kind)
    return stages.select(stage, samples, state or LabelState.initial(samples.labels))


def test_all_needs_no_positions(train):
    assert chosen("all", train) is None


def test_clean_takes_the_clean_subset(train):
    assert torch.equal(chosen("clean", train), train.clean.nonzero()[:, 0])


def test_verified_takes_what_is_verified_right_and_not_held_out(train):
    verified, held = train.verified.clone(), train.verified_held.clone()
    verified[:4] = torch.tensor([1, 0, 1, 1], dtype=torch.int8)
    held[2] = True
    assert chosen("verified", replace(train, verified=verified, verified_held=held)).tolist() == [0, 3]


def test_a_threshold_takes_weights_from_it_on(train):
    weights = torch.zeros(len(train), 1)
    weights[[3, 7], 0] = torch.tensor([0.5, 0.9])
    state = replace(LabelState.initial(train.labels), weights=weights)
    assert chosen("weight>=0.5", train, state).tolist() == [3, 7]


def test_top_takes_the_share_of_highest_score_earlier_ones_first(train):
    score = torch.zeros(len(train))
    score[[40, 80]] = 1.0
    state = replace(LabelState.initial(train.labels), score=score)
    assert chosen(f"top:{4 / len(train):.6f}", train, state).tolist() in ([0, 1, 40, 80], [0, 1, 2, 40, 80])


def test_an_empty_selection_is_refused_and_says_what_would_fill_it(kit):
    with pytest.raises(UserError, match="--clean"):
        chosen("clean", kit.make_data().train)


def test_a_weight_that_no_sample_reaches_is_refused_and_the_highest_told(kit):
    train = kit.make_data().train
    state = replace(LabelState.initial(train.labels), weights=torch.full((len(train), 1), 0.75))
    with pytest.raises(UserError, match=r"leaves none to train on; the highest weight is 0.75"):
        chosen("weight>=0.8", train, state)


def test_stages_without_a_schedule_of_their_own_share_one():
    made = (
        Stage(name="a", epochs=2),
        Stage(name="b", epochs=3),
        Stage(name="c", epochs=1, schedule=Schedule(name="constant")),
        Stage(name="d", epochs=4),
        Stage(name="e", epochs=4, weights_from="initial"),
        Stage(name="f", epochs=1, optimizer=Optimizer(lr=1.0)),
    )
    spans = [list(stages.span(made, number)) for number in range(len(made))]
    assert spans == [[0, 1], [0, 1], [2], [3], [4], [5]]


def test_a_stage_starts_in_the_shared_schedule_where_the_one_before_ended():
    made = (Stage(name="a", epochs=2), Stage(name="b", epochs=3))
    lengths = {"a": (2, 20), "b": (3, 30)}
    assert stages.schedule_place(made, 1, lengths) == ((2, 20), (5, 50))


def test_steps_are_rounded_up_to_epochs():
    assert stages.length(Stage(name="a", steps=25), 10) == (3, 25)
    assert stages.length(Stage(name="a", epochs=2), 10) == (2, 20)


def test_a_scale_is_a_resolution_relative_to_the_data_and_says_nothing_of_features(kit):
    settings = kit.make_settings(stages=[{"name": "a", "epochs": 1}, {"name": "b", "epochs": 1, "scale": 1.14}])
    for side, resolution in ((32, 36), (224, 255), (8, 9), (None, None)):
        made = stages.resolve_stages(settings, judge_labels=False, side=side)
        assert [stage.resolution for stage in made] == [None, resolution]
    with pytest.raises(ValueError, match="give resolution or scale"):
        Stage(name="a", epochs=1, resolution=36, scale=1.14)


def test_the_stage_that_trained_last_is_not_one_that_was_skipped():
    made = [Stage(name="a", epochs=1), Stage(name="b", epochs=1), Stage(name="c", epochs=1)]
    assert stages.last_trained(made, {"a": (1, 5), "b": (1, 5), "c": (0, 0)}).name == "b"
    assert stages.last_trained(made, {"a": [1, 5], "b": [1, 5], "c": [1, 5]}).name == "c"
