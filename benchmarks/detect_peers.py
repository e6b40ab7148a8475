"""Detectors of wrong labels beside cleanlab, on equal inputs: AUROC, average precision, F1, seconds and peak memory.

    pip install ./benchmarks/peers/noisyrun-cleanlab
    NLTK_DATA=… OMP_NUM_THREADS=1 python benchmarks/detect_peers.py cells.jsonl \
        cifar10n=cifar10n-worse.npz:cifar10.tsv imagenet100=imagenet100-sym40.npz:classes.tsv

Each cell runs in a process of its own and is kept as a line of the first file; a second call runs what is missing and
prints the tables. No detector is given clean labels: they come in after peak memory was read. Seconds are those the
processor worked, without imports; "making" is what it takes to have a classifier's probabilities, "judging" all else.
cleanlab's rows labelled "best of" are an upper bound: each figure is that of the variant that is best in it by the
clean labels.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

RELATION = {"side_info": {"sinet": {"relation": "HW", "ambiguous": "first"}}}
MEANS = {"prototypes": {"sinet": {"weighting": "constant"}}}
CONSISTENCY = {"sinet": {"score": "consistency"}}

OURS: dict[str, dict[str, Any]] = {
    "discriminant": {"weighter": "discriminant"},
    "discriminant, ridge 3": {"weighter": {"discriminant": {"ridge": 3.0}}},
    "SINet, weight (6)": {**RELATION, "prototypes": "sinet", "weighter": "sinet"},
    "SINet, consistency (4)": {**RELATION, "prototypes": "sinet", "weighter": CONSISTENCY},
    "SINet's weight on class means": {**MEANS, "weighter": "sinet"},
    "SINet's weight on SMP's prototypes": {"prototypes": "smp", "weighter": "sinet"},
    "SMP": {"prototypes": "smp", "corrector": "smp"},
    "SMP's margin on class means": {**MEANS, "corrector": "smp"},
    "SMP's margin on SINet's prototypes": {**RELATION, "prototypes": "sinet", "corrector": "smp"},
    "classification filtering, K = 1": {"weighter": {"filtering": {"k": 1}}},
    "discriminant with SINet's consistency": {
        **RELATION,
        "prototypes": "sinet",
        "weighter": {"discriminant": {}, **CONSISTENCY},
    },
}
OURS_WITH_LOGITS = {
    **OURS,
    "discriminant, half the logits": {"weighter": {"discriminant": {"predictions": 0.5}}},
    "discriminant, half the logits, ridge 3": {"weighter": {"discriminant": {"predictions": 0.5, "ridge": 3.0}}},
}

#: Ways to score and to decide: each is varied alone, for neither depends on the other. cleanlab's defaults come first.
SCORES: list[dict[str, Any]] = [
    {"method": method, "adjust_pred_probs": adjust}
    for method, adjust in itertools.product(("self_confidence", "normalized_margin"), (False, True))
] + [{"method": "confidence_weighted_entropy"}]
FILTERS: list[dict[str, Any]] = [
    {"filter_by": kind}
    for kind in ("prune_by_class", "both", "confident_learning", "predicted_neq_given")
    + ("low_normalized_margin", "low_self_confidence")
]

#: Where cleanlab's probabilities come from; the first of each table with cleanlab's own defaults.
PEERS: dict[str, dict[str, Any]] = {
    "cleanlab, cross-validation": {},
    "cleanlab, cross-validation, standardised": {"standardise": True},
    "cleanlab, cross-validation, standardised, C = 0.001": {"standardise": True, "C": 0.001},
    "cleanlab, 10 neighbours": {"probabilities": "knn"},
    "cleanlab, 50 neighbours, cosine": {"probabilities": "knn", "k": 50, "metric": "cosine"},
}
PEERS_WITH_LOGITS = {"cleanlab, given logits": {"probabilities": "predictions"}}
ALONE = "without noisyrun"
OUTLIER = "cleanlab, outliers (no look at labels)"
TABLES = ("features only", "features and logits")


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="a line of JSON for each cell")
    parser.add_argument("data", nargs="*", help="NAME=FEATURES.npz[:CLASSES.tsv]")
    parser.add_argument("--only", default="", help="cells whose name holds this")
    parser.add_argument("--cell", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cell:
        print(json.dumps(run(given.cell)))
        return
    for cell in cells(given.data):
        if given.only in cell["name"] and cell not in [one["cell"] for one in kept(given.runs)]:
            command = [sys.executable, __file__, str(given.runs), "--cell", json.dumps(cell)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            with given.runs.open("a") as file:
                rows = json.loads(done.stdout.splitlines()[-1])
                file.write(json.dumps({"cell": cell, "rows": rows}) + "\n")
    report(kept(given.runs))


def kept(path: Path) -> list[dict[str, Any]]:
    """The cells that ran."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def cells(data: list[str]) -> Iterator[dict[str, Any]]:
    """One for every detector, table and data set."""
    for one in data:
        name, _, files = one.partition("=")
        file, _, classes = files.partition(":")
        for table in TABLES:
            place = {"data": name, "file": file, "classes": classes, "table": table}
            logits = table == TABLES[1]
            for peer in PEERS_WITH_LOGITS if logits else PEERS:
                yield {**place, "name": peer}
                if peer == next(iter(PEERS_WITH_LOGITS if logits else PEERS)):
                    yield {**place, "name": f"{peer}, {ALONE}"}
            if not logits:
                yield {**place, "name": OUTLIER}
            for ours in OURS_WITH_LOGITS if logits else OURS:
                yield {**place, "name": ours}


