"""Golden runs: what each method made of a small fixed input, which a refactor must reproduce.

Losses by epoch, weights of the observed labels, corrected labels and decisions stand in tests/golden, a file a method.
Another processor rounds otherwise, hence the tolerances. A change that means to change results writes the files anew:

    python tests/test_golden.py [METHOD…]

which prints what changed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from noisyrun import data as datasets
from noisyrun import plan as plans
from noisyrun.api import PAD, Labels, PluginConfig, SideInfo, SideInfoEncoder, Stage, Task
from noisyrun.config.resolve import resolve
from noisyrun.data.samples import Data
from noisyrun.engine.corrections import changed, corrected_labels
from noisyrun.engine.trainer import Trainer
from noisyrun.methods import Methods
from noisyrun.plugins import discover
from noisyrun.testing import small_settings
from noisyrun.testing.fixtures import ALL, SIDE, make_world

FOLDER = Path(__file__).resolve().parent / "golden"
REGISTRY = discover()

#: Relative difference of a loss, absolute difference of a weight, and share of labels that may differ.
LOSS, WEIGHT, LABELS = 1e-4, 1e-3, 0.005

#: Methods that cannot run on so small an input, and why.
NOT_HERE = {
    "side_info.text": "reads a language model",
    "side_info.fasttext": "reads a file of word vectors",
}
#: The builder whose prototypes a weighter or corrector of that name gets; SMP's where it has none here.
BUILDERS = {"weighter.cleannet": "cleannet"}
#: Settings in place of small ones. A network that has hardly learned is far from any prototype.
SETTINGS: dict[str, dict[str, Any]] = {
    "weighter.sinet": {"alpha": 2.0},
    "weighter.verified": {"grid": (0.01,)},
    "weighter.urnet-source": {"top": 3},
    "side_info.sinet": {"relation": "HW", "hierarchy": "tree"},
}
#: The loop by itself, and a run on data with several labels a sample, whose weights and corrections are of pairs.
PLAIN, SEVERAL = "plain", "several-labels"
#: Weighters that weigh all labels alike: the loss of one is all it adds, the other takes every label for right.
ALIKE = {"weighter.urnet-bag", "weighter.naive"}
ROUND = {"zero", "six", "eight", "nine", "three"}


class Giver(SideInfoEncoder[PluginConfig]):
    """Gives every field of side information, ready made."""

    key = "side_info.giver"
    gives = frozenset(SIDE)

    def encode(self, task: Task, text: Any, before: SideInfo, phase: Any) -> SideInfo:
        return make_world(134, task.num_classes).side(ALL)


def cases() -> list[str]:
    """Every installed method that says something of labels, the loop by itself, and several labels a sample."""
    kinds = ("side_info", "prototypes", "weighter", "corrector")
    found = [f"{kind}.{name}" for kind in kinds for name in REGISTRY.names(kind)]
    return [PLAIN, SEVERAL, *(case for case in found if case not in NOT_HERE)]


def make(kind: str, name: str, **more: Any) -> Any:
    """A method with settings that make it quick."""
    config = REGISTRY.config_class(kind, name)
    given = {**small_settings(config), **SETTINGS.get(f"{kind}.{name}", {}), **more}
    method = REGISTRY.factory(kind, name)(config(**given))
    method.key = f"{kind}.{name}"
    return method


def methods_of(case: str) -> Methods:
    """The method, and what it takes to see what it does."""
    kind, _, name = case.partition(".")
    giver = (Giver(PluginConfig()),)
    judges: dict[str, Any]
    if case == PLAIN:
        return Methods()
    if case == SEVERAL:
        judges = {"weighters": (make("weighter", "sinet"),), "correctors": (make("corrector", "sinet", s=0.7),)}
        return Methods(side_info=giver, prototypes=make("prototypes", "smp"), **judges)
    if kind in ("weighter", "corrector"):
        method = make(kind, name)
        builder = make("prototypes", BUILDERS.get(case, "smp")) if method.needs.prototypes else None
        judges = {"weighters": (method,)} if kind == "weighter" else {"correctors": (method,)}
        return Methods(side_info=giver, prototypes=builder, **judges)
    judge = (make("weighter", "sinet"),)
    if kind == "prototypes":
        return Methods(side_info=giver, prototypes=make(kind, name), weighters=judge)
    return Methods(side_info=(make(kind, name),), prototypes=make("prototypes", "sinet"), weighters=judge)


@cache
def digits() -> Data:
    """150 noisy digits with all that a method may ask for."""
    data = datasets.load(resolve({"data.subset": 150, "verify": "0.6", "clean": "0.4", "tracking": "none"}).settings)
    train = data.train
    world = make_world(len(train), data.task.num_classes)
    tree = {name: "round" if name in ROUND else "straight" for name in data.task.classes}
    parents = {**tree, "round": "digit", "straight": "digit"}
    text = replace(train.text, titles=world.titles, parents=parents)
    train = replace(train, text=text, source=world.source, source_names=("google", "flickr"), rank=world.rank)
    return replace(data, train=train)


@cache
def several() -> Data:
    """134 samples of the conformance suite with up to three labels, of which some are wrong and some unknown."""
    world = make_world(134, classes=5, multi=True)
    values = torch.where(world.labels.known_mask(5), world.labels.multi_hot(5), -1).to(torch.int8)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "several.npz"
        np.savez(file, features=world.features.numpy(), labels=values.numpy())
        settings = {"dataset": str(file), "tracking": "none"}
        return datasets.load(resolve(settings).settings)


def made(case: str) -> dict[str, Any]:
    """What a run of three epochs, two with a label phase, makes of the digits or of several labels a sample."""
    methods, data = methods_of(case), several() if case == SEVERAL else digits()
    kept = sorted({name for method in methods if (name := method.needs.predictions)})
    stages = [{"name": f"keeps {name}", "steps": 1, "keep_predictions": name} for name in kept]
    stages += [{"name": "warmup", "epochs": 1}, {"name": "rounds", "epochs": 2, "label_phase": "every:1"}]
    if not methods.judge_labels:
        stages[-1].pop("label_phase")
    config = resolve(
        {
            "backbone": "features" if case == SEVERAL else {"small-cnn": {"width": 4, "depth": 2, "blocks": 0}},
            "batch_size": 32,
            "device": "cpu",
            "tracking": "none",
        }
    )
    config = replace(
        config, settings=config.settings.model_copy(update={"stages": tuple(Stage(**stage) for stage in stages)})
    )
    plan = plans.check(config, methods, data, REGISTRY)
    outcome = Trainer(
        plan.config.settings, plan.methods, data, device=torch.device("cpu"), plan=plan.stages, batches=plan.batches
    ).run()
    state, observed = outcome.state, data.train.labels
    labels: Labels = corrected_labels(observed, state.targets, multi=data.task.multi)
    rows = changed(observed, labels).nonzero()[:, 0].tolist()
    weights = state.weights[observed.classes != PAD] if data.task.multi else state.weights[:, 0]
    return {
        "losses": [float(f"{epoch['loss']:.7g}") for epoch in outcome.history],
        "weights": [round(value, 4) for value in weights.tolist()],
        "alpha": [round(value, 4) for value in state.targets.alpha.tolist()],
        "wrong": [] if state.wrong is None else state.wrong.nonzero()[:, 0].tolist(),
        "corrected": {str(row): _listed(labels.classes[row]) for row in rows},
    }


def _listed(classes: Tensor) -> int | list[int]:
    """The one label of a sample, or all of several, in order."""
    return int(classes) if len(classes) == 1 else sorted(c for c in classes.tolist() if c != PAD)


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One line for each part that is not what it was, beyond what rounding explains."""
    lines = []
    pairs = list(zip(old["losses"], new["losses"]))
    worst = max((abs(b - a) / max(abs(a), 1e-6) for a, b in pairs), default=0.0)
    if len(old["losses"]) != len(new["losses"]) or worst > LOSS:
        lines.append(f"losses by epoch {old['losses']} -> {new['losses']}")
    for part in ("weights", "alpha"):
        a, b = torch.tensor(old[part]), torch.tensor(new[part])
        if a.shape != b.shape:
            lines.append(f"{part}: {len(a)} samples -> {len(b)}")
        elif float(((a - b).abs() > WEIGHT).float().mean()) > LABELS:
            off = int(((a - b).abs() > WEIGHT).sum())
            lines.append(f"{part}: {off} of {len(a)} differ, by up to {float((a - b).abs().max()):.4f}")
    was, now = old["corrected"], new["corrected"]
    changes = {
        "corrected labels": {row for row in {**was, **now} if was.get(row) != now.get(row)},
        "decisions": set(old["wrong"]) ^ set(new["wrong"]),
    }
    for what, rows in changes.items():
        if len(rows) > LABELS * len(new["weights"]):
            lines.append(f"{what}: {len(rows)} of {len(new['weights'])} differ")
    return lines


