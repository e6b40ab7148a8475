"""Noise regularization against its baselines and its ablation, with few clean labels (tables 2, 4, 5 of the paper).

    python benchmarks/noisereg.py single.npz --seeds 0 1 2 --out DIR
    python benchmarks/noisereg.py several.npz --seeds 0 1 2 --out DIR
    python benchmarks/noisereg.py single.npz --tune --out DIR
    python benchmarks/noisereg.py IMAGES --clean 0.1 --seeds 0 --out DIR --settings '{"data.label": "worse_label"}'

The data are features made elsewhere (noisy and clean labels of the training samples, clean ones of the test samples),
or images. Every method trains for as many steps, but for Noisy and GT, whose network the fine-tuned ones go on from.
On features all have one hidden layer of their width, so that FT-W trains what noise regularization's nets have; with a
linear head over given features FT-W and FT-L would be the same. A run is kept in DIR/results.jsonl and not done twice.

`--tune` trains methods with some settings and measures them on clean labels of samples that none of them trained on:
the test set is not read. The settings below were chosen that way.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import noisyrun
from noisyrun.report.console import Console

METHODS = ("Noisy", "FT-W", "FT-L", "FT-M", "h alone", "g alone", "joint", "joint, α 2", "joint, sigmoid", "GT")
FINE_TUNED = ("FT-W", "FT-L", "FT-M")

#: Steps, batch, and learning rate of Noisy and GT.
STEPS, BATCH, RATE = 600, 128, 1e-3

#: Settings of a method beside these: twice the steps where there is one stage. By held-out clean labels, 10 % of the
#: samples clean, `--tune` chose ReLU over the sigmoid (which needs more steps) and, for single labels, α 2 over the
#: paper's 0.2.
CHOSEN: Mapping[str, Mapping[str, Any]] = {
    "h alone": {"steps": 2 * STEPS, "activation": "relu"},
    "g alone": {"steps": 2 * STEPS, "activation": "relu"},
    "joint": {"steps": 2 * STEPS, "alpha": 0.2, "activation": "relu"},
    "joint, α 2": {"steps": 2 * STEPS, "alpha": 2.0, "activation": "relu"},
    "joint, sigmoid": {"steps": 2 * STEPS, "alpha": 0.2, "activation": "sigmoid"},
}

#: What it chose among.
GRID: Mapping[str, Mapping[str, Sequence[Any]]] = {
    **{name: {"steps": (STEPS // 3, STEPS), "lr": (1e-3, 1e-4)} for name in FINE_TUNED},
    "g alone": {"steps": (STEPS, 2 * STEPS), "lr": (1e-3,)},
    "joint": {"steps": (2 * STEPS,), "lr": (1e-3,), "alpha": (0.2, 2.0), "activation": ("sigmoid", "relu")},
}


def main() -> None:
    """Run what is asked for and is not there yet, and print the table."""
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.confuse is not None:
        given.data = confused(given.data, given.out, given.confuse)
    if given.tune:
        tune(given)
        return
    for seed, share, method in itertools.product(given.seeds, given.clean, given.methods):
        settings = {"steps": STEPS, "lr": RATE, **CHOSEN.get(method, {})}
        row = once(given, given.data, method, share, seed, settings)
        print(row, flush=True)
    print(table(given))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="features (.npz), or a data set of images")
    parser.add_argument("--clean", type=float, nargs="+", default=[0.05, 0.1, 0.2], help="shares of clean samples")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--settings", default="{}", help="more settings of the runs, as JSON")
    parser.add_argument(
        "--confuse",
        type=float,
        help="several labels: put noise in place of the file's, by which this share of the classes "
        "a sample has is called the next class",
    )
    parser.add_argument("--tune", action="store_true", help="choose settings on held-out clean labels")
    return parser.parse_args()


def once(
    given: argparse.Namespace, data: Path, method: str, share: float, seed: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """One run, or what is known of it."""
    key = {"data": data.stem, "method": method, "clean": share, "seed": seed, **settings}
    if method in ("Noisy", "GT", "h alone"):
        key["clean"] = 1.0 if method == "GT" else 0.1  # another share changes nothing but the draw
    for row in results(given.out):
        if {name: row.get(name) for name in key} == key:
            return row
    sockets = configuration(method, **settings)
    config = {
        **sockets,
        "dataset": str(data),
        "clean": str(key["clean"]),
        "seed": seed,
        "out": str(given.out / "run"),
        "tracking": None,
        "batch_size": BATCH,
        "eval.every": 10_000,
        "train.checkpoint_every": 10_000,
        "backbone": backbone(data, nets="corrector" in sockets),
        **json.loads(given.settings),
    }
    shutil.rmtree(given.out / "run", ignore_errors=True)
    done = noisyrun.run(config, console=Console(quiet=True, out=io.StringIO(), err=io.StringIO()))
    last = done.summary["history"][-1]
    measured = {name.removeprefix("test_"): value for name, value in last.items() if name.startswith("test_")}
    row = {**key, **measured, "val": last.get("val_accuracy"), "seconds": sum(done.summary["seconds"].values())}
    with (given.out / "results.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    return row


def configuration(
    method: str, *, steps: int, lr: float, alpha: float = 0.2, activation: str = "sigmoid"
) -> dict[str, Any]:
    """Sockets and stages of a method.

    Parameters
    ----------
    steps, lr
        Of the last stage; what comes before is the same for all.
    """
    noisy = stage("noisy", STEPS, RATE, targets="observed")
    tuned = {
        "FT-W": {"samples": "clean", "targets": "trusted"},
        "FT-L": {"samples": "clean", "targets": "trusted", "trains": "head"},
        "FT-M": {"targets": "mixed", "batches": "mix:1:9", "trains": "head"},
    }
    if method == "Noisy":
        return {"stages": [noisy]}
    if method == "GT":
        return {"stages": [stage("gt", STEPS, RATE, samples="clean", targets="trusted")]}
    if method in tuned:
        return {"stages": [noisy, stage("finetune", steps, lr, **tuned[method])]}
    variant = {"h alone": "h", "g alone": "g"}.get(method, "joint")
    nets = {"variant": variant, "alpha": alpha, "activation": activation}
    return {"corrector": {"noisereg": nets}, "stages": [stage("nets", steps, lr)]}


def stage(name: str, steps: int, lr: float, **more: Any) -> dict[str, Any]:
    optimizer = {"name": "adam", "lr": lr, "weight_decay": 0.0}
    return {"name": name, "steps": steps, "weighted": False, "optimizer": optimizer, "schedule": {}, **more}


def backbone(data: Path, *, nets: bool) -> dict[str, Any]:
    """A small network for images; on features the layer before the head, which the two nets bring themselves."""
    if data.suffix != ".npz":
        return {"small-cnn": {"width": 16}}
    with np.load(data, allow_pickle=False) as arrays:
        return {"features": {"hidden": [] if nets else [arrays["features"].shape[1]]}}


def tune(given: argparse.Namespace) -> None:
    """Train on all but a tenth of the clean samples' worth, measure on that tenth, and say what was best."""
    for share, seed in itertools.product(given.clean, given.seeds):
        data = held_out(given.data, given.out, seed)
        for method in given.methods:
            if method not in GRID:
                continue
            tried = [once(given, data, method, share, seed, settings) for settings in grid(GRID[method])]
            for row in sorted(tried, key=lambda row: -row["accuracy"]):
                print({k: v for k, v in row.items() if k not in ("data", "val", "seconds")}, flush=True)


