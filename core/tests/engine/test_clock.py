"""Peak memory: of this process, and of what it did since."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from noisyrun.engine import clock

CPU = torch.device("cpu")
MIB = 1 << 20
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells it of one process, and forgets it")


@LINUX
def test_what_was_used_before_is_forgotten():
    held = b"x" * (200 * MIB)
    high = clock.peak_memory(CPU)["process"]
    del held
    clock.forget_peak_memory(CPU)
    low = clock.peak_memory(CPU)["process"]
    assert high - low > 150 * MIB
    held = b"x" * (100 * MIB)
    del held
    assert clock.peak_memory(CPU)["process"] - low > 80 * MIB


def test_seconds_within_seconds_count_once(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(now))
    watch = clock.Stopwatch()
    with watch("outer"):  # from 0 to 5
        with watch("inner"):  # from 1 to 2
            pass
        with watch("inner"):  # from 3 to 4
            pass
    assert watch.seconds == {"inner": 2, "outer": 3}


CHILD = """
import resource, sys
from types import SimpleNamespace
sys.modules["torch"] = SimpleNamespace(cuda=None, device=object)  # the clock needs none of it on a CPU
from noisyrun.engine import clock
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
print(clock.peak_memory(SimpleNamespace(type="cpu"))["process"])
"""


@LINUX
def test_a_child_does_not_count_what_its_parent_used():
    held = b"x" * (300 * MIB)
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    inherited, own = map(int, done.stdout.split())
    del held
    assert inherited > 300 * MIB
    assert own < 200 * MIB


def test_where_no_file_tells_it_the_process_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(clock, "_STATUS", tmp_path / "status")
    monkeypatch.setattr(clock, "_FORGET", tmp_path / "none" / "clear_refs")
    clock.forget_peak_memory(CPU)
    assert clock.peak_memory(CPU)["process"] > MIB
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t    2048 kB\n")
    assert clock.peak_memory(CPU) == {"process": 2048 * 1024}
