"""Cells run in processes of their own: what ends one leaves the sweep, and what ends the sweep leaves no cell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from noisyrun.bench import work
from noisyrun.bench.plan import expand
from noisyrun.bench.store import Result, Results, is_volatile
from noisyrun.bench.suite import Suite
from noisyrun.bench.work import Listener, Options, Stopped, Sweep
from noisyrun.plugins import Switches, discover
from noisyrun.run_folder import CHECKPOINT

#: A weighter that does what its setting says.
METHOD = """
import os, signal, time
import torch
from noisyrun.api import SampleWeighter
from {module}_config import Config

class Fake(SampleWeighter[Config]):
    def weigh(self, block, labels, prototypes, side):
        if self.config.does == "raise":
            raise RuntimeError("nobody\\nforesaw this")
        if self.config.does == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.config.does == "sleep":
            time.sleep(600)
        return torch.ones(len(labels))
"""
DOES = "does: Literal['weigh', 'raise', 'crash', 'sleep'] = Field('weigh', description='What it does.')"


class Heard(Listener):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, cell):
        self.lines.append(f"started {cell.place.method}")

    def ended(self, cell, result):
        self.lines.append(f"{result.status} {cell.place.method}")

    def waiting(self, cells):
        self.lines.append(f"waiting for {len(cells)}")


@pytest.fixture
def fake(site):
    site.plugin("noisyrun-fake", "weighter", "fake", fields=DOES)
    site.module("noisyrun_fake_method", METHOD.format(module="noisyrun_fake"))
    return discover(Switches.of())


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    """Features of two classes, two of them with the wrong label."""
    path = tmp_path_factory.mktemp("data") / "train.npz"
    labels = np.arange(40) % 2
    values = np.random.default_rng(0).normal(size=(40, 3)) + 4 * labels[:, None]
    noisy = np.where(np.arange(40) < 2, 1 - labels, labels)
    np.savez(path, features=values.astype(np.float32), noisy_label=noisy, clean_label=labels)
    return path


def detection(features: Path, does: list[str], **values) -> Suite:
    """A suite of detections, one method for each thing that a weighter does."""
    methods = [{"name": what, "weighter": {"fake": {"does": what}}} for what in does]
    data = [{"name": "points", "dataset": str(features)}]
    return Suite.model_validate(
        {"title": "A suite", "task": "detect", "seeds": 1, "data": data, "method": methods, **values}
    )


def training(**values) -> Suite:
    data = [{"name": "digits", "dataset": "digits", "noise": "symmetric:0.4"}]
    settings = {"epochs": 3, "data.subset": 200}
    return Suite.model_validate(
        {"title": "A suite", "seeds": 1, "settings": settings, "data": data, "method": [{"name": "plain"}], **values}
    )


def measured(results: Results, cell: str) -> dict[str, float]:
    """What a cell measured, but for what may differ."""
    result = results.result(cell)
    assert result is not None
    assert result.status == "finished", result.error
    return {name: value for name, value in result.measures.items() if not is_volatile(name)}


def test_what_ends_a_cell_leaves_the_sweep_and_a_line_that_says_why(fake, features, tmp_path):
    results, heard = Results(tmp_path), Heard()
    plan = expand(detection(features, ["raise", "crash", "weigh"]), fake)
    bad = Sweep(results, plan, list(plan.cells.values()), Options(), [heard]).run()
    assert [(cell.place.method, result.status, result.error) for cell, result in bad] == [
        ("raise", "failed", "RuntimeError: nobody; foresaw this"),
        ("crash", "failed", "its process was ended by SIGKILL; the system often does so when memory runs out"),
    ]
    assert heard.lines == [
        "started raise",
        "failed raise",
        "started crash",
        "failed crash",
        "started weigh",
        "finished weigh",
    ]
    good = results.result(plan.places[2].cell)
    assert good is not None
    assert good.machine["host"]
    assert "RuntimeError" in results.log(plan.places[0].cell).read_text()

    again = Heard()
    Sweep(results, plan, list(plan.cells.values()), Options(), [again]).run()
    assert again.lines == []  # what failed is not run again by itself
    work.retry(results, list(plan.cells.values()))
    assert [results.result(place.cell) is None for place in plan.places] == [True, True, False]


def test_several_cells_run_at_once_and_each_once(fake, features, tmp_path):
    results, heard = Results(tmp_path), Heard()
    plan = expand(detection(features, ["weigh"], seeds=3), fake)
    assert Sweep(results, plan, list(plan.cells.values()), Options(jobs=2), [heard]).run() == []
    assert heard.lines[:2] == ["started weigh", "started weigh"]
    assert sorted(heard.lines) == ["finished weigh"] * 3 + ["started weigh"] * 3


def test_a_cell_that_takes_too_long_is_given_up(fake, features, tmp_path):
    plan = expand(detection(features, ["sleep"], timeout=0.2), fake)
    ((_, result),) = Sweep(Results(tmp_path), plan, list(plan.cells.values()), Options()).run()
    assert (result.status, result.error) == ("timeout", "not done after 0.2 s")


def test_what_a_run_refuses_is_refused_in_its_own_words(features, tmp_path):
    nothing = Suite.model_validate(
        {
            "title": "A suite",
            "task": "detect",
            "data": [{"name": "points", "dataset": str(features)}],
            "method": [{"name": "A"}],
        }
    )
    plan = expand(nothing.model_copy(update={"seeds": (0,)}))
    ((_, result),) = Sweep(Results(tmp_path), plan, list(plan.cells.values()), Options()).run()
    assert (result.status, result.error) == (
        "refused",
        "detect: choose what judges the labels: --weighter NAME, --corrector NAME, or both",
    )


def test_a_cell_that_another_process_has_is_left_to_it(fake, features, tmp_path):
    results, heard = Results(tmp_path), Heard()
    plan = expand(detection(features, ["weigh"]), fake)
    (cell,) = plan.cells.values()
    done = Result(cell=cell.id, status="finished", measures={"detection.auroc": 0.5})

    class Other(Heard):
        def waiting(self, cells):
            super().waiting(cells)
            results.keep(done)

    heard = Other()
    with results.claim(cell.id):
        assert Sweep(results, plan, [cell], Options(), [heard]).run() == []
    assert heard.lines == ["waiting for 1", "finished weigh"]
    assert results.result(cell.id) == done


def test_a_sweep_killed_in_the_middle_of_a_cell_leaves_no_process_and_goes_on_to_the_same_result(tmp_path):
    plan = expand(training(settings={"epochs": 8, "data.subset": 200}))
    (cell,) = plan.cells.values()
    whole, broken = Results(tmp_path / "whole"), Results(tmp_path / "broken")
    assert Sweep(whole, plan, [cell], Options(keep=True)).run() == []
    suite = tmp_path / "suite.toml"
    suite.write_text(
        'title = "A suite"\nseeds = 1\n[settings]\nepochs = 8\n"data.subset" = 200\n[[method]]\nname = "plain"\n'
        '[[data]]\nname = "digits"\ndataset = "digits"\nnoise = "symmetric:0.4"\n'
    )
    words = ["-m", "noisyrun", "bench", str(suite), "--out", str(broken.path), "--tracking", "none", "--no-cost"]
    sweep = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    saved = broken.run(cell.id) / CHECKPOINT
    until(saved.exists)
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.wait()
    until(lambda: not broken.claimed(cell.id))
    assert broken.result(cell.id) is None
    assert Sweep(broken, plan, [cell], Options()).run() == []
    assert "going on in" in broken.log(cell.id).read_text()
    assert measured(broken, cell.id) == measured(whole, cell.id)
    assert not saved.exists()  # dropped once the cell has ended
    assert (whole.run(cell.id) / CHECKPOINT).exists()  # unless it is to be kept


def test_a_sweep_that_is_asked_to_stop_lets_its_cell_save_where_it_stands(tmp_path):
    results = Results(tmp_path)
    plan = expand(training(settings={"epochs": 1000, "data.subset": 200}))
    (cell,) = plan.cells.values()
    saved = results.run(cell.id) / CHECKPOINT
    subprocess.Popen(
        [sys.executable, "-c", "import os, signal, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.1)\n"
         "os.kill(int(sys.argv[2]), signal.SIGINT)", str(saved), str(os.getpid())]
    )  # fmt: skip
    with pytest.raises(Stopped):
        Sweep(results, plan, [cell], Options()).run()
    assert results.result(cell.id) is None
    assert not results.claimed(cell.id)
    assert '"interrupted"' in (results.run(cell.id) / "status.json").read_text()


@pytest.mark.parametrize(
    ("asked", "when"),
    [
        pytest.param(signal.SIGINT, "cells/*/cell.json", id="ctrl-c-while-it-imports-what-its-cells-need"),
        pytest.param(signal.SIGTERM, f"cells/*/run/{CHECKPOINT}", id="a-scheduler-while-a-cell-is-at-work"),
    ],
)
def test_a_stop_sent_to_all_of_a_sweep_is_one_line_and_fails_no_cell(tmp_path, asked, when):
    suite = tmp_path / "suite.toml"
    suite.write_text(
        'title = "A suite"\nseeds = 1\n[settings]\nepochs = 1000\n[[method]]\nname = "plain"\n'
        '[[data]]\nname = "digits"\ndataset = "digits"\n'
    )
    words = ["-m", "noisyrun", "bench", str(suite), "--out", str(tmp_path), "--tracking", "none", "--no-cost"]
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as sweep:
        until(lambda: list(tmp_path.glob(when)))
        os.killpg(sweep.pid, asked)  # as a terminal does, or a scheduler: every process of its group
        said = sweep.communicate()[1]
    assert sweep.returncode == 130
    assert said.startswith("interrupted; go on with: noisyrun bench")
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("cells/*/result.json"))


def until(done, seconds: float = 120.0) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)
