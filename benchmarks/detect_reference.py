"""Holds `noisyrun.detect` against the papers' formulas in naive NumPy float64, on the same features and drawn samples.

    python benchmarks/detect_reference.py [FEATURES.npz] [--draws 8]

The file carries `features`, `logits`, `noisy_label` and `clean_label`. For each draw of SMP's samples it compares the
label accuracy after SMP's correction, the AUROC of SMP's margin between a label and the best other, and the AUROC of
SINet's weight, and of the distance it is made of, on the nearest of SMP's prototypes, in the raw and in the centred
space. (A run ranks labels by the distance: many weights tie at 0.) The exit code is 1 when any figure differs by more
than 1e-3.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import naive
import numpy as np
import torch

import noisyrun
from noisyrun.api import Phase

TOLERANCE = 1e-3
M = 1280  # SMP's samples a class
DEFAULT = Path(__file__).resolve().parents[2] / "shared/data/features/cifar10n-worse.npz"


def drawn(labels: Any, seed: int) -> list[Any]:
    """The samples of each class that SMP's prototypes are chosen among: m at random, by the run's own generator."""
    phase = Phase(seed=seed, method="prototypes.smp")
    draws = []
    for c in range(int(labels.max()) + 1):
        rows = np.flatnonzero(labels == c)
        order = torch.randperm(len(rows), generator=phase.generator("class", c)).numpy() if len(rows) > M else ...
        draws.append(np.sort(rows[order][:M]))
    return draws


def by_formula(data: Any, seed: int, space: str) -> dict[str, float]:
    """The figures of one draw, and their seconds, from the naive formulas."""
    start = time.perf_counter()
    features = data["features"].astype(np.float64)
    if space == "centred":
        features -= features.mean(0)
    labels, truth = data["noisy_label"], data["clean_label"]
    prototypes = naive.smp_prototypes(features, drawn(labels, seed))
    chosen = time.perf_counter()
    scores = naive.smp_scores(features, prototypes)
    corrected = scores.argmax(1)
    done = time.perf_counter()
    distance = naive.sinet_distance(features, labels, [features[rows] for rows in prototypes])
    weight = naive.sinet_weight(distance)
    weighed = time.perf_counter()
    return {
        "label accuracy before": float(np.mean(labels == truth)),
        "label accuracy after SMP": float(np.mean(corrected == truth)),
        "AUROC of SMP's margin": naive.auroc(labels != truth, -naive.smp_margin(scores, labels)),
        "AUROC of SINet's distance": naive.auroc(labels != truth, distance),
        "AUROC of SINet's weight": naive.auroc(labels != truth, -weight),
        "seconds, SMP prototypes": chosen - start,
        "seconds, SMP correction": done - chosen,
        "seconds, SINet weights": weighed - done,
    }


def by_noisyrun(data: Any, seed: int, space: str) -> dict[str, float]:
    """The same from `noisyrun.detect`."""
    given = {
        "features": data["features"],
        "labels": data["noisy_label"],
        "logits": data["logits"],
        "clean_labels": data["clean_label"],
        "prototypes": "smp",
        "seed": seed,
        "settings": {"bank.space": space},
    }
    corrected = noisyrun.detect(**given, corrector="smp")
    weighed = noisyrun.detect(**given, weighter="sinet")
    weights = weighed.state.weights[:, 0].double().numpy()
    return {
        "label accuracy before": corrected.metrics["label_accuracy_before"],
        "label accuracy after SMP": corrected.metrics["label_accuracy_after"],
        "AUROC of SMP's margin": corrected.metrics["auroc"],
        "AUROC of SINet's distance": weighed.metrics["auroc"],
        "AUROC of SINet's weight": naive.auroc(given["labels"] != given["clean_labels"], -weights),
        "seconds, SMP prototypes": corrected.seconds["prototypes.smp"],
        "seconds, SMP correction": corrected.seconds["corrector.smp"],
        "seconds, SINet weights": weighed.seconds["weighter.sinet"],
    }


def report(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> Iterator[tuple[str, float]]:
    """Print mean ± standard deviation over the draws; yield the largest difference of each figure."""
    columns: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for a, b in zip(ours, theirs):
        for name in a:
            columns[name].append((a[name], b[name]))
    for name, pairs in columns.items():
        ran, naively = np.array(pairs).T
        gap = float(np.abs(ran - naively).max())
        line = f"  {name:26} {ran.mean():8.4f} ± {ran.std():.4f} {naively.mean():10.4f} ± {naively.std():.4f}"
        if name.startswith("seconds"):
            print(f"{line}   ratio {naively.mean() / ran.mean():8.1f}")
        else:
            print(f"{line}   differs by {gap:.1e}")
            yield name, gap


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", nargs="?", type=Path, default=DEFAULT)
    parser.add_argument("--draws", type=int, default=8)
    args = parser.parse_args()
    if not args.features.exists():
        parser.error(f"{args.features}: no such file")
    with np.load(args.features, allow_pickle=False) as file:
        data = {name: file[name] for name in ("features", "logits", "noisy_label", "clean_label")}
    worst = 0.0
    for space in ("raw", "centred"):
        seeds = range(args.draws)
        print(f"{space} space, {args.draws} draws            noisyrun                  naive float64")
        found = [by_noisyrun(data, seed, space) for seed in seeds], [by_formula(data, seed, space) for seed in seeds]
        worst = max(worst, *(gap for _, gap in report(*found)))
    print(f"largest difference {worst:.1e}: {'within' if worst <= TOLERANCE else 'MORE THAN'} {TOLERANCE:g}")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())
