"""Checks of what goes in: nothing given is changed, and what is odd in data is taken."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from noisyrun.api.labels import PAD, Labels, Targets
from noisyrun.testing.fixtures import World, other_prototypes, padded
from noisyrun.testing.subject import Subject
from noisyrun.testing.suite import LABELS, conformance_check
from noisyrun.testing.trial import Trial, build_network, demand, judge, same, trial


@conformance_check()
def leaves_its_inputs_alone(plugin: Subject) -> None:
    """Features, labels, targets, prototypes and side information are afterwards what they were."""
    for world in plugin.worlds():
        with Trial(plugin, world) as one:
            before = {name: value.clone() for name, value in _inputs(one).items()}
            one.learn().answer()
            for name, now in _inputs(one).items():
                demand(torch.equal(before[name], now), f"{name} changed: never write to what is given")
            if plugin.kind in ("weighter", "corrector"):
                _leaves_labels_alone(one)


def _leaves_labels_alone(one: Trial) -> None:
    block = one.bank.take(torch.arange(len(one.bank)))
    labels, targets = block.labels.classes[:, 0].clamp(min=0), Targets.of(block.labels)
    before = {"labels": labels.clone(), **{f"targets.{name}": v.clone() for name, v in _tensors(targets).items()}}
    given = labels if one.subject.kind == "weighter" else targets
    one.method(block, given, one.prototypes, one.side)
    for name, now in {"labels": labels, **{f"targets.{name}": v for name, v in _tensors(targets).items()}}.items():
        demand(torch.equal(before[name], now), f"{name} changed: never write to what is given")


def _tensors(value: Any) -> dict[str, Tensor]:
    return {name: one for name, one in vars(value).items() if isinstance(one, Tensor)}


def _inputs(one: Trial) -> dict[str, Tensor]:
    """Every tensor that a method is given, by name."""
    bank: Any = one.bank
    given: dict[str, Any] = {f"bank.{name}": value for name, value in vars(bank).items()}
    given |= {"bank.features": bank.store.features, "bank.labels": bank.labels.classes}
    given |= {"bank.labels.known": bank.labels.known, "bank.trusted": bank.trusted.classes}
    given |= {f"bank.verified({split!r})": bank.verified(split) for split in ("all", "train", "held")}
    given |= {f"side.{name}": value for name, value in vars(one.side).items()}
    for name in ("class_similarity", "sample_embeddings"):
        rows = getattr(one.side, name)
        given[f"side.{name}"] = None if rows is None else rows.take(torch.arange(rows.shape[0])).clone()
    if one.prototypes is not None:
        given |= {f"prototypes.{name}": value for name, value in vars(one.prototypes).items()}
    return {name: value for name, value in given.items() if isinstance(value, Tensor)}


@conformance_check()
def coarse_and_large_features_stay_finite(plugin: Subject) -> None:
    """Features rounded to bfloat16 and half precision, large (thousands) or tiny, give finite answers."""
    if plugin.kind == "backbone":
        return _backbone_autocast(plugin)
    for world in plugin.worlds():
        for scale in (1e3, 1e-3):
            coarse = (world.features * scale).bfloat16().half().float()
            _odd(plugin, world.but(features=coarse), f"features times {scale:g}")
    return None


def _backbone_autocast(plugin: Subject) -> None:
    with Trial(plugin, plugin.world()) as one:
        network, head, inputs = build_network(one)
        with torch.autocast(plugin.device, dtype=torch.bfloat16):
            logits = head(network(inputs))
        demand(bool(torch.isfinite(logits).all()), "logits under bfloat16 autocast are not finite")


def _odd(plugin: Subject, world: World, what: str) -> None:
    for name, value in trial(plugin, world).items():
        demand(bool(torch.isfinite(value.float()).all()), f"{what}: {name} are not finite")


@conformance_check(LABELS)
def takes_a_class_without_samples(plugin: Subject) -> None:
    """A class that no observed label names."""
    for world in plugin.worlds():
        _odd(plugin, _without(world, keep=0), "a class without samples")


@conformance_check(LABELS)
def takes_a_class_with_one_sample(plugin: Subject) -> None:
    """A class that a single observed label names."""
    for world in plugin.worlds():
        _odd(plugin, _without(world, keep=1), "a class with one sample")


def _without(world: World, keep: int) -> World:
    """The last class has no more than `keep` observed labels; the others move to class 0."""
    last = world.num_classes - 1
    of = (world.labels.classes == last).any(1).nonzero()[keep:, 0]
    if not world.multi:
        moved = world.labels.classes.clone()
        moved[of] = 0
        return world.but(labels=Labels(moved))
    holds = world.labels.multi_hot(world.num_classes) > 0
    holds[of, last] = False
    holds[of, 0] |= ~holds[of].any(1)
    known = world.labels.known_mask(world.num_classes) | holds
    return world.but(labels=Labels(padded(holds), padded(known)))


@conformance_check(LABELS)
def takes_features_that_are_all_equal(plugin: Subject) -> None:
    """Features that are the same for every sample, as a network gives that has collapsed; and features of zeros."""
    for world in plugin.worlds():
        _odd(plugin, world.but(features=torch.ones_like(world.features)), "equal features")
        _odd(plugin, world.but(features=torch.zeros_like(world.features)), "features of zeros")


@conformance_check((*LABELS, "side_info"))
def takes_two_classes(plugin: Subject) -> None:
    """A data set of two classes."""
    for world in plugin.worlds(n=60, classes=2):
        _odd(plugin, world, "two classes")


@conformance_check(LABELS)
def takes_samples_without_label(plugin: Subject) -> None:
    """Samples of which no label was observed."""
    for world in plugin.worlds():
        classes = world.labels.classes.clone()
        classes[::6] = PAD
        right = world.verified.clone()
        right[::6] = -1
        _odd(plugin, world.but(labels=Labels(classes, world.labels.known), verified=right), "samples without label")


@conformance_check(("weighter", "corrector"))
def takes_the_prototypes_of_others(plugin: Subject) -> None:
    """Several prototypes a class, in a learned space of another width, none for one class."""
    for world in plugin.worlds():
        with Trial(plugin, world) as one:
            made = other_prototypes(one.bank)
        with Trial(plugin, world, prototypes=made) as one:
            for name, value in one.learn().answer().items():
                demand(bool(torch.isfinite(value.float()).all()), f"{name} are not finite")


@conformance_check(("weighter", "corrector"))
def judges_a_row_by_itself(plugin: Subject) -> None:
    """A row is judged alike whichever rows stand beside it, alone, and twice alike where it stands twice."""
    for world in plugin.worlds():
        with Trial(plugin, world) as one:
            one.learn()
            said = judge(one, one.bank.take(torch.arange(len(one.bank))))
            for rows in ([3, 17, 3, 40, 17], [5], [28], [61], [94]):
                some = one.bank.take(torch.tensor(rows))
                whole = {name: value[some.rows] for name, value in said.items()}
                same(whole, judge(one, some), "rows beside others", 1e-3)