def grid(values: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for chosen in itertools.product(*values.values()):
        yield dict(zip(values, chosen))


def held_out(data: Path, out: Path, seed: int, count: int = 1000) -> Path:
    """The same file without its test set: `count` training samples with their clean labels stand in its place."""
    path = out / f"{data.stem}-held-{seed}.npz"
    if not path.exists():
        with np.load(data, allow_pickle=False) as arrays:
            train = {name: arrays[name] for name in arrays.files if not name.startswith("test_")}
        draw = np.random.default_rng(seed).permutation(len(train["features"]))
        held, kept = np.sort(draw[:count]), np.sort(draw[count:])
        rows = {name: values[kept] if len(values) == len(draw) else values for name, values in train.items()}
        clean = next(name for name in train if name.startswith("clean_label"))
        rows |= {"test_features": train["features"][held], f"test_{clean}": train[clean][held]}
        np.savez(path, **rows)
    return path


def confused(data: Path, out: Path, share: float) -> Path:
    """The same file with other noise: a class that a sample has is taken for the next one.

    Flips that do not depend on the sample leave the order of the samples of a class as it is, so that noisy labels
    teach the same ranking as clean ones; this noise does not.
    """
    path = out / f"{data.stem}-confused-{share:g}.npz"
    if not path.exists():
        with np.load(data, allow_pickle=False) as arrays:
            rows = dict(arrays)
        clean = next(values for name, values in rows.items() if name.startswith("clean_label")) > 0
        mistaken = clean & (np.random.default_rng(0).random(clean.shape) < share)
        noisy = (clean & ~mistaken) | np.roll(mistaken, 1, axis=1)
        name = next(name for name in rows if name.startswith("noisy_label"))
        np.savez(path, **(rows | {name: noisy.astype(rows[name].dtype)}))
    return path


def results(out: Path) -> list[dict[str, Any]]:
    file = out / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def table(given: argparse.Namespace) -> str:
    """Markdown: mean ± standard deviation over seeds, in percent."""
    rows = [row for row in results(given.out) if row["data"] == given.data.stem]
    measures = [name for name in ("accuracy", "map", "ap_all") if any(name in row for row in rows)]
    if "map" in measures:
        measures.remove("accuracy")  # which is mAP
    heads = [f"{name}, {100 * share:g} % clean" for name in measures for share in given.clean]
    lines = ["| method | " + " | ".join(heads) + " |", "| --- " * (len(heads) + 1) + "|"]
    for method in given.methods:
        cells = []
        for name, share in itertools.product(measures, given.clean):
            share = {"GT": 1.0, "Noisy": 0.1, "h alone": 0.1}.get(method, share)
            settings = {"steps": STEPS, "lr": RATE, **CHOSEN.get(method, {})}
            found = [
                100 * row[name]
                for row in rows
                if row["method"] == method
                and row["clean"] == share
                and row["seed"] in given.seeds
                and all(row.get(key) == value for key, value in settings.items())
            ]
            spread = f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else ""
            cells.append(f"{statistics.mean(found):.2f}{spread}" if found else "")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    versions = ", ".join(f"{name} {version(name)}" for name in ("noisyrun", "noisyrun-noisereg", "torch"))
    return "\n".join([*lines, "", f"{date.today()}, {versions}, seeds {', '.join(map(str, given.seeds))}"])


if __name__ == "__main__":
    main()
