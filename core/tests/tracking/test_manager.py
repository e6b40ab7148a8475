"""Observers: told everything, able to disturb nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from noisyrun.api import hookimpl
from noisyrun.api.hooks import EpochResult, LabelPhaseResult, Lifecycle, RunInfo, RunResult
from noisyrun.tracking.manager import Observers


class Listener:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def noisyrun_run_start(self, run):
        self.heard.append(f"start {run.run_id}")

    @hookimpl
    def noisyrun_label_phase_end(self, result):
        self.heard.append(f"labels {result.round}")

    @hookimpl
    def noisyrun_epoch_end(self, result):
        self.heard.append(f"epoch {result.epoch}")

    @hookimpl
    def noisyrun_checkpoint(self, path, epoch):
        self.heard.append(f"checkpoint {path.name} {epoch}")

    @hookimpl
    def noisyrun_run_end(self, result):
        self.heard.append(f"end {result.status}")


class Broken:
    @hookimpl
    def noisyrun_epoch_end(self, result):
        raise RuntimeError("disk\nfull")


def test_every_hook_of_the_contract_reaches_an_observer():
    listener = Listener()
    observers = Observers({"listener": listener}, pytest.fail)
    observers.run_start(RunInfo("a", Path("runs/a"), {}, {}, {}, {}))
    observers.label_phase_end(LabelPhaseResult("rounds", 0, 3, {}))
    observers.epoch_end(EpochResult("rounds", 4, 40, {}))
    observers.checkpoint(Path("runs/a/checkpoint.safetensors"), 4)
    observers.run_end(RunResult("finished"))
    assert listener.heard == ["start a", "labels 0", "epoch 4", "checkpoint checkpoint.safetensors 4", "end finished"]
    hooks = [name for name in vars(Lifecycle) if name.startswith("noisyrun_")]
    assert len(listener.heard) == len(hooks)


def test_one_that_raises_is_reported_once_and_the_others_are_still_told():
    warnings, listener = [], Listener()
    observers = Observers({"broken": Broken(), "listener": listener}, warnings.append)
    observers.epoch_end(EpochResult("rounds", 1, 10, {}))
    observers.epoch_end(EpochResult("rounds", 2, 20, {}))
    assert warnings == ["broken: disk full; the run goes on without it"]
    assert listener.heard == ["epoch 1", "epoch 2"]
    assert observers.names == ("listener",)


def test_a_misspelt_hook_is_reported_before_the_run():
    class Misspelt:
        @hookimpl
        def noisyrun_epoch_ends(self, result):
            pass

    warnings = []
    assert Observers({"misspelt": Misspelt()}, warnings.append).names == ()
    assert "noisyrun_epoch_ends" in warnings[0]


def test_observers_say_where_they_record_the_run():
    class Tracker:
        def record(self):
            return {"open": "look here"}

    class Silent:
        def record(self):
            raise OSError("gone")

    warnings = []
    observers = Observers({"tracker": Tracker(), "silent": Silent(), "listener": Listener()}, warnings.append)
    assert observers.records() == {"tracker": {"open": "look here"}}
    assert warnings == ["silent: gone; the run goes on without it"]
