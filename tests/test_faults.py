"""What fails around a run: signals, processes, databases, clocks, versions. docs/faults.md lists every test here.

Faults are real ones wherever the system lets a test cause them: the kernel refuses to write, a signal arrives.
"""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from causing_faults import PLACES, RUN, assert_same, at, leavings, result

from noisyrun.cli import main
from noisyrun.engine import checkpoint, interrupt, trainer
from noisyrun.plugins import discover
from noisyrun.run_folder import RunFolder
from noisyrun.tracking import journal

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "faults.md"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("place", PLACES)
def test_a_signal_saves_and_says_how_to_go_on(command, monkeypatch, unbroken, place, number):
    with monkeypatch.context() as patch:
        at(patch, PLACES[place], (number,))
        line = command.line(*RUN, "--out", "out", code=128 + number)
    assert line == "interrupted; go on with: noisyrun resume out"
    assert json.loads(Path("out", "status.json").read_text())["status"] == "interrupted"
    assert Path("out", checkpoint.NAME).exists()
    assert leavings("out") == []
    command("resume", "out")
    assert_same(result("out"), unbroken)


@pytest.mark.parametrize("place", PLACES)
def test_a_second_signal_stops_at_once_and_loses_nothing_that_was_saved(command, monkeypatch, unbroken, place):
    monkeypatch.setattr(interrupt, "ECHO", -1.0)  # else those who pass on a signal would stop a run that saves
    with monkeypatch.context() as patch:
        at(patch, PLACES[place], (signal.SIGTERM, signal.SIGTERM))
        line = command.line(*RUN, "--out", "out", code=143)
    assert line == "interrupted; go on with: noisyrun resume out"
    assert leavings("out") == []
    command("resume", "out")
    assert_same(result("out"), unbroken)


def test_a_signal_before_there_is_a_folder_just_ends(command, monkeypatch):
    at(monkeypatch, "noisyrun.runner.load_members", (signal.SIGTERM,))
    assert command.line(*RUN, "--out", "out", code=143) == "interrupted"
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["export", "run", "folder", "--to", "my clean"], "noisyrun.exports.folder.write_table"),
        (["export", "run", "safetensors", "--to", "m.safetensors"], "noisyrun.exports.model.save_file"),
        (["predict", "run", "digits", "--split", "test", "--out", "p.csv"], "noisyrun.prediction._add"),
    ],
)
def test_a_signal_ends_an_export_or_a_prediction_and_leaves_nothing(command, monkeypatch, words, place):
    command(*RUN, "--out", "run")
    with monkeypatch.context() as patch:
        at(patch, place, (signal.SIGTERM,))
        assert command.line(*words, code=143) == "interrupted"
    assert os.listdir() == ["run"]


def test_what_a_process_ignores_it_ignores_in_a_run_too(command, monkeypatch, unbroken):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with monkeypatch.context() as patch:
            at(patch, PLACES["a label phase"], (signal.SIGHUP,))
            command(*RUN, "--out", "out")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert_same(result("out"), unbroken)


def test_a_signal_that_is_handed_on_at_once_is_one_signal():
    with interrupt.StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # torchrun's, after the terminal's
        assert stop.requested
        assert stop.signal == signal.SIGINT
    with pytest.raises(interrupt.Interrupted):
        stop.check()


# Other processes


def test_a_killed_run_leaves_a_lock_and_half_files_that_stop_nobody(command, unbroken):
    child = os.fork()
    if child == 0:
        with open(os.devnull, "w") as sys.stdout, open(os.devnull, "w") as sys.stderr:
            trainer.Trainer._leave = lambda *args: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
            main([*RUN, "--out", "out"])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert json.loads(Path("out", "status.json").read_text())["status"] == "running"
    half = [".checkpoint.safetensors.0a1b2c3d.tmp", ".features-0a1b2c3d.npy.tmp", "features-0a1b2c3d.npy"]
    for name in half:
        Path("out", name).write_bytes(b"half")
    command("resume", "out")
    assert_same(result("out"), unbroken)
    assert not set(half) & set(os.listdir("out"))


def test_a_run_in_a_folder_that_another_process_has_is_refused(command):
    command(*RUN, "--out", "out")
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with RunFolder(Path("out")).locked():
            os.write(ready[1], b"!")
            os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    for words in (["resume", "out"], [*RUN, "--out", "out"], ["track", "out"]):
        assert re.search("another noisyrun is running|holds a run already", command.line(*words))
    os.write(done[1], b"!")
    os.waitpid(child, 0)


# Trackers


