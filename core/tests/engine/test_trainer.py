"""The loop on small images: what it trains on, in which order, and what it says when a loss breaks."""

from dataclasses import replace

import pytest
import torch

from noisyrun.api import PAD, Labels, Stage, UserError
from noisyrun.api.stage import Optimizer, Schedule
from noisyrun.engine import trainer as trainers
from noisyrun.engine.device import device_of
from noisyrun.engine.trainer import Trainer

CPU = torch.device("cpu")


def train(kit, data=None, methods=None, **changes):
    made = Trainer(kit.make_settings(**changes), methods or kit.make_methods(), data or kit.make_data(), device=CPU)
    return made, made.run()


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_it_learns_and_keeps_a_record_of_each_epoch_and_round(kit):
    _, outcome = train(kit, epochs=6, train={"optimizer": {"lr": 0.2}})
    assert [r["epoch"] for r in outcome.history] == [1, 2, 3, 4, 5, 6]
    assert [r["stage"] for r in outcome.history] == ["warmup"] * 2 + ["rounds"] * 4
    assert [r["round"] for r in outcome.rounds] == [0, 1, 2, 3]
    assert outcome.history[-1]["step"] == 6 * 6  # 90 samples in batches of 16
    assert outcome.accuracy["last"] > 0.5
    assert outcome.history[-1]["loss"] < outcome.history[0]["loss"]
    assert outcome.accuracy["oracle"] >= outcome.accuracy["last"]
    assert {"train", "evaluate", "features", "label_phase"} <= set(outcome.seconds)
    assert outcome.peak_memory["process"] > 1 << 20
    assert outcome.seen == 6 * 90  # padding of the last batch is no sample
    counts = torch.bincount(kit.make_data().test.labels.single, minlength=3)
    hits = sum(share * int(count) for share, count in zip(outcome.by_class, counts, strict=True))
    assert hits / int(counts.sum()) == pytest.approx(outcome.accuracy["last"])
    assert {"test_ece", "test_nll", "test_brier"} <= outcome.history[-1].keys()


def test_two_runs_of_one_seed_are_the_same_and_another_seed_is_not(kit):
    one, same, other = (train(kit, seed=seed, train={"dropout": 0.2})[1] for seed in (1, 1, 2))
    assert torch.equal(weights(one.network), weights(same.network))
    assert not torch.equal(weights(one.network), weights(other.network))


def test_the_callers_random_numbers_are_left_alone(kit):
    torch.manual_seed(3)
    want = torch.rand(2)
    torch.manual_seed(3)
    train(kit, epochs=1)
    assert torch.equal(torch.rand(2), want)


def test_label_phases_weigh_and_correct_what_is_trained_on(kit):
    methods = kit.make_methods()
    _, outcome = train(kit, methods=methods)
    assert outcome.state.weights.std() > 0
    assert (outcome.state.targets.alpha == 0.5).all()
    assert float(methods.weighters[0].seen) == 2  # one label phase before each of the two epochs of rounds
    plain = train(kit, methods=kit.make_methods(judging=False))[1]
    assert not torch.equal(weights(outcome.network), weights(plain.network))


def test_two_stages_that_share_a_schedule_are_one_long_stage(kit):
    parts = (Stage(name="a", epochs=1), Stage(name="b", epochs=2))
    whole = (Stage(name="whole", epochs=3),)
    one, other = (train(kit, methods=kit.make_methods(judging=False), stages=s)[1] for s in (parts, whole))
    assert torch.equal(weights(one.network), weights(other.network))


def test_a_stage_of_steps_stops_in_the_middle_of_an_epoch(kit):
    _, outcome = train(kit, stages=[Stage(name="short", steps=8)], methods=kit.make_methods(judging=False))
    assert [r["step"] for r in outcome.history] == [6, 8]


def test_rates_follow_schedules_by_epoch(kit):
    schedule = Schedule(name="step", by="epoch", milestones=(1, 2), gamma=0.1)
    optimizer = Optimizer(lr=0.1)
    _, outcome = train(kit, train={"schedule": schedule, "optimizer": optimizer})
    assert [r["lr"] for r in outcome.history] == pytest.approx([0.1, 0.01, 0.001])


