"""Disks that fail a run: full, small, read-only, gone."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from causing_faults import RUN, assert_same, full, leavings, limited, result, while_writing

from noisyrun import files
from noisyrun.cli import main
from noisyrun.engine import checkpoint, trainer


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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


@pytest.mark.parametrize(("form", "to"), [("folder", "clean"), ("parquet", "clean"), ("safetensors", "m.safetensors")])
def test_an_export_to_a_disk_that_refuses_it_is_one_line(command, tmp_path, form, to):
    command(*RUN, "--out", "out")
    with disk(tmp_path / "disk", "ro"):
        line = command.line("export", "out", form, "--to", f"disk/{to}")
    assert line.startswith("cannot write ")
    assert line.endswith(f"disk/{to}: the disk is read-only")


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
