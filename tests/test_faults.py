"""What fails around a run: disks, signals, processes, databases, clocks, data. docs/faults.md lists every test here.

Faults are real ones wherever the system lets a test cause them: the kernel refuses to write, a signal arrives.
"""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from noisyrun import files
from noisyrun.cli import main
from noisyrun.engine import checkpoint, interrupt, trainer
from noisyrun.plugins import discover
from noisyrun.run_folder import RunFolder
from noisyrun.tracking import journal

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "faults.md"

#: A network and a number of digits that make an epoch a matter of a moment.
SMALL = [
    *("--data.subset", "120", "--batch-size", "40", "--device", "cpu", "--tracking", "none", "--epochs", "3"),
    *("--backbone", "small-cnn", "--backbone.width", "4", "--backbone.depth", "2", "--backbone.blocks", "0"),
]
RUN = ["--weighter", "sinet", "--prototypes", "smp", *SMALL]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def result(folder: str | Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]], bytes]:
    """What a run came to, but for the time it took."""
    saved = checkpoint.load(Path(folder) / checkpoint.NAME)
    summary = json.loads(Path(folder, "summary.json").read_text())
    records = [
        {name: value for name, value in record.items() if "seconds" not in name}
        for record in (*summary["history"], *summary["rounds"])
    ]
    return saved["network"], records, Path(folder, "labels.parquet").read_bytes()


def assert_same(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert all(torch.equal(one[0][name], other[0][name]) for name in one[0])
    assert one[1:] == other[1:]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """What the run comes to when nothing fails."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    assert main([*RUN, "--out", str(folder)]) == 0
    return result(folder)


def leavings(folder: str | Path) -> list[str]:
    return [path.name for path in Path(folder).iterdir() if path.name.endswith(".tmp")]


@contextmanager
def limited(kind: int, most: int) -> Iterator[None]:
    """The kernel allows no more of something."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def while_writing(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], Any], number: int = 1) -> None:
    """Act while the file of this name is written for the so manieth time; what `act` gives is held open meanwhile."""
    count, original = itertools.count(1), files.writing

    @contextmanager
    def writing(path: Path) -> Iterator[None]:
        if path.name == name and next(count) == number:
            with original(path), act() or nullcontext():
                yield
        else:
            with original(path):
                yield

    monkeypatch.setattr(files, "writing", writing)


def full() -> Any:
    """The disk takes files of 64 bytes and no longer ones: a fault the kernel reports as it reports a full disk."""
    return limited(resource.RLIMIT_FSIZE, 64)


# Disks


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("status.json", 1),
        ("checkpoint.safetensors", 1),
        ("checkpoint.safetensors", 3),
        ("labels.parquet", 1),
        ("noise.parquet", 1),
        ("curves.svg", 1),
        ("gallery.png", 1),
        ("gallery.html", 1),
        ("summary.json", 1),
    ],
)
def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_room(command, monkeypatch, unbroken, name, number):
    with monkeypatch.context() as patch:
        while_writing(patch, name, full, number)
        line = command.line(*RUN, "--out", "out")
    assert line.startswith(f"cannot write out/{name}: ")
    assert line.endswith("go on with: noisyrun resume out") or name == "status.json"
    assert leavings("out") == []
    if number > 1:  # the checkpoint before this one is there, and whole
        assert checkpoint.load(Path("out", name))["progress"]["epochs"] == number - 1
    else:
        assert not Path("out", name).exists()
    command("resume", "out")
    assert_same(result("out"), unbroken)


def test_a_full_disk_before_anything_began_leaves_the_folder_to_the_next_attempt(command, monkeypatch):
    with monkeypatch.context() as patch:
        while_writing(patch, "config.json", full)
        assert command.line(*RUN, "--out", "out").startswith("cannot write out/config.json: ")
    command(*RUN, "--out", "out")


