"""A run that is stopped anywhere and resumed gives what the unbroken run gives, bit for bit on the CPU."""

import pytest
import torch

from noisyrun.api import Stage, UserError
from noisyrun.engine import checkpoint
from noisyrun.engine import trainer as trainers
from noisyrun.engine.interrupt import Interrupted, StopRequest
from noisyrun.engine.trainer import Trainer

CPU = torch.device("cpu")
STAGES = [
    Stage(name="warmup", epochs=1, keep_predictions="base"),
    Stage(name="rounds", epochs=2, label_phase="every:1"),
    Stage(name="sure", epochs=1, samples="top:0.6", label_phase="once", optimizer={"name": "adamw", "lr": 0.001}),
    Stage(name="head", steps=5, trains="head", weights_from="stage:rounds"),
]


class StopAnywhere(StopRequest):
    """Asks to stop when it has been looked at so many times: at a step, or between blocks of whatever takes long."""

    def __init__(self, looks):
        self.looks = looks
        super().__init__()

    @property
    def requested(self):
        self.looks -= 1
        return self.looks < 0

    @requested.setter
    def requested(self, value):
        pass


class StopAfter(StopAnywhere):
    """Asks to stop when so many steps have been taken."""

    def between(self, items):
        return iter(items)

    def check(self): ...


def make(kit, folder, **changes):
    settings = kit.make_settings(stages=STAGES, train={"dropout": 0.3, "log_every": 4}, **changes)
    return Trainer(settings, kit.make_methods(), kit.make_data(), device=CPU, folder=folder, config={"a": 1})


def result(outcome):
    state = {f"network.{k}": v for k, v in outcome.network.state_dict().items()}
    state |= {"weights": outcome.state.weights, "values": outcome.state.targets.values, "score": outcome.state.score}
    plain = [{k: v for k, v in r.items() if not k.startswith("seconds")} for r in (*outcome.history, *outcome.rounds)]
    return state, plain


def assert_same(one, other):
    (state, plain), (other_state, other_plain) = result(one), result(other)
    assert plain == other_plain
    assert all(torch.equal(state[name], other_state[name]) for name in state)
    assert one.accuracy == other.accuracy
    assert one.by_class == other.by_class
    assert one.seen == other.seen


@pytest.fixture(scope="module")
def unbroken(kit, tmp_path_factory):
    return make(kit, tmp_path_factory.mktemp("unbroken")).run()


@pytest.mark.parametrize("looks", [0, 3, 6, 8, 13, 20, 23, 25])
def test_interrupted_at_a_step_and_resumed(kit, tmp_path, monkeypatch, unbroken, looks):
    with monkeypatch.context() as patch:
        patch.setattr(trainers, "StopRequest", lambda: StopAfter(looks))
        with pytest.raises(Interrupted):
            make(kit, tmp_path).run()
    saved = checkpoint.load(tmp_path / checkpoint.NAME)["progress"]
    assert saved["steps"] == looks
    assert_same(make(kit, tmp_path).run(resume=True), unbroken)


def on_features(kit, folder):
    """A run quick enough to be stopped at every single place."""
    settings = kit.make_settings(stages=STAGES, train={"checkpoint_every": 3}, eval={"batch_size": 32})
    methods, data = kit.make_methods(features=True), kit.make_data(60, features=True)
    return Trainer(settings, methods, data, device=CPU, folder=folder, config={"a": 1})


def test_stopped_at_any_look_it_goes_on_as_if_never_stopped(kit, tmp_path, monkeypatch):
    unbroken, looks = on_features(kit, tmp_path / "unbroken").run(), 0
    steps = set()
    while True:
        folder = tmp_path / str(looks)
        with monkeypatch.context() as patch:
            patch.setattr(trainers, "StopRequest", lambda: StopAnywhere(looks))  # noqa: B023
            try:
                on_features(kit, folder).run()
            except Interrupted:
                pass
            else:
                break
        progress = checkpoint.load(folder / checkpoint.NAME)["progress"]
        steps.add((progress["steps"], progress["labelled"]))
        assert_same(on_features(kit, folder).run(resume=True), unbroken)
        looks += 1
    # More places than steps: label phases, features, evaluation, predictions that are kept.
    assert looks > 2 * unbroken.history[-1]["step"]
    assert len(steps) > unbroken.history[-1]["step"]


def test_killed_between_two_checkpoints_and_resumed(kit, tmp_path, monkeypatch, unbroken):
    class Killed(Exception):
        pass

    seed_step = trainers.seed_step

    def kill(seed, step):
        if step == 9:
            raise Killed
        seed_step(seed, step)

    with monkeypatch.context() as patch:
        patch.setattr(trainers, "seed_step", kill)
        with pytest.raises(Killed):
            make(kit, tmp_path).run()
    assert checkpoint.load(tmp_path / checkpoint.NAME)["progress"]["steps"] == 6
    assert_same(make(kit, tmp_path).run(resume=True), unbroken)


def test_killed_before_the_first_checkpoint_it_starts_again_from_nothing(kit, tmp_path, unbroken):
    assert_same(make(kit, tmp_path).run(resume=True), unbroken)


def test_resuming_a_finished_run_trains_nothing_and_gives_its_results(kit, tmp_path, unbroken, monkeypatch):
    make(kit, tmp_path).run()
    monkeypatch.setattr(trainers, "seed_step", lambda *a: pytest.fail("a step was taken"))
    assert_same(make(kit, tmp_path).run(resume=True), unbroken)


def test_a_checkpoint_of_other_data_is_refused(kit, tmp_path):
    make(kit, tmp_path).run()
    other = make(kit, tmp_path)
    other.data.digests["labels"] = "y"  # type: ignore[index]
    with pytest.raises(UserError, match="the data changed"):
        other.run(resume=True)


def test_a_checkpoint_is_written_every_so_many_epochs_and_at_the_end(kit, tmp_path):
    told = []

    class Notes:
        def label_phase_end(self, result): ...
        def epoch_end(self, result): ...
        def checkpoint(self, path, epoch):
            told.append(epoch)

    settings = kit.make_settings(epochs=5, train={"checkpoint_every": 2})
    Trainer(settings, kit.make_methods(), kit.make_data(), device=CPU, folder=tmp_path, observers=Notes()).run()
    assert told == [2, 4, 5]


def test_without_a_folder_nothing_is_written(kit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Trainer(kit.make_settings(epochs=1), kit.make_methods(), kit.make_data(), device=CPU).run()
    assert list(tmp_path.iterdir()) == []
