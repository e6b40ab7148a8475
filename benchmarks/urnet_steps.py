"""URNet's five steps added in turn (figure 7 of its paper), on an imbalanced, noisy subset of imagenet100-32.

    uv run python benchmarks/urnet_steps.py --data ../shared/data/imagenet100-32 --work /tmp/urnet-steps

For each seed: class sizes are drawn log-uniformly from 50 to 500 (about 19,500 images), 20 % of the labels flipped
(symmetric), and a baseline trained by cross entropy. Every step then goes on from that one baseline for the same number
of epochs with the same rate, plain cross entropy among them: that row says what the extra epochs alone bring. The test
set is val.parquet, balanced and clean; nothing is chosen on it: every figure is that of the last epoch.

Each cell's result is appended to WORK/results.jsonl as soon as there is one. A run that was killed goes on where it
stopped, and several processes share the cells: start the same command twice. `--table` prints what there is.

Class texts are names, glosses and the names of their hypernyms, where NLTK_DATA holds WordNet; else names alone.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import safetensors.torch
from pydantic import Field
from torch import Tensor, nn

import noisyrun
from noisyrun.api import API_VERSION, Backbone, FeatureExtractor, Plugin, PluginConfig, Task, UserError
from noisyrun.backbones.config import SmallCNNConfig
from noisyrun.backbones.small_cnn import SmallNetwork
from noisyrun.config.resolve import resolve
from noisyrun.plugins import discover
from noisyrun.registry import Found, Registry, Source

NETWORK = {"width": 16, "depth": 4, "blocks": 1}
OPTIMIZER = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}

_WEIGHTERS = ("urnet-class", "urnet-cluster", "urnet-instance", "urnet-bag")
#: Each step and what it adds to the one before.
STEPS: dict[str, dict[str, Any]] = {
    "cross entropy": {},
    "+ class": {"weighter": list(_WEIGHTERS[:1])},
    "+ cluster": {"weighter": list(_WEIGHTERS[:2])},
    "+ instance": {"weighter": list(_WEIGHTERS[:3]), "side_info": "tfidf"},
    "+ bag": {"weighter": list(_WEIGHTERS), "side_info": "tfidf"},
    "+ label": {"weighter": list(_WEIGHTERS), "side_info": "tfidf", "corrector": "urnet-label"},
}
#: Each strategy alone, which the paper does not report: says which of them does what.
ALONE: dict[str, dict[str, Any]] = {
    "cluster alone": {"weighter": "urnet-cluster"},
    "instance alone": {"weighter": "urnet-instance", "side_info": "tfidf"},
    "bag alone": {"weighter": "urnet-bag"},
    "label alone": {"corrector": "urnet-label"},
}
BASELINE = "baseline"


class FromBaselineConfig(PluginConfig):
    """A small-cnn that starts from weights kept in a file."""

    weights: Path = Field(Path(), description="safetensors file of a network's weights.")


class FromBaseline(Backbone[FromBaselineConfig]):
    """The network of a finished run, head and all, as a backbone: how every step of a seed shares one baseline."""

    def build(self, task: Task) -> FeatureExtractor:
        assert task.channels is not None
        assert task.image_size is not None
        kept = safetensors.torch.load_file(self.config.weights)
        network = _Trained(SmallCNNConfig(**NETWORK), task.channels, min(task.image_size))
        network.load_state_dict(_under(kept, "extractor."))
        network.kept_head = _under(kept, "classifier.")
        return network


class _Trained(SmallNetwork):
    kept_head: dict[str, Tensor]

    def make_head(self, dim: int, num_classes: int) -> nn.Module:
        head = super().make_head(dim, num_classes)
        head.load_state_dict(self.kept_head)
        return head


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def registry() -> Registry:
    """The installed plugins, and the backbone above."""
    found = discover()
    record = Plugin(
        kind="backbone",
        name="from-baseline",
        api=API_VERSION,
        summary="The network of a finished run.",
        factory=f"{__name__}:FromBaseline",
        config=f"{__name__}:FromBaselineConfig",
    )
    key = ("backbone", "from-baseline")
    return replace(found, plugins={**found.plugins, key: Found(record, Source("urnet-steps", "0", "urnet_steps"))})


def make_data(data: Path, folder: Path, seed: int, low: int, high: int) -> dict[str, Any]:
    """Write an imbalanced training set beside the given test set; returns what it is.

    Class sizes are drawn log-uniformly, and the images of each class at random, both from the seed.
    """
    note = folder / "data.json"
    if note.exists():
        made: dict[str, Any] = json.loads(note.read_text())
        return made
    table = pq.read_table(data / "train.parquet")
    labels = np.asarray(table["label"])
    rng = np.random.default_rng(seed)
    rows, sizes = [], []
    for c in range(int(labels.max()) + 1):
        size = round(math.exp(rng.uniform(math.log(low), math.log(high))))
        of_class = np.flatnonzero(labels == c)
        rows.append(rng.choice(of_class, min(size, len(of_class)), replace=False))
        sizes.append(len(rows[-1]))
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.take(np.sort(np.concatenate(rows))), folder / "train.parquet")
    (folder / "val.parquet").unlink(missing_ok=True)
    (folder / "val.parquet").symlink_to((data / "val.parquet").resolve())
    texts = _write_classes(data / "classes.tsv", folder / "classes.tsv")
    made = {"sizes": sizes, "images": sum(sizes), "texts": texts}
    note.write_text(json.dumps(made))
    return made


def _write_classes(source: Path, target: Path) -> str:
    """The classes with a description by WordNet, where it is there; returns what the descriptions are."""
    lines = [line.split("\t") for line in source.read_text(encoding="utf-8").splitlines()]
    try:
        from nltk.corpus import wordnet

        described = []
        for _, wnid, _ in lines[1:]:
            synset = wordnet.synset_from_pos_and_offset(wnid[0], int(wnid[1:]))
            above = [lemma.replace("_", " ") for one in synset.closure(_hypernyms) for lemma in one.lemma_names()]
            described.append(" ".join([synset.definition(), *above]))
    except (ImportError, LookupError):
        target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
        return "names"
    rows = [[*lines[0], "description"], *([*row, text] for row, text in zip(lines[1:], described))]
    target.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return "names, WordNet glosses and hypernyms"


def _hypernyms(synset: Any) -> Any:
    return synset.hypernyms()


def train(step: str, seed: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One cell: the baseline of a seed, or a step that goes on from it."""
    about = make_data(options.data, folder / "data", seed, options.low, options.high)
    began, first = time.time(), step == BASELINE
    epochs = options.baseline_epochs if first else options.epochs
    weights = folder / "baseline.safetensors"
    settings: dict[str, Any] = {
        "dataset": str(folder / "data"),
        "noise": options.noise,
        "seed": seed,
        "batch_size": 126,
        "tracking": "none",
        "device": options.device,
        "out": str(_fresh(folder / "runs", step)),
        "backbone": {"small-cnn": NETWORK} if first else {"from-baseline": {"weights": str(weights)}},
        "train": {
            "optimizer": OPTIMIZER,
            "schedule": {"name": "cosine", "by": "step"},
            "checkpoint_every": epochs,
            "amp": options.amp,
        },
        "eval": {"every": epochs},
        "data": {"image_size": options.size},
        "stages": [{"name": "train", "epochs": epochs, "label_phase": "never" if first else "once"}],
        **({} if first else {**STEPS, **ALONE}[step]),
    }
    done = noisyrun.run(resolve(settings, registry=registry()))
    if first:
        state = {name: value.contiguous() for name, value in done.network.state_dict().items()}
        safetensors.torch.save_file(state, weights)
    last = done.summary["history"][-1]
    return {
        "step": step,
        "seed": seed,
        "top1": last["test_accuracy"],
        "top5": last["test_top5"],
        "val": last["val_accuracy"],
        "epochs": epochs,
        "amp": options.amp,
        "size": options.size,
        "noise": options.noise,
        "images": about["images"],
        "texts": about["texts"],
        "labels": done.summary.get("rounds", [])[-1:],
        "seconds": round(time.time() - began, 1),
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "versions": done.summary.get("versions"),
        "run": str(done.folder),
    }


