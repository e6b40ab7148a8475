"""The best composition across papers on given features: chosen on one half of the samples, reported on the other.

    NLTK_DATA=… uv run python benchmarks/best_composition.py FEATURES.npz WORK --classes classes.tsv \\
        --other OTHER.npz --other-classes OTHER/classes.tsv

Every weighter × prototypes × corrector of the five papers trains a linear head on half the training samples and is
judged on half the test set; the best one and each paper's own composition are then trained on the other halves, over
seeds, and on another set of features that nothing was chosen on. All get the same verification labels and the same
clean subset, whether they use them or not. Cells are kept in WORK/cells.jsonl: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

import noisyrun
from noisyrun.api import UserError
from noisyrun.report.console import Console

URNET = "urnet-class,urnet-cluster,urnet-instance"
WEIGHTERS = ("", "sinet", "cleannet", URNET)
PROTOTYPES = ("", "sinet", "smp", "cleannet")
CORRECTORS = ("", "sinet", "smp", "noisereg", "urnet-label")

#: Each paper's own parts: weighter, prototypes, corrector.
PAPERS = {
    "cross entropy": ("", "", ""),
    "SINet": ("sinet", "sinet", "sinet"),
    "SMP": ("", "smp", "smp"),
    "noise regularization": ("", "", "noisereg"),
    "URNet": (URNET, "", "urnet-label"),
    "CleanNet": ("cleannet", "cleannet", ""),  # last: it trains a network of its own
}

Combination = tuple[str, str, str]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("features", type=Path, help="npz of features, logits, noisy_label, clean_label and test_*")
    ask.add_argument("work", type=Path, help="folder for halves, cells and runs")
    ask.add_argument("--other", type=Path, help="features that nothing is chosen on")
    ask.add_argument("--classes", type=Path, help="TSV of the classes: label, wnid, words")
    ask.add_argument("--other-classes", type=Path, help="the same of the other set")
    ask.add_argument("--leave-out", default="", metavar="PAPER", help="a paper that is not run on the other set")
    ask.add_argument("--seeds", type=int, default=5, help="seeds of the report")
    ask.add_argument("--epochs", type=int, default=8)
    args = ask.parse_args()
    logging.disable(logging.WARNING)
    args.work.mkdir(parents=True, exist_ok=True)
    cells = Cells(args.work, args.epochs)

    halves = [half(args.features, args.work, part) for part in (0, 1)]
    chosen_on = {c: cells.accuracy(halves[0], c, args.classes, seed=0) for c in combinations()}
    ran = {c: found for c, found in chosen_on.items() if found is not None}
    best = max(ran, key=lambda c: ran[c])
    print(
        f"\n{len(chosen_on)} combinations, {len(ran)} ran; the best on the first half: {told(best)}, {ran[best]:.2f} %"
    )
    for c in sorted(ran, key=lambda c: -ran[c])[:5]:
        print(f"  {ran[c]:.2f}  {told(c)}")

    seeds = range(1, args.seeds + 1)
    report("the other half", cells, halves[1], best, seeds, PAPERS, args.classes)
    if args.other is not None:
        papers = {paper: c for paper, c in PAPERS.items() if paper != args.leave_out}
        report(args.other.stem, cells, args.other, best, seeds, papers, args.other_classes)


def combinations() -> Iterator[Combination]:
    """All that differ in what they do: prototypes that nobody reads are left out."""
    for weighter, prototypes, corrector in itertools.product(WEIGHTERS, PROTOTYPES, CORRECTORS):
        read = weighter in ("sinet", "cleannet") or corrector == "smp"
        if bool(prototypes) == read:
            yield weighter, prototypes, corrector


def half(path: Path, work: Path, part: int) -> Path:
    """Every second sample of a features file, training and test alike, as a file of its own."""
    out = work / f"half-{part}.npz"
    if not out.exists():
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        n = len(arrays["noisy_label"]), len(arrays["test_label"])
        np.savez(out, **{k: v[part::2] if len(v) in n and k != "classes" else v for k, v in arrays.items()})
    return out


class Cells:
    """Runs by (features, combination, seed); each is trained once."""

    def __init__(self, work: Path, epochs: int) -> None:
        self.work = work
        self.epochs = epochs
        self.path = work / "cells.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.known = {cell["key"]: cell for cell in map(json.loads, lines)}

    def accuracy(self, data: Path, c: Combination, classes: Path | None, seed: int) -> float | None:
        """Test accuracy after the last epoch, in %; None where the combination is refused."""
        key = f"{data.stem}|{'+'.join(c)}|{seed}|{self.epochs}"
        if key not in self.known:
            began = time.perf_counter()
            cell: dict[str, Any] = {"key": key}
            try:
                cell["accuracy"] = self._train(data, c, classes, seed)
            except UserError as refused:
                cell |= {"accuracy": None, "refused": str(refused)}
            cell["seconds"] = round(time.perf_counter() - began, 1)
            with self.path.open("a") as file:
                file.write(json.dumps(cell) + "\n")
            self.known[key] = cell
            print(key, cell.get("accuracy"), cell.get("refused", ""), cell["seconds"], flush=True)
        found: float | None = self.known[key]["accuracy"]
        return found

    def _train(self, data: Path, c: Combination, classes: Path | None, seed: int) -> float:
        weighter, prototypes, corrector = c
        folder = self.work / "run"
        shutil.rmtree(folder, ignore_errors=True)
        config: dict[str, Any] = {
            "dataset": str(data),
            "verify": "0.05",
            "clean": "0.05",
            "seed": seed,
            "device": "cpu",
            "tracking": "none",
            "out": str(folder),
            "batch_size": 256,
            "side_info": {"tfidf": {}, "sinet": {"relation": "HW"}},
            "train": {"optimizer": ADAM if corrector == "noisereg" else {"lr": 0.1}},
            "stages": [
                {"name": "baseline", "epochs": self.epochs // 2, "keep_predictions": "baseline"},
                {"name": "rounds", "epochs": self.epochs - self.epochs // 2, "label_phase": "once"},
            ],
        }
        if classes is not None:
            config["data"] = {"classes": str(classes)}
        for socket, names in (("weighter", weighter), ("prototypes", prototypes), ("corrector", corrector)):
            if names:
                config[socket] = {name: SETTINGS.get((socket, name), {}) for name in names.split(",")}
        done = noisyrun.run(config, console=Console(quiet=True, out=StringIO()))
        return 100 * float(done.summary["accuracy"]["last"])


#: Noise regularization's two nets learn nothing at the rate that suits a linear head: its recipe's optimiser.
ADAM = {"name": "adam", "lr": 1e-3, "weight_decay": 0.0}

#: What a method must be told here: which predictions to read.
SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("corrector", "sinet"): {"predictions": "baseline"},
    ("corrector", "urnet-label"): {"predictions": "baseline"},
}


def report(
    name: str,
    cells: Cells,
    data: Path,
    best: Combination,
    seeds: range,
    papers: Mapping[str, Combination],
    classes: Path | None,
) -> None:
    """Print the table of one set: each paper alone and the best composition, and what the latter gains on each."""
    rows = {paper: [cells.accuracy(data, c, classes, seed) for seed in seeds] for paper, c in papers.items()}
    top = [cells.accuracy(data, best, classes, seed) for seed in seeds]
    print(f"\n{name}, {len(seeds)} seeds\n")
    print("| composition | test accuracy, % | the best one's gain, paired |\n| --- | --- | --- |")
    for paper, found in rows.items():
        if None in found or None in top:
            print(f"| {paper} | refused | |")
            continue
        gains = [b - f for b, f in zip(top, found)]
        print(f"| {paper}: {told(papers[paper])} | {spread(found)} | {spread(gains)} |")
    print(f"| best: {told(best)} | {spread(top)} | |")


def spread(values: list[Any]) -> str:
    """Mean ± standard deviation."""
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


def told(c: Combination) -> str:
    """A combination as flags."""
    flags = zip(("--weighter", "--prototypes", "--corrector"), c)
    return " ".join(f"{flag} {name}" for flag, name in flags if name) or "none"


if __name__ == "__main__":
    main()
