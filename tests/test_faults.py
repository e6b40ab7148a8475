"""What fails around a run: disks, signals, other processes, databases, clocks, data. docs/faults.md lists every test here.

Faults are real ones wherever the system lets a test cause them: the kernel refuses to write, a signal arrives.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from noisyrun import files
from noisyrun.cli import main
from noisyrun.engine import checkpoint, interrupt, trainer

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


class Command:
    """Runs a command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str | Path) -> None:
        """It must succeed."""
        self.capsys.readouterr()
        code = main([str(word) for word in words])
        assert code == 0, self.capsys.readouterr().err

    def line(self, *words: str | Path, code: int = 2) -> str:
        """It must fail with this code; gives the one line that says why."""
        self.capsys.readouterr()
        assert main([str(word) for word in words]) == code
        told = self.capsys.readouterr().err
        assert "Traceback" not in told
        lines = [line for line in told.splitlines() if line.strip() and not line.startswith(("epoch ", "labels "))]
        assert len(lines) == 1, told
        return lines[0]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


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
            with original(path), act() or suppress():
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
    judge = trainer.run_label_phase
    with monkeypatch.context() as patch:
        patch.setattr(trainer.FeatureSource, "bank", in_small(trainer.FeatureSource.bank))
        line = command.line(*words)
    assert "noisyrun resume out" in line
    assert judge is trainer.run_label_phase
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
    """Send signals to this process when it comes to a place."""
    home, _, name = place.rpartition(".")
    module: Any = (
        sys.modules[home]
        if home in sys.modules
        else getattr(sys.modules[home.rpartition(".")[0]], home.rpartition(".")[2])
    )
    original, count = getattr(module, name), itertools.count()

    def hit(*args: Any, **named: Any) -> Any:
        if next(count) == 0:
            for number in signals:
                os.kill(os.getpid(), number)
        return original(*args, **named)

    monkeypatch.setattr(module, name, hit)


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
