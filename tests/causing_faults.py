"""What tests of faults share: a run of a moment, what it comes to, and ways to make something fail on the way."""

from __future__ import annotations

import itertools
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from noisyrun import files
from noisyrun.engine import checkpoint

#: A network and a number of digits that make an epoch a matter of a moment.
SMALL = [
    *("--data.subset", "120", "--batch-size", "40", "--device", "cpu", "--tracking", "none", "--epochs", "3"),
    *("--backbone", "small-cnn", "--backbone.width", "4", "--backbone.depth", "2", "--backbone.blocks", "0"),
]
RUN = ["--weighter", "sinet", "--prototypes", "smp", *SMALL]


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