def path_of(case: str) -> Path:
    return FOLDER / f"{case}.json"


@pytest.mark.parametrize("case", cases())
def test_a_method_makes_of_a_fixed_input_what_it_made_before(case: str) -> None:
    assert path_of(case).exists(), f"python tests/test_golden.py {case}"
    lines = differences(json.loads(path_of(case).read_text(encoding="utf-8")), made(case))
    assert not lines, "\n".join([f"{case}; if it was meant to change: python tests/test_golden.py {case}", *lines])


def test_golden_runs_say_something_of_every_kind_of_method() -> None:
    found = {case: json.loads(path_of(case).read_text(encoding="utf-8")) for case in cases()}
    assert {path.stem for path in FOLDER.glob("*.json")} == set(found)
    assert any(one["corrected"] for one in found.values())
    several = found[SEVERAL]
    assert len(several["weights"]) > len(several["alpha"])
    assert any(len(classes) > 1 for classes in several["corrected"].values())
    for case, one in found.items():
        kind = case.partition(".")[0]
        assert one["losses"] == sorted(one["losses"], reverse=True) or case != PLAIN
        if kind in ("weighter", "prototypes", "side_info") and case not in ALIKE:
            assert len(set(one["weights"])) > 1, f"{case} weighs all labels alike"


def test_a_change_beyond_rounding_is_told() -> None:
    old = {"losses": [2.0, 1.0], "weights": [1.0, 0.5], "alpha": [0.0, 0.0], "wrong": [1], "corrected": {"1": 3}}
    assert differences(old, {**old, "losses": [2.0001, 1.0], "weights": [1.0005, 0.5]}) == []
    assert differences(old, {**old, "losses": [2.01, 1.0]}) == ["losses by epoch [2.0, 1.0] -> [2.01, 1.0]"]
    assert differences(old, {**old, "weights": [1.1, 0.5]}) == ["weights: 1 of 2 differ, by up to 0.1000"]
    assert differences(old, {**old, "wrong": [0]}) == ["decisions: 2 of 2 differ"]
    assert differences(old, {**old, "corrected": {}}) == ["corrected labels: 1 of 2 differ"]


def write(chosen: list[str]) -> None:
    """Write golden runs anew, and say of each whether it changed."""
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for stale in {path.stem for path in FOLDER.glob("*.json")} - set(cases()):
        path_of(stale).unlink()
        print(f"{stale}: gone")
    for case in chosen or cases():
        new, path = made(case), path_of(case)
        lines = differences(json.loads(path.read_text(encoding="utf-8")), new) if path.exists() else ["new"]
        if lines:
            path.write_text(json.dumps(new) + "\n", encoding="utf-8")
        print(f"{case}: {'; '.join(lines) or 'as it was'}", flush=True)


if __name__ == "__main__":
    write(sys.argv[1:])