def test_a_stage_can_start_again_from_an_earlier_network(kit):
    frozen = Optimizer(lr=1e-12, weight_decay=0.0)
    stages = [
        Stage(name="first", epochs=1),
        Stage(name="second", epochs=1),
        Stage(name="again", epochs=1, weights_from="stage:first", optimizer=frozen, trains="head"),
    ]
    plain = kit.make_methods(judging=False)
    want = train(kit, stages=stages[:1], methods=plain, train={"schedule": {"name": "constant"}})[1]
    made = train(kit, stages=stages, methods=plain, train={"schedule": {"name": "constant"}})[1]
    torch.testing.assert_close(weights(made.network), weights(want.network))
    fresh = [*stages[:2], Stage(name="new", epochs=1, weights_from="initial", optimizer=frozen, trains="head")]
    reset = train(kit, stages=fresh, methods=plain)[1]
    start = Trainer(kit.make_settings(), plain, kit.make_data(), device=CPU)
    start.build()
    torch.testing.assert_close(weights(reset.network), weights(start.network))


def test_kept_predictions_reach_later_label_phases(kit):
    seen = []

    class Reads(kit.Confidence):
        def weigh(self, block, labels, prototypes, side):
            seen.append(block.predictions("base"))
            return torch.ones(len(block))

    methods = replace(kit.make_methods(), weighters=(Reads(),))
    stages = [Stage(name="base", epochs=1, keep_predictions="base"), Stage(name="on", epochs=1, label_phase="once")]
    train(kit, methods=methods, stages=stages)
    classes, probs = seen[0]
    assert classes.shape == (90, 3)
    torch.testing.assert_close(probs.sum(1), torch.ones(90))


def test_fine_tuning_sees_the_clean_subset_and_its_trusted_labels_alone(kit, monkeypatch):
    data = kit.with_clean(kit.make_data())
    seen = []
    tables = trainers.LabelTables

    class Spy(tables):
        def step(self, positions, mask, bags, *, for_parts):
            made = super().step(positions, mask, bags, for_parts=for_parts)
            if self.stage.name == "finetune":
                seen.append((positions[mask], made.labels.single[mask], made.weights, made.targets))
            return made

    monkeypatch.setattr(trainers, "LabelTables", Spy)
    train(kit, data=data, train={"finetune_epochs": 1})
    positions = torch.cat([s[0] for s in seen])
    assert torch.equal(positions.sort().values, data.train.clean.nonzero()[:, 0])
    assert torch.equal(torch.cat([s[1] for s in seen]), data.train.truth.single[positions])
    assert all(weights is None and targets is None for *_, weights, targets in seen)


@pytest.mark.parametrize("augment", [{"crop": 0, "flip": False}, {}])
def test_a_frozen_backbone_stays_as_it_was_and_its_head_learns(kit, augment):
    methods = kit.make_methods()
    made, outcome = train(kit, methods=methods, augment=augment, train={"freeze_backbone": True}, epochs=8)
    start = Trainer(kit.make_settings(), methods, kit.make_data(), device=CPU)
    start.build()
    before, after = start.network.extractor.state_dict(), outcome.network.extractor.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not torch.equal(start.network.classifier.weight, outcome.network.classifier.weight)
    # Features that cannot change are made once.
    assert (made.features.frozen(made.view(made.stages[-1])) is not None) == bool(augment)


def test_a_run_on_features_alone_learns(kit):
    methods = kit.make_methods(features=True)
    _, outcome = train(kit, data=kit.make_data(features=True), methods=methods, epochs=12)
    assert outcome.accuracy["last"] > 0.8


def test_a_run_at_another_resolution(kit):
    _, outcome = train(kit, stages=[Stage(name="large", epochs=2, resolution=12)])
    assert len(outcome.history) == 2


def multi_label(samples):
    """Each sample has its class and, where that is even, the last class too."""
    second = torch.where(samples.labels.classes % 2 == 0, 2, PAD)
    second = torch.where(second == samples.labels.classes, PAD, second)
    labels = Labels(torch.cat([samples.labels.classes, second], 1))
    task = replace(samples.task, labels="multi", loss="binary-cross-entropy")
    return replace(
        samples, task=task, labels=labels, truth=labels, trusted=Labels(torch.full_like(labels.classes, PAD))
    )


def test_multi_label_data_trains_and_is_measured_by_mean_average_precision(kit):
    data = kit.make_data()
    splits = {name: multi_label(getattr(data, name)) for name in ("train", "val", "test")}
    methods = replace(kit.make_methods(), correctors=())
    _, outcome = train(kit, data=replace(data, **splits), methods=methods, epochs=4, train={"optimizer": {"lr": 0.2}})
    assert outcome.history[-1]["test_map"] == outcome.accuracy["last"]
    assert outcome.accuracy["last"] > 0.5
    assert outcome.history[-1]["loss"] < outcome.history[0]["loss"]


