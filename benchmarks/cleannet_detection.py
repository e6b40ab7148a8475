"""CleanNet and the detectors it was held against: average error over classes (section 4.2, table 2 and figure 5).

    python benchmarks/cleannet_detection.py FEATURES.npz --verified 0.05 0.2 --seeds 0 1 2
    python benchmarks/cleannet_detection.py FEATURES.npz --verified 0.2 --transfer

The file holds features, noisy_label, clean_label and, where there are some, logits of a classifier trained on the noisy
labels. A share of the samples of every class is verified: half of that trains, the other half chooses thresholds and
settings. Every decision is `noisyrun.detect`'s; it is counted on the samples that nobody verified. With `--transfer`,
the verification labels of a random half of the classes are kept from all methods but those marked "all labels", and
only those classes are counted.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import noisyrun

#: Name in the table, sockets, and whether it sees the verification labels of held-out classes, too.
METHODS: Mapping[str, tuple[dict[str, Any], bool]] = {
    "naive": ({"weighter": "naive"}, False),
    "average reference": ({"weighter": "average"}, False),
    "classification filtering": ({"weighter": "filtering"}, False),
    "k-NN": ({"weighter": {"verified": {"method": "knn"}}}, True),
    "SVM": ({"weighter": {"verified": {"method": "svm"}}}, True),
    "label propagation": ({"weighter": {"verified": {"method": "label-propagation"}}}, True),
    "label spreading": ({"weighter": {"verified": {"method": "label-spreading"}}}, True),
    "MLP": ({"weighter": {"verified": {"method": "mlp"}}}, True),
    "CleanNet": ({"prototypes": "cleannet", "weighter": "cleannet"}, False),
}
TRANSFER = ("naive", "average reference", "classification filtering", "MLP", "CleanNet")


def main() -> None:
    """Read the arguments, run, and print tables in Markdown."""
    given = arguments()
    data = dict(np.load(given.features, allow_pickle=False))
    names = given.methods or (TRANSFER if given.transfer else tuple(METHODS))
    for share in given.verified:
        runs = {name: [kept(data, name, share, seed, given) for seed in given.seeds] for name in names}
        if given.transfer and "CleanNet" in names:
            everything = [kept(data, "CleanNet", share, seed, given, all_labels=True) for seed in given.seeds]
            runs["CleanNet (all labels)"] = everything
        print(table(share, runs, data, given), flush=True)


def arguments() -> argparse.Namespace:
    """What is to be run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--verified", type=float, nargs="+", default=[0.05, 0.2], help="shares of samples verified")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--transfer", action="store_true", help="hold out the verification labels of half the classes")
    parser.add_argument("--methods", nargs="+", choices=METHODS, help="some of the methods; all by default")
    parser.add_argument("--cleannet", type=json.loads, default={}, help="settings of CleanNet's prototypes, as JSON")
    parser.add_argument("--runs", type=Path, help="keep every run's figures here, a line each, and do not run it again")
    return parser.parse_args()


def kept(
    data: Mapping[str, np.ndarray], name: str, share: float, seed: int, given: Any, all_labels: bool = False
) -> dict[str, float]:
    """The figures of a run: those of an earlier one that was kept, or new ones."""
    settings = given.cleannet if name == "CleanNet" else {}
    what = [given.features.name, name, share, seed, given.transfer, all_labels, settings]
    if given.runs and given.runs.exists():
        for line in given.runs.read_text().splitlines():
            if (run := json.loads(line))["what"] == what:
                return run["figures"]
    figures = one(data, name, share, seed, given, all_labels)
    if given.runs:
        with given.runs.open("a") as file:
            file.write(json.dumps({"what": what, "figures": figures}) + "\n")
    return figures


def one(
    data: Mapping[str, np.ndarray],
    name: str,
    share: float,
    seed: int,
    given: Any,
    all_labels: bool = False,
) -> dict[str, float]:
    """One method on one draw of verified samples and, with `--transfer`, of held-out classes."""
    labels, truth = data["noisy_label"], data["clean_label"]
    generator = np.random.default_rng(seed)
    verified = draw(labels, share, generator)
    classes = np.unique(labels)
    counted = classes
    sockets, sees_all = METHODS[name]
    shown = verified
    if given.transfer:
        counted = np.sort(generator.permutation(classes)[: len(classes) // 2])
        if not (sees_all or all_labels):
            shown = verified & ~np.isin(labels, counted)
    if name == "CleanNet" and given.cleannet:
        sockets = {**sockets, "prototypes": {"cleannet": given.cleannet}}
    start = time.process_time()
    found = noisyrun.detect(
        data["features"],
        labels,
        logits=data.get("logits"),
        columns={"verified": np.where(shown, (labels == truth).astype(np.int8), -1)},
        classes=[str(c) for c in range(int(max(labels.max(), truth.max())) + 1)],
        seed=seed,
        **sockets,
    )
    seconds = time.process_time() - start
    wrong = found.labels.sort_values("index")["wrong"].to_numpy(dtype=bool)
    return {"error": error(wrong, labels, truth, ~verified, counted), "seconds": seconds}


def draw(labels: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """bool [N]: a share of the samples of each class."""
    drawn = np.zeros(len(labels), bool)
    for c in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == c))
        drawn[rows[: round(share * len(rows))]] = True
    return drawn


def error(wrong: np.ndarray, labels: np.ndarray, truth: np.ndarray, counted: np.ndarray, classes: np.ndarray) -> float:
    """Mean over classes, in per cent, of the share of wrong decisions about the labels of a class that are counted."""
    mistaken = wrong != (labels != truth)
    return 100 * float(np.mean([mistaken[counted & (labels == c)].mean() for c in classes]))


def table(
    share: float, runs: Mapping[str, Sequence[Mapping[str, float]]], data: Mapping[str, np.ndarray], given: Any
) -> str:
    """The runs in Markdown."""
    labels = data["noisy_label"]
    a_class = share * len(labels) / len(np.unique(labels))
    about = "verification labels of half the classes held out; error on those" if given.transfer else "all classes"
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("noisyrun", "noisyrun-cleannet", "torch", "scikit-learn")
    )
    lines = [
        f"### {given.features.name}, {share:.0%} verified ({a_class:.0f} a class), {about}",
        "",
        f"{date.today()}, seeds {' '.join(map(str, given.seeds))}; {versions}"
        + (f"; CleanNet with {json.dumps(given.cleannet)}" if given.cleannet else ""),
        "",
        "| method | average error, % (± standard deviation over seeds) | CPU seconds |",
        "| --- | --- | --- |",
    ]
    for name, rows in runs.items():
        errors = np.array([row["error"] for row in rows])
        spread = f" ± {errors.std(ddof=1):.2f}" if len(errors) > 1 else ""
        seen = " (all labels)" if given.transfer and name in METHODS and METHODS[name][1] else ""
        seconds = np.mean([row["seconds"] for row in rows])
        lines.append(f"| {name}{seen} | {errors.mean():.2f}{spread} | {seconds:.0f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
