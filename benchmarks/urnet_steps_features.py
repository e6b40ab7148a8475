"""URNet's steps on features of a better network than `urnet_steps.py` can train: is it the baseline that they lack?

    uv run python benchmarks/urnet_steps_features.py \
        --features ../shared/data/features/cifar10n-worse.npz --work /tmp/urnet-features

For each seed an imbalanced subset of CIFAR-10N's `worse_label` (human noise, 40 % wrong; class sizes log-uniform from
500 to 5,000 by the given labels), a linear classifier by cross entropy, and from it every step in turn. No bag, since
features do not train. The test set is CIFAR-10's, balanced and clean; every figure is that of the last epoch.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from urnet_steps import ALONE, STEPS, results, spread, weights_table

import noisyrun

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
ROWS = {
    "cross entropy": STEPS["cross entropy"],
    "+ class": STEPS["+ class"],
    "+ cluster": STEPS["+ cluster"],
    "+ instance": STEPS["+ instance"],
    "+ label": {**STEPS["+ instance"], "corrector": "urnet-label"},
    **{name: row for name, row in ALONE.items() if name != "bag alone"},
}


def make_data(source: Path, target: Path, seed: int, low: int, high: int) -> int:
    """Write the imbalanced subset of a file of features; returns how many samples it has."""
    given = np.load(source)
    rng = np.random.default_rng(seed)
    rows = []
    for c in range(len(NAMES)):
        size = round(math.exp(rng.uniform(math.log(low), math.log(high))))
        of_class = np.flatnonzero(given["noisy_label"] == c)
        rows.append(rng.choice(of_class, min(size, len(of_class)), replace=False))
    chosen = np.sort(np.concatenate(rows))
    parts = {name: given[name][chosen] for name in ("features", "noisy_label", "clean_label")}
    parts |= {name: given[name] for name in ("test_features", "test_label")}
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez(target, **parts, classes=np.array(NAMES))
    return len(chosen)


def train(step: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One cell: a baseline, and a step that goes on from it."""
    folder = options.work / f"seed{seed}"
    images = make_data(options.features, folder / "features.npz", seed, options.low, options.high)
    run = next(folder / f"{step.replace(' ', '-')}-{n}" for n in range(99) if not (folder / f"{step}-{n}").exists())
    schedule = {"name": "cosine", "by": "step"}
    optimizer = {"name": "sgd", "lr": options.lr, "momentum": 0.9, "weight_decay": 5e-4}
    judge = {"label_phase": "once"} if ROWS[step] else {}
    settings = {
        "dataset": str(folder / "features.npz"),
        "seed": seed,
        "batch_size": 126,
        "tracking": "none",
        "out": str(run),
        "eval": {"every": options.epochs},
        "stages": [
            {"name": "baseline", "epochs": options.epochs, "targets": "observed", "weighted": False},
            {"name": "urnet", "epochs": options.epochs, "optimizer": optimizer, "schedule": schedule, **judge},
        ],
        "train": {"optimizer": optimizer, "schedule": schedule},
        **ROWS[step],
    }
    history = noisyrun.run(settings).summary["history"]
    first, last = history[options.epochs - 1], history[-1]
    figures = {"baseline": first["test_accuracy"], "top1": last["test_accuracy"], "val": last["val_accuracy"]}
    return {"step": step, "seed": seed, **figures, "images": images, "run": str(run)}


def table(rows: list[dict[str, Any]]) -> str:
    """Mean ± standard deviation over seeds, and the paired gain over cross entropy."""
    plain = {row["seed"]: row for row in rows if row["step"] == "cross entropy"}
    lines = ["| step | top-1 % | over cross entropy | noisy validation top-1 % | seeds |", "| --- " * 5 + "|"]
    for step in ROWS:
        got = [row for row in rows if row["step"] == step]
        if got:
            gain = (
                ""
                if step == "cross entropy"
                else spread([r["top1"] - plain[r["seed"]]["top1"] for r in got], sign=True)
            )
            top1, val = (spread([row[name] for row in got]) for name in ("top1", "val"))
            lines.append(f"| {step} | {top1} | {gain} | {val} | {len(got)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, default=Path("../shared/data/features/cifar10n-worse.npz"))
    parser.add_argument("--work", type=Path, required=True, help="folder for data, runs and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=5, help="of the baseline, and again of every step")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--low", type=int, default=500, help="samples in the smallest class")
    parser.add_argument("--high", type=int, default=5000, help="samples in the largest class")
    options = parser.parse_args()
    for seed in options.seeds:
        for step in ROWS:
            if (step, seed) not in {(row["step"], row["seed"]) for row in results(options.work)}:
                row = train(step, seed, options)
                with (options.work / "results.jsonl").open("a") as file:
                    file.write(json.dumps(row) + "\n")
    rows = results(options.work)
    print(f"{table(rows)}\n\n{weights_table(rows)}")


if __name__ == "__main__":
    main()