def test_a_loss_that_breaks_names_the_step_and_the_suspects(kit):
    data = kit.make_data(features=True)
    features = data.train.features.clone()
    features[17] = float("nan")
    data = replace(data, train=replace(data.train, features=features))
    with pytest.raises(UserError, match=r"the loss is nan at step \d, .*|the loss is nan at step \d") as caught:
        train(kit, data=data, methods=kit.make_methods(judging=False, features=True), batch_size=8)
    words = str(caught.value)
    assert "learning rate" in words
    assert "loop" in words
    assert "samples" in words
    assert "\n" not in words


def test_the_first_bad_step_is_named_though_losses_are_looked_at_later(kit, monkeypatch):
    forward = trainers.build_network

    def breaks(*args, **options):
        network = forward(*args, **options)
        inner, count = network.forward, [0]

        def broken(inputs, step, given=False):
            loss, terms = inner(inputs, step, given)
            count[0] += 1
            return (loss * float("inf"), terms) if count[0] == 9 else (loss, terms)

        network.forward = broken
        return network

    monkeypatch.setattr(trainers, "build_network", breaks)
    with pytest.raises(UserError, match="the loss is inf at step 8"):
        train(kit, methods=kit.make_methods(judging=False))


def test_clipping_bounds_the_step(kit):
    optimizer = {"lr": 1.0, "momentum": 0.0, "weight_decay": 0.0, "clip": 1e-6}
    plain = kit.make_methods(judging=False)
    _, outcome = train(kit, methods=plain, train={"optimizer": optimizer}, epochs=1)
    start = Trainer(kit.make_settings(), plain, kit.make_data(), device=CPU)
    start.build()
    assert 0 < (weights(outcome.network) - weights(start.network)).norm() < 1e-5


def test_bfloat16_trains(kit):
    _, outcome = train(kit, train={"amp": "bf16"})
    assert all(p.dtype == torch.float32 for p in outcome.network.parameters())
    assert outcome.history[-1]["loss"] < outcome.history[0]["loss"]


def test_float16_on_the_cpu_is_refused(kit):
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        train(kit, train={"amp": "fp16"})


@pytest.mark.parametrize("name", ["cuda:99", "tpuish", "meta", "mps"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(UserError, match="--device"):
        device_of(name)


def test_selection_by_noisy_validation_takes_the_earlier_of_two_equals(kit):
    made = Trainer(kit.make_settings(), kit.make_methods(), kit.make_data(), device=CPU)
    for epoch, (val, test) in enumerate([(0.5, 0.6), (0.7, 0.8), (0.7, 0.9)], 1):
        made.progress.by_val.offer(val, test, epoch)
        made.progress.by_test.offer(test, test, epoch)
        made.progress.history.append({"test_accuracy": test})
    assert made.progress.accuracy == {"last": 0.9, "best_noisy_val": 0.8, "oracle": 0.9}


def test_rounds_that_go_on_while_they_gain_end_with_the_first_that_does_not(kit):
    """A learning rate of next to nothing gains nothing: the round after it is skipped, and so are those behind."""
    idle = Optimizer(lr=1e-12)
    stages = [
        Stage(name="first", epochs=3),
        Stage(name="second", epochs=1, while_gains=True, optimizer=idle),
        Stage(name="third", epochs=1, while_gains=True),
        Stage(name="fourth", epochs=1, while_gains=True),
        Stage(name="last", epochs=1),
    ]
    made, outcome = train(kit, stages=stages, methods=kit.make_methods(judging=False), train={"optimizer": {"lr": 0.2}})
    assert [r["stage"] for r in outcome.history] == ["first"] * 3 + ["second", "last"]
    assert made.progress.stage == 5


def test_a_skipped_stage_leaves_what_later_stages_ask_it_for_and_takes_no_epochs(kit):
    idle = Optimizer(lr=1e-12)
    stages = [
        Stage(name="first", epochs=3),
        Stage(name="idle", epochs=1, while_gains=True, optimizer=idle),
        Stage(name="skipped", epochs=2, while_gains=True, keep_predictions="base"),
        Stage(name="last", epochs=1, weights_from="stage:skipped"),
    ]
    made, outcome = train(kit, stages=stages, methods=kit.make_methods(judging=False), train={"optimizer": {"lr": 0.2}})
    assert [r["stage"] for r in outcome.history] == ["first"] * 3 + ["idle", "last"]
    assert made.kept["base"][0].shape == (90, 3)
    assert made.all_epochs() == 5


def test_the_shortest_run_with_label_phases_warms_up_for_an_epoch(kit):
    _, outcome = train(kit, epochs=2)
    assert [r["stage"] for r in outcome.history] == ["warmup", "rounds"]
