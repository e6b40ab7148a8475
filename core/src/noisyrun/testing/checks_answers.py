"""Checks of what a method says: its shape and values, and what may and may not change it."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from noisyrun.api.labels import Labels
from noisyrun.testing.fixtures import ALL, World
from noisyrun.testing.subject import Subject
from noisyrun.testing.suite import LABELS, conformance_check
from noisyrun.testing.trial import (
    Answer,
    Trial,
    alike,
    build_network,
    demand,
    judge,
    quiet_rng,
    same,
    through_checkpoint,
    trial,
)

_LABELLED = (*LABELS, "side_info")

#: Rounding: sums in another order, products of other shapes.
_ROUNDING = 1e-4


@conformance_check(_LABELLED)
def works_with_what_it_needs(plugin: Subject) -> None:
    """It works where there is what `needs` names and nothing else, with each kind of labels that `needs` names."""
    for world in plugin.worlds():
        demand(bool(trial(plugin, world)) or plugin.kind == "side_info", "says nothing")


@conformance_check(_LABELLED)
def works_with_more_than_it_needs(plugin: Subject) -> None:
    """It works where there is everything: side information, verification, trusted labels, sources, ranks, texts."""
    for world in plugin.worlds():
        trial(plugin, world, everything=ALL)


@conformance_check(("weighter",))
def weights_are_finite_and_not_negative(plugin: Subject) -> None:
    """Weights are finite and at least 0 for every pair of sample and label, scores finite, decisions yes or no."""
    for world in plugin.worlds():
        said = trial(plugin, world)
        for name in ("observed", "other"):
            weights = said[f"weights of {name} labels"]
            demand(bool(torch.isfinite(weights).all()), f"weights of {name} labels are not finite")
            demand(float(weights.min()) >= 0, f"a weight of {name} labels is {float(weights.min()):g}")


@conformance_check(("corrector",))
def targets_are_probabilities(plugin: Subject) -> None:
    """Targets lie on the simplex (single-label) or in 0 to 1 (multi-label), the share alpha in 0 to 1."""
    for world in plugin.worlds():
        said = trial(plugin, world)
        values, changed = said["targets"], said["alpha"] > 0
        demand(bool((values >= 0).all()), f"a target is {float(values.min()):g}")
        demand(
            bool((values <= 1 + 1e-4).all()), f"targets of one class add up to {float(values.max()):g}: name it once"
        )
        if not world.multi:
            total = values[changed].sum(1)
            demand(bool(((total - 1).abs() < 1e-3).all()), "targets of a sample do not add up to 1")


@conformance_check(("prototypes",))
def prototypes_stand_for_classes(plugin: Subject) -> None:
    """Classes with samples have prototypes, masked ones are 0 and weigh nothing, rows are of samples of the class."""
    for world in plugin.worlds():
        with Trial(plugin, world) as one:
            made = one.learn().made
            assert made is not None
            held = (one.bank.class_counts() > 0).to(made.present.device)
            demand(bool(made.present[held].all()), "a class with samples has no prototype")
            demand(not bool(made.vectors[~made.mask].any()), "vectors are not 0 where mask is False")
            demand(not bool(made.weights[~made.mask].any()), "weights are not 0 where mask is False")
            demand(bool((made.weights.sum(1)[made.present] > 0).all()), "all prototypes of a class weigh 0")
            if made.rows is not None:
                of, slot = (made.rows >= 0).nonzero(as_tuple=True)
                classes = one.bank.labels.take(made.rows[of, slot].cpu()).classes
                demand(
                    bool((classes == of.cpu().unsqueeze(1)).any(1).all()), "a prototype is a sample of another class"
                )


@conformance_check()
def determined_by_the_seed(plugin: Subject) -> None:
    """Twice with one seed is twice the same, whatever torch's, NumPy's and Python's own generators say."""
    for world in plugin.worlds():
        said = []
        for seed in (1, 2):
            with quiet_rng(seed), _seeded(seed):
                said.append(trial(plugin, world))
        same(said[0], said[1], "one seed, two answers; draw from phase.generator(...)")


@conformance_check()
def leaves_global_generators_alone(plugin: Subject) -> None:
    """Torch's, NumPy's and Python's own generators are afterwards where they were."""
    for world in plugin.worlds():
        with _seeded(3), quiet_rng(3):
            before = _generators(plugin.device)
            trial(plugin, world)
            for name, now in _generators(plugin.device).items():
                demand(before[name] == now, f"draws from {name}'s global generator; draw from phase.generator(...)")


