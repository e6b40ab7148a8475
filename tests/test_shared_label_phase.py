"""A label phase on several processes makes of every method what it makes on one."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from noisyrun.api import PluginConfig, SideInfo, SideInfoEncoder, Text
from noisyrun.config.settings import RunSettings
from noisyrun.engine import checkpoint
from noisyrun.engine.label_phase import run_label_phase
from noisyrun.engine.persist import state_tree
from noisyrun.engine.sharing import encode_side_info
from noisyrun.engine.world import World
from noisyrun.methods import Methods
from noisyrun.plugins import discover
from noisyrun.testing import make_phase, small_settings
from noisyrun.testing.fixtures import ALL, SIDE, make_world
from noisyrun.testing.fixtures import World as Samples

REGISTRY = discover()

#: Methods that cannot run on so small an input, and why.
NOT_HERE = {"side_info.text": "reads a language model", "side_info.fasttext": "reads a file of word vectors"}
#: The builder whose prototypes a weighter or corrector of that name gets; SMP's where it has none here.
BUILDERS = {"weighter.cleannet": "cleannet"}
SETTINGS: dict[str, dict[str, Any]] = {
    "weighter.verified": {"grid": (0.01,)},
    "side_info.sinet": {"relation": "CD+HW", "hierarchy": "tree"},
}
#: Weights and targets of shares may round otherwise than those of the whole.
ROUNDING = 1e-5


class Giver(SideInfoEncoder[PluginConfig]):
    """Gives every field of side information, ready made."""

    key = "side_info.giver"
    gives = frozenset(SIDE)

    def encode(self, task: Any, text: Text, before: SideInfo, phase: Any) -> SideInfo:
        return make_world(classes=task.num_classes).side(ALL)


def cases() -> list[str]:
    """Every installed method that says something of labels, with each kind of labels it works with."""
    kinds = ("side_info", "prototypes", "weighter", "corrector")
    names = [f"{kind}.{name}" for kind in kinds for name in REGISTRY.names(kind) if f"{kind}.{name}" not in NOT_HERE]
    return [f"{name}-{labels}" for name in names for labels in ("single", "multi") if works_with(name, labels)]


def works_with(name: str, labels: str) -> bool:
    return all(labels in method.needs.labels for method in methods_of(name))


def make(name: str) -> Any:
    kind, _, plugin = name.partition(".")
    config = REGISTRY.config_class(kind, plugin)
    method = REGISTRY.factory(kind, plugin)(config(**small_settings(config), **SETTINGS.get(name, {})))
    method.key = name
    return method


def methods_of(name: str) -> Methods:
    """The method, and what it takes to see what it does."""
    kind, giver = name.partition(".")[0], Giver(PluginConfig())
    if kind in ("weighter", "corrector"):
        method = make(name)
        builder = make(f"prototypes.{BUILDERS.get(name, 'smp')}") if method.needs.prototypes else None
        judges = {"weighters": (method,)} if kind == "weighter" else {"correctors": (method,)}
        return Methods(side_info=(giver,), prototypes=builder, **judges)
    judge = (make("weighter.sinet"),)
    if kind == "prototypes":
        return Methods(side_info=(giver,), prototypes=make(name), weighters=judge)
    return Methods(side_info=(giver, make(name)), prototypes=make("prototypes.sinet"), weighters=judge)


def samples_of(labels: str) -> Samples:
    """One class has no sample, and there are more classes than processes, or fewer."""
    world = make_world(150, classes=7, multi=labels == "multi")
    none_left = world.labels.classes != 6
    return world.but(labels=replace(world.labels, classes=torch.where(none_left, world.labels.classes, -1)))


def judged(case: str, world: World) -> dict[str, Any]:
    """What two label phases in a row make of the samples."""
    name, _, labels = case.rpartition("-")
    methods, samples = methods_of(name), samples_of(labels)
    kept = next((method.needs.predictions for method in methods if method.needs.predictions), None)
    bank = samples.bank(ALL, kept)
    phase = make_phase(memory=1 << 20)
    side = encode_side_info(methods.side_info, bank.task, samples.text(), phase, world)
    settings = RunSettings()
    first = run_label_phase(bank, methods, side, phase, settings, samples.truth, lambda _: None, world=world)
    again = replace(phase, round=1, previous=first.prototypes)
    second = run_label_phase(bank, methods, side, again, settings, samples.truth, lambda _: None, world=world)
    return {"first": state_tree(first), "second": state_tree(second)}


def _work(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)}
    store = dist.FileStore(str(folder / "store"), size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    (folder / str(rank)).mkdir()
    for case in cases():
        checkpoint.save(folder / str(rank) / case, judged(case, World.of_environment()))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What each of three processes got, case by case."""
    folder = tmp_path_factory.mktemp("processes")
    mp.start_processes(_work, (3, folder), nprocs=3, start_method="fork")
    return [folder / str(rank) for rank in range(3)]


@cache
def alone(case: str) -> dict[str, Any]:
    return judged(case, World())


def leaves(tree: Any, at: str = "") -> dict[str, Any]:
    """Tensors and values of a tree by their place, seconds left out."""
    if isinstance(tree, dict):
        return {
            k: v for name, one in tree.items() if "seconds" not in name for k, v in leaves(one, f"{at}/{name}").items()
        }
    return {at: tree}


@pytest.mark.parametrize("case", cases())
def test_all_processes_hold_the_same_to_the_last_bit(case: str, shared: list[Path]) -> None:
    first, *others = (leaves(checkpoint.load(folder / case)) for folder in shared)
    assert first
    for other in others:
        assert first.keys() == other.keys()
        for at, value in first.items():
            assert torch.equal(value, other[at]) if isinstance(value, Tensor) else value == other[at], at


@pytest.mark.parametrize("case", cases())
def test_several_processes_find_what_one_does(case: str, shared: list[Path]) -> None:
    want, got = leaves(alone(case)), leaves(checkpoint.load(shared[0] / case))
    assert got.keys() == want.keys()
    for at, value in want.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            torch.testing.assert_close(got[at], value, atol=ROUNDING, rtol=ROUNDING)
        elif isinstance(value, Tensor):
            assert torch.equal(got[at], value), at
        elif isinstance(value, float):
            assert got[at] == pytest.approx(value, abs=1e-4), at
        else:
            assert got[at] == value, at