def test_a_locked_database_costs_one_line_and_is_made_up_for(command, capsys):
    pytest.importorskip("mlflow")
    store = sqlite3.connect("mlflow.db", isolation_level=None)
    store.execute("CREATE TABLE mine (value)")
    store.execute("BEGIN EXCLUSIVE")
    words = [word if word != "none" else "mlflow" for word in RUN]
    assert main([*words, "--tracking.uri", "sqlite:///mlflow.db", "--out", "out"]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "mlflow" in line.lower()]
    assert len(warnings) == 1
    assert "database is locked; to record the rest later: noisyrun track out" in warnings[0]
    store.close()
    os.unlink("mlflow.db")
    command("track", "out")
    shown = sqlite3.connect("mlflow.db").execute("SELECT key, step FROM metrics WHERE key = 'loss'").fetchall()
    assert sorted(shown) == [("loss", 1), ("loss", 2), ("loss", 3)]


# Clocks


def test_a_clock_that_jumps_back_between_two_starts_changes_no_result(command, monkeypatch, unbroken):
    with monkeypatch.context() as patch:
        at(patch, PLACES["a label phase"], (signal.SIGTERM,))
        patch.setattr(time, "time", lambda: 4e9)  # 2096
        command.line(*RUN, "--out", "out", code=143)
    with monkeypatch.context() as patch:
        jumping = itertools.count(10)
        patch.setattr(time, "time", lambda: 1e9 - next(jumping))  # 2001, and running backwards
        command("resume", "out")
    assert_same(result("out"), unbroken)
    summary = json.loads(Path("out", "summary.json").read_text())
    assert all(0 <= value < 1000 for value in summary["seconds"].values())
    assert [event["what"] for event in journal.read(Path("out"))].count("start") == 2


#: Who may ask what time it is: to show it to a person, or to a tracker. All durations are of clocks that nobody sets.
TIME_MAY_BE_ASKED_BY = {
    "bench/work.py",
    "tracking/journal.py",
    "tracking/mlflow.py",
    "tracking/recorder.py",
    "tracking/suites.py",
    "torchrun.py",
}


def test_durations_are_measured_by_clocks_that_nobody_sets():
    asking = set()
    for path in (ROOT / "core" / "src" / "noisyrun").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "time.time":
                asking.add(str(path.relative_to(ROOT / "core" / "src" / "noisyrun")))
    assert asking <= TIME_MAY_BE_ASKED_BY


# Versions


def test_a_run_goes_on_with_other_versions_in_one_line(command, capsys, unbroken, monkeypatch):
    with monkeypatch.context() as patch:
        at(patch, PLACES["an evaluation"], (signal.SIGTERM,))
        command.line(*RUN, "--out", "out", code=143)
    status = json.loads(Path("out", "status.json").read_text())
    status["versions"] |= {"torch": "1.0", "weighter.sinet": "noisyrun-sinet 0.0.1"}
    Path("out", "status.json").write_text(json.dumps(status))
    assert main(["resume", "out"]) == 0
    told = capsys.readouterr().err
    assert re.search(
        r"the run goes on with torch \S+ \(was 1\.0\), weighter\.sinet .* \(was noisyrun-sinet 0\.0\.1\)", told
    )
    assert_same(result("out"), unbroken)


def test_a_plugin_that_is_gone_is_one_line(command, monkeypatch):
    command(*RUN, "--out", "out")
    monkeypatch.setenv("NOISYRUN_DISABLE_PLUGINS", "noisyrun-sinet")
    assert "sinet" in command.line("resume", "out")


def test_state_that_a_plugin_cannot_take_up_is_one_line(command, monkeypatch):
    made = discover().factory("weighter", "sinet")
    command(*RUN, "--out", "out")
    saved = checkpoint.load(Path("out", checkpoint.NAME))
    saved["methods"]["weighter.sinet"] = {"of another version": torch.zeros(1)}
    checkpoint.save(Path("out", checkpoint.NAME), saved)

    def load(self: Any, state: Any) -> None:
        raise KeyError("rows")

    monkeypatch.setattr(made, "load_state_dict", load)
    assert "the state of weighter.sinet does not fit" in command.line("resume", "out")


# The page


def test_the_page_on_faults_names_every_test_and_each_is_there():
    listed = re.findall(r"`(?:(\S+?\.py)::)?(test_\w+)`", PAGE.read_text(encoding="utf-8"))
    named = {(ROOT / file if file else Path(__file__), name) for file, name in listed}
    here = {(path, name) for path in Path(__file__).parent.glob("test_faults*.py") for name in names_of_tests(path)}
    here.remove((Path(__file__), "test_the_page_on_faults_names_every_test_and_each_is_there"))
    assert here <= named
    assert {(path, name) for path, name in named if name not in names_of_tests(path)} == set()


def names_of_tests(path: Path) -> set[str]:
    found = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name for node in found if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
