"""Kill a sweep at random moments and resume it each time; or run it in two shards at once: nothing may differ.

    python benchmarks/kill_sweep.py kill [KILLS]
    python benchmarks/kill_sweep.py shards

``kill`` runs a small suite on digits unbroken, then again with ``kill -9`` of the sweep's process at random moments,
KILLS in all (10), each time resumed by the same command; every third moment counts from the start of the process, the
others from when its first cell is at work. ``shards`` runs it as ``--shard 1/2`` and ``--shard 2/2`` at
the same time, then as two processes without shards, into one results folder and one MLflow database. Both hold
``results.csv`` against that of the unbroken sweep, but for times, memory, dates and the machine; ``cells/ID/log.txt``
against each cell running once; and MLflow against one parent, one run a cell and each epoch once. The exit code is
the number of things that differ.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from noisyrun.bench.store import Results, is_volatile
from noisyrun.engine import checkpoint
from noisyrun.run_folder import CHECKPOINT

# One thread: the result must not depend on how many cores happen to be free.
os.environ |= {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}

SUITE = """
title = "Digits, killed"
seeds = 2
[settings]
epochs = 8
"data.subset" = 400
[[data]]
name = "digits"
dataset = "digits"
noise = "symmetric:0.4"
[[method]]
name = "cross entropy"
[[method]]
name = "correction"
prototypes = "smp"
corrector = "smp"
[[method]]
name = "weights"
prototypes = "smp"
weighter = "sinet"
"""


def start(suite: Path, out: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start a sweep."""
    command = [sys.executable, "-m", "noisyrun", "bench", str(suite), "--out", str(out), "--no-cost", *words]
    log = (out.parent / f"{out.name}.log").open("ab")
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def finish(processes: Sequence[subprocess.Popen[bytes]], out: Path) -> None:
    """Wait for sweeps that must succeed."""
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit((out.parent / f"{out.name}.log").read_text())


def rows(out: Path) -> list[dict[str, str]]:
    """The results, but for what may differ."""
    with (out / "results.csv").open(encoding="utf-8", newline="") as handle:
        return [{k: v for k, v in row.items() if not is_volatile(k)} for row in csv.DictReader(handle)]


def differences(out: Path, want: list[dict[str, str]]) -> list[str]:
    """What differs from the unbroken sweep, in the results and in MLflow."""
    found = [] if rows(out) == want else ["results.csv differs"]
    return found + recorded(out, len({row["cell"] for row in want}))


def recorded(out: Path, cells: int) -> list[str]:
    """What is wrong in MLflow: a run too many or too few, one that never ended, an epoch twice."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    parents = [run for run in runs if "noisyrun.suite_id" in run.data.tags]
    nested = [run for run in runs if "noisyrun.cell_id" in run.data.tags]
    names = {run.data.tags["noisyrun.cell_id"] for run in nested}
    wrong = []
    if (len(runs), len(parents), len(nested), len(names)) != (cells + 1, 1, cells, cells):
        wrong.append(f"MLflow has {len(runs)} runs, {len(parents)} parents and {len(nested)} of {len(names)} cells")
    if any(run.data.tags["mlflow.parentRunId"] != parents[0].info.run_id for run in nested):
        wrong.append("a cell in MLflow has another parent")
    wrong += [f"{run.info.run_name}: {run.info.status}" for run in runs if run.info.status != "FINISHED"]
    for run in nested:
        steps = Counter(point.step for point in client.get_metric_history(run.info.run_id, "val_accuracy"))
        if not steps or max(steps.values()) > 1:
            wrong.append(f"{run.info.run_name}: epochs {sorted(steps.elements())}")
    return wrong


def at_work(out: Path) -> bool:
    """Whether a cell is being worked on."""
    return any(Results(out).claimed(cell.name) for cell in (out / "cells").glob("*"))


def standing(out: Path) -> str:
    """What a kill left: cells that have ended, and how far the one in the middle had come."""
    cells = [cell.name for cell in (out / "cells").glob("*")]
    begun = [cell for cell in cells if Results(out).result(cell) is None]
    saved = [file for cell in begun if (file := Results(out).run(cell) / CHECKPOINT).exists()]
    steps = ", ".join(f"at step {checkpoint.load(file)['progress']['steps']}" for file in saved) or "no checkpoint"
    return f"{len(cells) - len(begun)} cells ended, {len(begun)} begun ({steps})"


def left_running(out: Path) -> int:
    """Cells that are still being worked on two seconds after the sweep was killed."""
    time.sleep(2)
    return sum(Results(out).claimed(cell.name) for cell in (out / "cells").glob("*"))


def kill(folder: Path, suite: Path, want: list[dict[str, str]], span: float, kills: int) -> list[str]:
    """Kill and resume; returns what differs."""
    chance, wrong, count, sweep = random.Random(0), [], 0, 0
    while count < kills:
        sweep += 1
        out = folder / f"killed-{sweep}"
        while True:
            process = start(suite, out)
            if count % 3:
                while not at_work(out) and process.poll() is None:
                    time.sleep(0.1)
            moment = chance.uniform(0, span / (6 if count % 3 else 3))
            try:
                process.wait(moment if count < kills else None)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                count += 1
                still = left_running(out)
                wrong += [f"kill {count}: {still} cells went on"] if still else []
                print(f"kill {count:>2} after {moment:4.1f} s: {standing(out)}, {still} still running", flush=True)
        finish([process], out)
        found = differences(out, want)
        wrong += found
        print(f"sweep {sweep}: {'; '.join(found) or 'the same as the unbroken one'}", flush=True)
    return wrong


def shards(folder: Path, suite: Path, want: list[dict[str, str]]) -> list[str]:
    """Two processes at once; returns what differs."""
    wrong = []
    for name, words in (("shards", (("--shard", "1/2"), ("--shard", "2/2"))), ("shared", ((), ()))):
        out = folder / name
        processes = [start(suite, out, *each) for each in words]
        finish(processes, out)
        found = differences(out, want)
        for log in (out / "cells").glob("*/log.txt"):
            if (began := log.read_text(encoding="utf-8").count("writing to")) != 1:
                found.append(f"{log.parent.name}: begun {began} times")
        wrong += found
        called = "--shard 1/2 and 2/2" if name == "shards" else "two without shards"
        print(f"{called} at once: {'; '.join(found) or 'the same as the unbroken one, no cell twice'}", flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kill", "shards"))
    parser.add_argument("kills", type=int, nargs="?", default=10)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    suite = folder / "suite.toml"
    suite.write_text(SUITE, encoding="utf-8")
    began = time.monotonic()
    finish([start(suite, folder / "unbroken")], folder / "unbroken")
    span = time.monotonic() - began
    want = rows(folder / "unbroken")
    wrong = recorded(folder / "unbroken", len(want))
    print(f"unbroken: {len(want)} cells in {span:.0f} s{''.join(f'; {line}' for line in wrong)}", flush=True)
    if options.what == "kill":
        wrong += kill(folder, suite, want, span, options.kills)
    else:
        wrong += shards(folder, suite, want)
    if not wrong:
        shutil.rmtree(folder)
    print(f"{len(wrong)} differences" + (f"; see {folder}" if wrong else ""))
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())