@contextmanager
def disk(folder: Path, *options: str) -> Iterator[Path]:
    """A disk of its own, as small as one likes; skips where this system does not let a test have one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("no disk can be mounted here; the same faults are tested by limits of the process")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


#: A checkpoint of half a megabyte.
WIDE = [word if word != "4" else "24" for word in RUN]


def test_a_disk_that_holds_one_checkpoint_but_not_two_keeps_the_first(command, tmp_path):
    command(*WIDE, "--out", "unbroken")
    size = Path("unbroken", checkpoint.NAME).stat().st_size
    with disk(tmp_path / "disk", f"size={int(1.7 * size)}"):
        line = command.line(*WIDE, "--out", "disk/out")
        assert re.fullmatch(
            r"cannot write disk/out/checkpoint\.safetensors: the disk is full \(.+ free of .+\); mend that, then go on "
            r"with: noisyrun resume disk/out",
            line,
        )
        assert leavings("disk/out") == []
        assert checkpoint.load(Path("disk/out", checkpoint.NAME))["progress"]["epochs"] == 1
        subprocess.run(["mount", "-o", f"remount,size={8 * size}", "tmpfs", "disk"], check=True)
        command("resume", "disk/out")
        assert_same(result("disk/out"), result("unbroken"))


def test_a_disk_without_room_for_another_file_says_so(command, tmp_path):
    with disk(tmp_path / "disk", "size=8m", "nr_inodes=5"):
        assert "no more files can be made" in command.line(*RUN, "--out", "disk/out")


def test_a_read_only_disk_is_refused_before_anything_is_done(command, tmp_path):
    with disk(tmp_path / "disk", "ro"):
        line = command.line(*RUN, "--out", "disk/out")
    assert line == "--out: cannot make disk/out (the disk is read-only)"


def test_a_bank_on_a_full_disk_is_one_line_and_kills_nothing(command, monkeypatch, unbroken):
    words = [*RUN, "--bank.residence", "disk", "--out", "out"]
    with monkeypatch.context() as patch:
        patch.setattr(trainer.FeatureSource, "bank", in_small(trainer.FeatureSource.bank))
        line = command.line(*words)
    assert "noisyrun resume out" in line
    assert not [name for name in os.listdir("out") if "features-" in name]
    command("resume", "out")
    assert Path("out", "summary.json").exists()


def in_small(call: Callable[..., Any]) -> Callable[..., Any]:
    def limited_call(*args: Any, **named: Any) -> Any:
        with full():
            return call(*args, **named)

    return limited_call


@pytest.mark.parametrize("number", sorted(files.FAULTS))
def test_every_fault_of_the_machine_has_words_for_it(tmp_path, monkeypatch, number):
    path = tmp_path / "file"
    files.write_text(path, "old")

    def fail(*args: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "sync", fail)
    with pytest.raises(files.WriteError, match=r"^cannot write .+/file: ") as caught:
        files.write_text(path, "new")
    assert files.FAULTS[number] in str(caught.value)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_vanishes_during_a_run_does_not_come_back_half_empty(command, monkeypatch):
    while_writing(monkeypatch, checkpoint.NAME, lambda: shutil.rmtree("out"), 2)
    line = command.line(*RUN, "--out", "out")
    assert line.startswith(
        "cannot write out/checkpoint.safetensors: there is no folder out (moved, deleted, unmounted?)"
    )
    assert not Path("out").exists()


def test_a_folder_that_was_moved_during_a_run_goes_on_in_its_new_place(command, monkeypatch, unbroken):
    with monkeypatch.context() as patch:
        while_writing(patch, checkpoint.NAME, lambda: os.rename("out", "moved"), 2)
        assert "there is no folder out" in command.line(*RUN, "--out", "out")
    command("resume", "moved")
    assert_same(result("moved"), unbroken)
    assert not Path("out").exists()


def test_too_many_open_files_are_one_line(command, monkeypatch, unbroken):
    with monkeypatch.context() as patch:
        most = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 64
        while_writing(patch, checkpoint.NAME, lambda: limited(resource.RLIMIT_NOFILE, most - 1), 2)
        line = command.line(*RUN, "--out", "out")
    assert "too many open files (raise the limit: ulimit -n)" in line
    command("resume", "out")
    assert_same(result("out"), unbroken)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_finds_no_room_costs_no_result(tmp_path):
    child = os.fork()
    if child == 0:
        sink = os.open("/dev/full", os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os._exit(main([*RUN, "--out", "out"]))
    os.waitpid(child, 0)
    assert json.loads(Path("out", "status.json").read_text())["status"] == "finished"
    assert Path("out", "summary.json").exists()


def test_results_of_a_suite_on_a_full_disk_stop_the_sweep_in_one_line(command, monkeypatch, tmp_path):
    from noisyrun.bench import cell
    from noisyrun.bench.store import Results

    order = {"results": tmp_path / "results", "cell": "abc", "task": "train", "config": {}}
    Results(order["results"]).describe("abc", {})
    monkeypatch.setattr(cell, "_begin", lambda order: None)
    monkeypatch.setattr(cell, "_redirect", lambda log: None)
    monkeypatch.setattr(cell, "_run", lambda order, results: {})
    monkeypatch.setattr(os, "_exit", sys.exit)
    with monkeypatch.context() as patch:
        while_writing(patch, "result.json", full)
        with pytest.raises(SystemExit) as ended:
            cell.work(cell.Order(**order))
    assert ended.value.code == cell.NO_ROOM
    assert command.capsys.readouterr().err.startswith(f"cannot write {tmp_path}/results/cells/abc/result.json: ")
    assert Results(order["results"]).result("abc") is None  # so that it runs again


# Signals


def at(monkeypatch: pytest.MonkeyPatch, place: str, signals: tuple[int, ...]) -> None:
    """Send signals to this process when it first comes to a place, MODULE.FUNCTION."""
    module, _, name = place.rpartition(".")
    home = import_module(module)
    original, count = getattr(home, name), itertools.count()

    def hit(*args: Any, **named: Any) -> Any:
        if next(count) == 0:
            for number in signals:
                os.kill(os.getpid(), number)
        return original(*args, **named)

    monkeypatch.setattr(home, name, hit)


PLACES = {
    "the first step": "noisyrun.engine.trainer.seed_step",
    "a label phase": "noisyrun.engine.label_phase.weigh",
    "an evaluation": "noisyrun.engine.trainer.evaluate",
    "the writing of a checkpoint": "noisyrun.engine.checkpoint.save_file",
    "the report": "noisyrun.runner.write_labels",
    "the pictures": "noisyrun.report.drawing.draw",
}


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
    own = {name for file, name in listed if not file}
    here = ast.parse(Path(__file__).read_text(encoding="utf-8")).body
    names = {node.name for node in here if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    assert own == names - {"test_the_page_on_faults_names_every_test_and_each_is_there"}
    for file, name in listed:
        if file:
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file} has no {name}"