def _fresh(parent: Path, step: str) -> Path:
    """A folder for a cell that was not finished before; what a killed run left stays beside it."""
    name = step.replace("+", "plus").replace(" ", "-")
    return next(parent / f"{name}-{n}" for n in range(1000) if not (parent / f"{name}-{n}").exists())


@contextmanager
def claimed(lock: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether this process may work on a cell: freed by the system when it dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def results(work: Path) -> list[dict[str, Any]]:
    """Every cell that is done."""
    file = work / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def work_through(options: argparse.Namespace) -> None:
    """All cells that are neither done nor in the hands of another process, baselines first."""
    steps = [*STEPS, *(ALONE if options.alone else {})]
    cells = [(BASELINE, seed) for seed in options.seeds] + [(step, seed) for seed in options.seeds for step in steps]
    for step, seed in cells:
        folder = options.work / f"seed{seed}"
        if step != BASELINE:
            with claimed(folder / f"{BASELINE}.lock", wait=True):
                pass  # another process may still be training what this step starts from
        with claimed(folder / f"{step}.lock") as mine:
            done = {(row["step"], row["seed"]) for row in results(options.work)}
            if not mine or (step, seed) in done:
                continue
            row = train(step, seed, folder, options)
            with (options.work / "results.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")


def table(rows: list[dict[str, Any]]) -> str:
    """Mean ± standard deviation over seeds, and the paired gains over plain cross entropy and the step before."""
    found = {(row["step"], row["seed"]): row for row in rows}
    seeds = sorted({seed for _, seed in found})
    lines = [
        "| step | top-1 % | top-5 % | top-5 over CE | top-5 over the step before | noisy validation top-1 % | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for step in (BASELINE, *STEPS, *ALONE):
        got = [found[step, seed] for seed in seeds if (step, seed) in found]
        if not got:
            continue
        order = list(STEPS)
        before = order[order.index(step) - 1] if step in STEPS and step != order[0] else None
        columns = [
            spread([row["top1"] for row in got]),
            spread([row["top5"] for row in got]),
            _gain(found, seeds, step, order[0]) if step not in (BASELINE, order[0]) else "",
            _gain(found, seeds, step, before) if before else "",
            spread([row["val"] for row in got]),
            str(len(got)),
        ]
        lines.append(f"| {step} | " + " | ".join(columns) + " |")
    return "\n".join(lines)


def weights_table(rows: list[dict[str, Any]]) -> str:
    """What the weights of each step fall on, by the clean labels: mean ± standard deviation over seeds, in percent."""
    columns = "weight on right labels", "right labels of weight 0", "wrong labels of weight 0", "effective sample size"
    lines = ["| step | " + " | ".join(columns) + " |", "| --- " * 5 + "|"]
    for step in (*STEPS, *ALONE):
        runs = [Path(row["run"]) / "labels.parquet" for row in rows if row["step"] == step]
        found = [_weights(pq.read_table(run)) for run in runs if run.exists()]
        if found:
            lines.append(f"| {step} | " + " | ".join(spread([one[n] for one in found]) for n in range(4)) + " |")
    return "\n".join(lines)


def _weights(labels: Any) -> tuple[float, ...]:
    """Of one run's labels: the four columns of `weights_table`."""
    weight = np.asarray(labels["weight"], dtype=np.float64)
    right = np.asarray(labels["observed"]) == np.asarray(labels["truth"])
    zero = weight == 0
    effective = weight.sum() ** 2 / (weight**2).sum() / len(weight)
    return float(weight[right].sum() / weight.sum()), float(zero[right].mean()), float(zero[~right].mean()), effective


def _gain(found: Mapping[tuple[str, int], Any], seeds: list[int], step: str, other: str) -> str:
    pairs = [(found[step, s], found[other, s]) for s in seeds if (step, s) in found and (other, s) in found]
    gains = [a["top5"] - b["top5"] for a, b in pairs]
    return spread(gains, sign=True) if gains else ""


def spread(values: list[float], *, sign: bool = False) -> str:
    """Mean ± standard deviation, in percent."""
    mean = f"{100 * statistics.mean(values):{'+' if sign else ''}.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/imagenet100-32"))
    parser.add_argument("--work", type=Path, required=True, help="folder for data, runs and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--baseline-epochs", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=4, help="epochs of every step, on from the baseline")
    parser.add_argument("--noise", default="symmetric:0.2")
    parser.add_argument("--low", type=int, default=50, help="images in the smallest class")
    parser.add_argument("--high", type=int, default=500, help="images in the largest class")
    parser.add_argument("--alone", action="store_true", help="also run each strategy alone")
    parser.add_argument("--size", type=int, default=32, help="side that images are brought to, in pixels")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--amp", default="auto", help="precision of the loop; bf16 is quick on CPUs with AMX")
    parser.add_argument("--table", action="store_true", help="print what there is, and run nothing")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if not options.table:
        try:
            work_through(options)
        except UserError as error:
            sys.exit(str(error))
    rows = results(options.work)
    print(f"{table(rows)}\n\n{weights_table(rows)}")


if __name__ == "__main__":
    # Under its own name, so that the record of the backbone above can name it.
    import urnet_steps

    urnet_steps.main()