def run(cell: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a cell: one, or one for every way in which cleanlab can judge the same probabilities."""
    logits = cell["table"] == TABLES[1]
    with np.load(cell["file"], allow_pickle=False) as file:
        data = {name: file[name] for name in ("features", "noisy_label", *(["logits"] if logits else []))}
    name = cell["name"]
    if name.endswith(ALONE):
        found = [alone(data)]
    elif name in (peers := {**PEERS, **PEERS_WITH_LOGITS}):
        found = list(cleanlab(data, peers[name]))
    else:
        sockets = {**OURS_WITH_LOGITS, OUTLIER: {"weighter": "cleanlab-outlier"}}[name]
        if sockets["weighter" if "weighter" in sockets else "corrector"] == "cleanlab-outlier":
            import noisyrun_cleanlab.outlier  # noqa: F401  (before the clock runs)
        found = [detect(data, sockets, cell["classes"])]
    with np.load(cell["file"], allow_pickle=False) as file:
        truly = file["noisy_label"] != file["clean_label"]
    return [{**row, **measures(score, wrong, truly)} for row, score, wrong in found]


Found = tuple[dict[str, Any], np.ndarray, np.ndarray | None]


def detect(data: Mapping[str, np.ndarray], sockets: Mapping[str, Any], classes: str = "", top: int = 10) -> Found:
    """`noisyrun.detect` with some sockets."""
    import noisyrun
    from noisyrun import detection

    making = Clock()
    fit = detection.fit_linear_head
    detection.fit_linear_head = making(fit)
    about = named(classes) if classes else {}
    settings = {"corrections.warn": False, "bank.top": top}
    start = time.process_time()
    found = noisyrun.detect(
        data["features"],
        data["noisy_label"],
        logits=data.get("logits"),
        settings=settings,
        device="cpu",
        **about,
        **sockets,
    )
    total, memory = time.process_time() - start, peak()
    detection.fit_linear_head = fit
    wrong = None if found.state.wrong is None else found.state.wrong.numpy()
    row = {"making": making.seconds, "judging": total - making.seconds, "memory": memory}
    return row, found.state.score.numpy(), wrong


def cleanlab(data: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Iterator[Found]:
    """cleanlab as a plugin: all scores and filters on the same probabilities, which are made once."""
    from noisyrun_cleanlab import probabilities, weighter  # noqa: F401  (imported before the clock runs)

    making = Clock()
    probabilities.out_of_sample = making(cache_one(probabilities.out_of_sample))
    once = 0.0
    for varied in (*SCORES, *FILTERS):
        sockets = {"weighter": {"cleanlab": {**settings, **varied}}}
        before = making.seconds
        row, quality, wrong = detect(data, sockets, top=1000)
        spent = making.seconds - before
        once = max(once, spent)
        row = {**row, "making": once, "judging": row["judging"] - spent, "varied": varied}
        yield row, quality, wrong


def cache_one(make: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Probabilities of the first call for all further ones: they depend on nothing that is varied here."""
    held: list[np.ndarray] = []

    def once(*arguments: Any) -> np.ndarray:
        if not held:
            held.append(make(*arguments))
        return held[0]

    return once


class Clock:
    """Adds up the processor's seconds of the calls of a function."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            start = time.process_time()
            made = function(*arguments, **named)
            self.seconds += time.process_time() - start
            return made

        return run


def alone(data: Mapping[str, np.ndarray]) -> Found:
    """cleanlab as its users call it, with its defaults, in a process without torch."""
    from cleanlab.count import estimate_cv_predicted_probabilities
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    start = time.process_time()
    labels = data["noisy_label"]
    if "logits" in data:
        powers = np.exp(data["logits"].astype(np.float32) - data["logits"].max(1, keepdims=True))
        found = powers / powers.sum(1, keepdims=True)
    else:
        found = estimate_cv_predicted_probabilities(data["features"].astype(np.float32), labels, seed=0)
    made = time.process_time()
    wrong = find_label_issues(labels, found, n_jobs=1)
    score = get_label_quality_scores(labels, found)
    row = {"making": made - start, "judging": time.process_time() - made, "memory": peak()}
    return row, score, wrong


def peak() -> int:
    """Bytes: most resident memory of this process so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@cache
def named(path: str) -> dict[str, list[str]]:
    """Names and WordNet ids of the classes, from a TSV of label, wnid, words."""
    rows = [line.rstrip("\n").split("\t") for line in Path(path).read_text().splitlines()]
    head = {name: i for i, name in enumerate(rows[0])}
    about = {"classes": [row[head["words"]].split(",")[0] for row in rows[1:]]}
    if "wnid" in head:
        about["wnids"] = [row[head["wnid"]] for row in rows[1:]]
    return about


def measures(score: np.ndarray, wrong: np.ndarray | None, truly: np.ndarray) -> dict[str, float]:
    """noisyrun's measures of a detection."""
    import torch

    from noisyrun.report.metrics import detection

    decided = None if wrong is None else torch.from_numpy(np.array(wrong))
    return detection(torch.from_numpy(np.array(score, dtype=np.float64)), decided, torch.from_numpy(truly))


def report(runs: list[dict[str, Any]]) -> None:
    """Tables in Markdown, the best AUROC first; a dagger marks what reads the names of the classes."""
    for table, data in sorted({(one["cell"]["table"], one["cell"]["data"]) for one in runs}):
        print(f"\n{table}: {data}\n")
        print("| detector | AUROC | average precision | best F1 | F1 | making, s | judging, s | peak memory, MB |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        rows = []
        for one in runs:
            if (one["cell"]["table"], one["cell"]["data"]) == (table, data):
                name, first = one["cell"]["name"], one["rows"][0]
                dagger = " †" if "side_info" in OURS_WITH_LOGITS.get(name, {}) else ""
                rows.append((f"{name}{dagger}", first))
                if len(one["rows"]) > 1:
                    rows.append((f"{name}, best of {len(one['rows'])}", best(one["rows"])))
        for name, row in sorted(rows, key=lambda one: -one[1]["auroc"]):
            print(line(name, row), flush=True)


def best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Each figure of the row that is best in it."""
    high = {key: max(row[key] for row in rows) for key in ("auroc", "average_precision", "best_f1", "f1")}
    return {**rows[0], **high}


def line(name: str, row: Mapping[str, Any]) -> str:
    """A row of a table."""
    scores = [row.get(key) for key in ("auroc", "average_precision", "best_f1", "f1")]
    shown = ["–" if value is None else f"{value:.4f}" for value in scores]
    return (
        f"| {' | '.join([name, *shown, seconds(row['making']), seconds(row['judging'])])} | {row['memory'] / 1e6:.0f} |"
    )


seconds = partial("{:.1f}".format)

if __name__ == "__main__":
    main()
