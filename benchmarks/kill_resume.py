"""Kill a run at random moments, resume it, and hold its final weights against the unbroken run.

    python benchmarks/kill_resume.py [KILLS] [words of a run ...]

Each trial starts the same run in a fresh folder, kills it with SIGKILL at a random moment (anywhere from its first
checkpoint's folder to its end), resumes it, and compares every tensor of the final network, weights and targets bit
for bit. With MLflow tracking on, it also counts the runs recorded for the folder's id. One line a trial; the exit code
is the number of trials that differ.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from noisyrun.engine import checkpoint

DEFAULT = ["--weighter", "sinet", "--prototypes", "smp", "--tracking", "none", "--epochs", "6", "--data.subset", "600"]


def start(words: list[str], cwd: Path) -> subprocess.Popen[bytes]:
    """One thread: the result must not depend on how many cores happen to be free."""
    return subprocess.Popen(
        [sys.executable, "-m", "noisyrun", *words],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"a run failed:\n{said.decode()}")


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
        began = time.monotonic()
        finish(start([*words, "--out", "unbroken"], cwd))
        whole, want = time.monotonic() - began, tensors(cwd / "unbroken")
        for trial in range(kills):
            folder = cwd / f"killed-{trial}"
            process = start([*words, "--out", folder.name], cwd)
            while not (folder / "config.json").exists() and process.poll() is None:
                time.sleep(0.01)
            # The folder appears once data and imports are done; the rest of the run is about so long.
            time.sleep(chance.uniform(0, 0.6 * whole))
            killed = process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kept = folder / checkpoint.NAME
            at = checkpoint.load(kept)["progress"]["steps"] if kept.exists() else 0
            finish(start(["resume", folder.name], cwd))
            got = tensors(folder)
            same = all(torch.equal(got[key], want[key]) for key in want)
            differ += not same
            runs = recorded(cwd, folder)
            print(
                f"{trial + 1:>2}  {'killed' if killed else 'had ended'}, resumed from step {at:>4}  "
                f"{'identical' if same else 'DIFFERENT'}" + ("" if runs is None else f"  MLflow runs: {runs}"),
                flush=True,
            )
    print(f"{kills - differ} of {kills} identical to the unbroken run")
    return differ


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, sys.argv[2:] or DEFAULT))
