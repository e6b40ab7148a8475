"""What fails around a run: disks, signals, other processes, databases, clocks, data. docs/faults.md lists every test here.

Faults are real ones wherever the system lets a test cause them: the kernel refuses to write, a signal arrives.
"""

from __future__ import annotations

import ast
import errno
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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from noisyrun import files
from noisyrun.cli import main
from noisyrun.engine import checkpoint, interrupt, trainer
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


def while_writing(
    monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], Any], number: int = 1
) -> None:
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
def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_room(
    command, monkeypatch, unbroken, name, number
):
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