class _seeded:
    """Python's and NumPy's generators seeded within, and as they were afterwards."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __enter__(self) -> None:
        self.before = random.getstate(), np.random.get_state()
        random.seed(self.seed)
        np.random.seed(self.seed)

    def __exit__(self, *_: object) -> None:
        random.setstate(self.before[0])
        np.random.set_state(self.before[1])


def _generators(device: str) -> dict[str, Any]:
    numpy: Any = np.random.get_state()
    gpus = torch.cuda.get_rng_state_all() if device == "cuda" else []
    return {
        "torch": [state.tolist() for state in (torch.get_rng_state(), *gpus)],
        "NumPy": (numpy[1].tolist(), *numpy[2:]),
        "Python": random.getstate(),
    }


@conformance_check()
def order_of_rows_does_not_matter(plugin: Subject) -> None:
    """Rows in another order, and each sample's answer is the same; what is drawn differs as between seeds."""
    if plugin.kind == "backbone":
        return _backbone_order(plugin, plugin.world())
    for world in plugin.worlds():
        mixed = world.take(torch.randperm(len(world), generator=torch.Generator().manual_seed(11)))
        alike(
            partial(_said, plugin, world),
            partial(_said, plugin, mixed),
            "rows in another order",
            _ROUNDING,
        )
    return None


def _said(plugin: Subject, world: World, seed: int) -> Answer:
    return trial(plugin, world, seed=seed)


def _backbone_order(plugin: Subject, world: World) -> None:
    with Trial(plugin, world) as one:
        network, _, inputs = build_network(one)
        network.eval()
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(11))
        with torch.no_grad():
            whole, mixed = network(inputs), network(inputs[order])
        same({"features": whole[order.to(whole.device)]}, {"features": mixed}, "images in another order", 1e-3)


@conformance_check()
def size_of_blocks_does_not_matter(plugin: Subject) -> None:
    """Handed out in blocks of seven rows, each sample's answer is what it is all at once."""
    if plugin.kind != "prototypes":
        for world in plugin.worlds():
            same(trial(plugin, world), trial(plugin, world, block=7), "blocks of seven rows", 1e-3)
        return
    for world in plugin.worlds():
        alike(partial(_said, plugin, world), partial(_in_parts, plugin, world), "blocks of seven rows", 1e-3)


def _in_parts(plugin: Subject, world: World, seed: int) -> Answer:
    small = world.but(memory=7 * 16 * (world.features.shape[1] + world.num_classes))
    with Trial(plugin, small, seed=seed) as one:
        # The bank alone is small: what a method makes of phase.memory is its own affair.
        one.phase = replace(one.phase, memory=world.memory)
        return one.learn().answer()


@conformance_check()
def state_is_tensors_and_json(plugin: Subject) -> None:
    """`state_dict` holds tensors and JSON values, before and after learning, and a fresh method takes an empty one."""
    for world in plugin.worlds():
        with Trial(plugin, world) as one:
            through_checkpoint(one.method.state_dict(), plugin.key)
            one.learn().answer()
            through_checkpoint(one.method.state_dict(), plugin.key)
    plugin.make().load_state_dict({})


@conformance_check()
def state_survives_a_checkpoint(plugin: Subject) -> None:
    """A fresh method that loads the state says the same, without learning again."""
    for world in plugin.worlds():
        with Trial(plugin, world) as one:
            before = one.learn().answer()
            with one.restored() as other:
                same(before, other.answer(), "restored from its state", 1e-6)


@conformance_check(LABELS)
def stays_within_memory(plugin: Subject) -> None:
    """On features that lie on disk it makes no tensor larger than the memory it may take, whatever kind of labels."""
    large = {"classes": 80, "dim": 96, "memory": 600_000, "store": "disk"}
    worlds = plugin.worlds(n=2500, **large)
    if worlds[-1].multi:
        # Many samples with few labels, and fewer with many labels each.
        worlds[-1] = worlds[-1].but(labels=_sparse(2500, 80))
        worlds.append(plugin.world(multi=True, n=300, **large))
    for world in worlds:
        with Trial(plugin, world, block=200) as one, _Largest() as seen:
            one.learn()
            for block in one.bank.blocks(size=200) if plugin.kind != "prototypes" else ():
                judge(one, block)
        size = f"{seen.bytes / 1e6:.1f} MB of the {world.memory / 1e6:.1f} MB allowed"
        what = f"a tensor of {list(seen.shape)} takes {size}" + (" with several labels a sample" if world.multi else "")
        demand(seen.bytes <= world.memory, f"{what}; read bank.blocks(rows), and never form [N, D] or [N, C]")


def _sparse(n: int, classes: int) -> Labels:
    """Two labels a sample, all as frequent, and three classes more of which it is known that it has them not."""
    first = torch.arange(n) % classes
    steps = torch.tensor([0, 1, 2, 3, 5])
    known = (first.unsqueeze(1) + steps * (1 + torch.arange(n) % 7).unsqueeze(1)) % classes
    return Labels(known[:, :2], known)


class _Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.shape: tuple[int, ...] = ()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        # A view of what is there already, such as rows of a mapped file, is nothing new.
        given = {one.untyped_storage().data_ptr() for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
        for one in tree_leaves(out):
            if not isinstance(one, Tensor) or one.untyped_storage().data_ptr() in given:
                continue
            if one.untyped_storage().nbytes() > self.bytes:
                self.bytes, self.shape = one.untyped_storage().nbytes(), tuple(one.shape)
        return out
