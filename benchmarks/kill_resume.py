"""Kill a run at random moments, resume it, and hold its final weights against the unbroken run.

    python benchmarks/kill_resume.py [KILLS] [words of a run ...]

Each trial starts the same run in a fresh folder, kills it with SIGKILL at a random moment until its last checkpoint,
resumes it, and compares every tensor of the final network, weights and targets bit
for bit. With MLflow tracking on, it also counts the runs recorded for the folder's id. One line a trial; the exit code
is the number of trials that differ.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

# One thread: the result must not depend on how many cores happen to be free. Read when torch is imported.
os.environ["OMP_NUM_THREADS"] = "1"

import torch

import noisyrun.runner  # noqa: F401 - imported once, for all the processes that are forked from this one
from noisyrun.cli import main as noisyrun_main
from noisyrun.engine import checkpoint

DEFAULT = ["--weighter", "sinet", "--prototypes", "smp", "--tracking", "none", "--epochs", "6", "--data.subset", "600"]


def start(words: list[str], cwd: Path) -> int:
    """Run a command in a process of its own; returns its id."""
    child = os.fork()
    if child == 0:
        os.chdir(cwd)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os._exit(noisyrun_main(words))
    return child


def ended(child: int) -> bool:
    """Whether a process has ended; it is still to be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def finish(child: int, cwd: Path) -> None:
    """Wait for a process that must succeed."""
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise SystemExit(f"a run failed:\n{(cwd / 'log.txt').read_text()}")


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """What the run came to."""
    saved = checkpoint.load(folder / checkpoint.NAME)
    labels = {name: saved["labels"][name] for name in ("weights", "target_weights", "score")}
    return {**saved["network"], **labels}


def recorded(cwd: Path, folder: Path) -> int | None:
    """MLflow runs of the folder's id; None where MLflow does not record."""
    if not (cwd / "runs" / "mlflow.db").exists():
        return None
    import mlflow

    run_id = json.loads((folder / "status.json").read_text())["run_id"]
    client = mlflow.MlflowClient(f"sqlite:///{cwd / 'runs' / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    return sum(run_id in str(run.data.tags) for run in runs)


def main(kills: int, words: list[str]) -> int:
    """Run the trials; returns how many differ."""
    chance, differ = random.Random(0), 0
    with tempfile.TemporaryDirectory() as name:
        cwd = Path(name)
        finish(start([*words, "--out", "unbroken"], cwd), cwd)
        want = tensors(cwd / "unbroken")
        # From the folder's first file to its last checkpoint: the moments at which a run can be hit.
        first, last = (cwd / "unbroken" / name for name in ("config.json", checkpoint.NAME))
        span = last.stat().st_mtime - first.stat().st_mtime
        trial = 0
        while trial < kills:
            folder = cwd / f"killed-{trial}"
            shutil.rmtree(folder, ignore_errors=True)
            child = start([*words, "--out", folder.name], cwd)
            while not (folder / "config.json").exists() and not ended(child):
                time.sleep(0.01)
            time.sleep(chance.uniform(0, span))
            killed = not ended(child)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            if not killed:  # it was quicker than the unbroken run: no kill, no trial
                continue
            trial += 1
            kept = folder / checkpoint.NAME
            at = checkpoint.load(kept)["progress"]["steps"] if kept.exists() else 0
            finish(start(["resume", folder.name], cwd), cwd)
            got = tensors(folder)
            same = all(torch.equal(got[key], want[key]) for key in want)
            differ += not same
            runs = recorded(cwd, folder)
            print(
                f"{trial:>2}  killed, resumed from step {at:>4}  {'identical' if same else 'DIFFERENT'}"
                + ("" if runs is None else f"  MLflow runs: {runs}"),
                flush=True,
            )
    print(f"{kills - differ} of {kills} identical to the unbroken run")
    return differ


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, sys.argv[2:] or DEFAULT))
