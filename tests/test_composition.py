"""Any fit with any: every weighter × prototype builder × corrector runs, or is refused before training with the reason.

What is installed is found by discovery, and what has to be refused follows from each method's own `needs`, read here
without the plan's help: no list says what is refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import noisyrun
from noisyrun import data as datasets
from noisyrun import plan as plans
from noisyrun.api import (
    Labels,
    Needs,
    OnlinePart,
    PluginConfig,
    SideInfo,
    SideInfoEncoder,
    Stage,
    Task,
    UserError,
)
from noisyrun.config.resolve import RunConfig, resolve
from noisyrun.data.samples import Data, Samples
from noisyrun.engine.outcome import Outcome
from noisyrun.engine.trainer import Trainer
from noisyrun.methods import Methods
from noisyrun.plugins import discover
from noisyrun.testing import small_settings
from noisyrun.testing.fixtures import ALL, SIDE, World, make_world

REGISTRY = discover()
BUILDERS = (None, *REGISTRY.names("prototypes"))
WEIGHTERS = (None, *REGISTRY.names("weighter"))
CORRECTORS = (None, *REGISTRY.names("corrector"))
TRIPLES = list(itertools.product(BUILDERS, WEIGHTERS, CORRECTORS))

#: Where a quick trial asks for other settings than the usual small ones: on a network that has hardly learned, every
#: sample is far from CleanNet's prototypes and would weigh 0; and one value is no grid to search.
SETTINGS: dict[str, dict[str, Any]] = {"weighter.sinet": {"alpha": 2.0}, "weighter.verified": {"grid": (0.01,)}}

#: What needs say of the data, beside side information.
DATA = ("verification", "clean", "text", "source", "rank", "images", "trainable_backbone")


class Giver(SideInfoEncoder[PluginConfig]):
    """Gives every field of side information, ready made."""

    key = "side_info.giver"
    gives = frozenset(SIDE)

    def encode(self, task: Task, text: Any, before: SideInfo, phase: Any) -> SideInfo:
        return make_world(135, task.num_classes).side(ALL)


@cache
def settings_of(kind: str, name: str) -> PluginConfig:
    """The configuration in which a method is quick."""
    config = REGISTRY.config_class(kind, name)
    return config(**{**small_settings(config), **SETTINGS.get(f"{kind}.{name}", {})})


def make(kind: str, name: str | None) -> tuple[Any, ...]:
    if name is None:
        return ()
    method = REGISTRY.factory(kind, name)(settings_of(kind, name))
    method.key = f"{kind}.{name}"
    return (method,)


def methods_of(builder: str | None, weighter: str | None, corrector: str | None, rich: bool) -> Methods:
    return Methods(
        side_info=(Giver(PluginConfig()),) if rich else (),
        prototypes=next(iter(make("prototypes", builder)), None),
        weighters=make("weighter", weighter),
        correctors=make("corrector", corrector),
    )


@cache
def digits(rich: bool) -> Data:
    """A few noisy digits; rich ones come with all that a method may ask for."""
    wanted: dict[str, Any] = {"data": {"subset": 150}, "tracking": "none"}
    if not rich:
        return datasets.load(resolve(wanted).settings)
    data = datasets.load(resolve({**wanted, "verify": "0.6", "clean": "0.4"}).settings)
    train = data.train
    world = make_world(len(train), data.task.num_classes)
    text = replace(train.text, titles=world.titles)
    train = replace(train, text=text, source=world.source, source_names=("google", "flickr"), rank=world.rank)
    return replace(data, train=train)


@cache
def config_of(features: bool) -> RunConfig:
    backbone: dict[str, Any] = {"features": {}} if features else {"small-cnn": {"width": 4, "depth": 2, "blocks": 0}}
    return resolve({"backbone": backbone, "batch_size": 64, "device": "cpu", "tracking": "none"})


def stages_of(methods: Methods, rich: bool) -> list[dict[str, Any]]:
    """A stage for each name under which a method reads predictions, and one with a label phase."""
    names = sorted({method.needs.predictions for method in methods} - {None}) if rich else []
    kept = [{"name": f"keeps {name}", "steps": 1, "keep_predictions": name} for name in names]
    return [*kept, {"name": "warmup", "steps": 1}, {"name": "rounds", "epochs": 1, "label_phase": "every:1"}]


def plan_of(methods: Methods, data: Data, rich: bool) -> plans.Plan:
    """The plan of a run, which a method's unmet need stops."""
    config = config_of(data.train.images is None)
    stages = tuple(Stage(**stage) for stage in stages_of(methods, rich))
    config = replace(config, settings=config.settings.model_copy(update={"stages": stages}))
    return plans.check(config, methods, data, REGISTRY)


def train(plan: plans.Plan, data: Data) -> Outcome:
    return Trainer(
        plan.config.settings, plan.methods, data, device=torch.device("cpu"), plan=plan.stages, batches=plan.batches
    ).run()


def lacking(methods: Methods, data: Data, rich: bool) -> Iterator[str]:
    """Who lacks something, once for every need that is not met: read from `needs` and from nothing else."""
    offered = {*DATA, *SIDE} if rich else {"images", "trainable_backbone"}
    if data.train.images is None:
        offered -= {"images"}
    for method in methods:
        needs: Needs = method.needs
        asked = {name for name in (*DATA, *SIDE) if getattr(needs, name)}
        asked |= {"clean subset"} if needs.batches is not None and needs.batches.kind == "mix" and not rich else set()
        missing = len(asked - offered)
        missing += needs.prototypes and methods.prototypes is None
        missing += needs.predictions is not None and not rich
        missing += data.task.labels not in needs.labels
        yield from [method.key] * missing


def at_odds(methods: Methods) -> bool:
    """Whether two methods each put a head on the network, or want batches that disagree."""
    heads = [method for method in methods if isinstance(method, OnlinePart) and method.head]
    return len(heads) > 1 or len({method.needs.batches for method in methods} - {None}) > 1


def hold(outcome: Outcome, methods: Methods, data: Data) -> None:
    """What every finished run leaves."""
    state, n = outcome.state, len(data.train)
    assert all(math.isfinite(epoch["loss"]) for epoch in outcome.history)
    assert len(state.targets) == len(state.weights) == n
    assert bool(torch.isfinite(state.weights).all())
    assert bool((state.weights >= 0).all())
    assert bool(torch.isfinite(state.score).all())
    assert len(outcome.rounds) == int(methods.judge_labels)
    if not methods.correctors:
        assert not bool(state.targets.alpha.any())


def run_or_be_refused(methods: Methods, data: Data, rich: bool, train_it: bool = True) -> None:
    """Train to the end; or be refused by a plan that names each method that lacks something."""
    missing = sorted(lacking(methods, data, rich))
    if not missing and not at_odds(methods):
        plan = plan_of(methods, data, rich)
        if train_it:
            hold(train(plan, data), methods, data)
        return
    with pytest.raises(UserError) as refused:
        plan_of(methods, data, rich)
    lines = str(refused.value).splitlines()
    if at_odds(methods):
        assert len(lines) == 1
        assert sum(method.key in lines[0] for method in methods) >= 2
        assert "leave one" in lines[0]
        return
    assert sorted(line.split(" needs ")[0] for line in lines) == missing
    assert all("; " in line for line in lines), "a refusal says how to mend it"


@pytest.mark.parametrize(("builder", "weighter", "corrector"), TRIPLES)
def test_with_everything_there_a_combination_runs_or_is_refused(
    builder: str | None, weighter: str | None, corrector: str | None
) -> None:
    run_or_be_refused(methods_of(builder, weighter, corrector, rich=True), digits(rich=True), rich=True)


@pytest.mark.parametrize(("weighter", "corrector"), list(itertools.product(WEIGHTERS, CORRECTORS)))
def test_with_nothing_but_images_a_combination_is_planned_or_refused(
    weighter: str | None, corrector: str | None
) -> None:
    for builder in BUILDERS:
        methods = methods_of(builder, weighter, corrector, rich=False)
        run_or_be_refused(methods, digits(rich=False), rich=False, train_it=False)


def of_world(world: World) -> Data:
    """A data set of features, in which a quarter is held out, with all that a method may ask for."""
    rows = torch.arange(len(world))
    loss = "binary-cross-entropy" if world.multi else "cross-entropy"
    task = Task(world.names, "multi" if world.multi else "single", loss, feature_dim=world.features.shape[1])

    def split(some: torch.Tensor) -> Samples:
        part = world.take(some)
        trusted = Labels(torch.where(part.clean.unsqueeze(1), part.truth.classes, -1))
        return Samples(
            task=task,
            index=part.index,
            labels=part.labels,
            verified=part.verified,
            verified_held=part.held,
            trusted=trusted,
            clean=part.clean,
            text=part.text(),
            features=part.features,
            truth=part.truth,
            source=part.source,
            source_names=("google", "flickr"),
            rank=part.rank,
        )

    return Data("blobs", split(rows[rows % 4 != 0]), split(rows[rows % 8 == 0]), split(rows[rows % 8 == 4]), {})


@cache
def several_labels() -> Data:
    return of_world(make_world(180, 10, multi=True))


@pytest.mark.parametrize("name", REGISTRY.names("weighter"))
@pytest.mark.parametrize("builder", BUILDERS)
def test_on_several_labels_a_weighter_runs_or_is_refused(name: str, builder: str | None) -> None:
    run_or_be_refused(methods_of(builder, name, None, rich=True), several_labels(), rich=True)


@pytest.mark.parametrize("name", REGISTRY.names("corrector"))
@pytest.mark.parametrize("builder", BUILDERS)
def test_on_several_labels_a_corrector_runs_or_is_refused(name: str, builder: str | None) -> None:
    run_or_be_refused(methods_of(builder, None, name, rich=True), several_labels(), rich=True)


def test_some_methods_take_several_labels_and_some_refuse_them() -> None:
    kinds = {
        (kind, "multi" in make(kind, name)[0].needs.labels)
        for kind in ("weighter", "corrector")
        for name in REGISTRY.names(kind)
    }
    assert kinds == {("weighter", True), ("weighter", False), ("corrector", True), ("corrector", False)}


def stackable() -> list[str]:
    """Weighters that ask for no batches of their own."""
    return [name for name in REGISTRY.names("weighter") if make("weighter", name)[0].needs.batches is None]


def stacked(weighters: list[str], correctors: list[str], builder: str) -> Methods:
    return replace(
        methods_of(builder, None, None, rich=True),
        weighters=tuple(method for name in weighters for method in make("weighter", name)),
        correctors=tuple(method for name in correctors for method in make("corrector", name)),
    )


def test_all_weighters_that_agree_on_batches_multiply() -> None:
    methods = stacked(stackable(), [], REGISTRY.names("prototypes")[0])
    assert len(methods.weighters) > 5
    run_or_be_refused(methods, digits(rich=True), rich=True)


@pytest.mark.parametrize("pair", list(itertools.permutations(REGISTRY.names("corrector"), 2)), ids="-".join)
def test_two_correctors_follow_each_other_or_are_refused(pair: tuple[str, str]) -> None:
    run_or_be_refused(stacked([], list(pair), REGISTRY.names("prototypes")[-1]), digits(rich=True), rich=True)


@pytest.mark.parametrize("pair", list(itertools.combinations(REGISTRY.names("weighter"), 2)), ids="-".join)
def test_two_weighters_are_planned_or_refused(pair: tuple[str, str]) -> None:
    methods = stacked(list(pair), [], REGISTRY.names("prototypes")[0])
    run_or_be_refused(methods, digits(rich=True), rich=True, train_it=False)


def test_two_methods_that_disagree_are_refused_with_both_names() -> None:
    wishes = {name: make("weighter", name)[0].needs.batches for name in REGISTRY.names("weighter")}
    bags = next(name for name, wish in wishes.items() if wish is not None)
    mixing = [name for name in REGISTRY.names("corrector") if make("corrector", name)[0].needs.batches is not None]
    with pytest.raises(UserError) as refused:
        plan_of(stacked([bags], mixing[:1], REGISTRY.names("prototypes")[0]), digits(rich=True), rich=True)
    assert f"weighter.{bags}" in str(refused.value)
    assert f"corrector.{mixing[0]}" in str(refused.value)


TREE = "\n".join(
    ["child\tparent", *(f"{name}\tround" for name in ("zero", "six", "eight", "nine"))]
    + [f"{name}\tstraight" for name in ("one", "two", "three", "four", "five", "seven")]
    + ["round\tdigit", "straight\tdigit", ""]
)


def whole_run(folder: Path, **chosen: Any) -> noisyrun.Run:
    """A run through the front door, with texts and a tree as side information, and a label phase."""
    tree = folder / "tree.tsv"
    tree.write_text(TREE, encoding="utf-8")
    return noisyrun.run(
        {
            "data": {"subset": 150, "tree": str(tree)},
            "backbone": {"small-cnn": {"width": 4, "depth": 2, "blocks": 0}},
            "side_info": {"tfidf": {}, "sinet": {"steps": 3}},
            "stages": [
                {"name": "warmup", "epochs": 1, "keep_predictions": "smoothing"},
                {"name": "rounds", "epochs": 1, "label_phase": "every:1"},
            ],
            "batch_size": 64,
            "device": "cpu",
            "tracking": "none",
            "out": str(folder / "run"),
            **chosen,
        }
    )


def test_a_stack_across_papers_runs_from_the_front_door(tmp_path: Path) -> None:
    stack: dict[str, Any] = {"urnet-class": {}, "urnet-cluster": {}, "sinet": {}}
    run = whole_run(tmp_path, prototypes="smp", weighter=stack, corrector={"sinet": {}, "smp": {}})
    labels = run.labels
    assert run.summary["detection"]["auroc"] is not None
    assert labels["index"].is_monotonic_increasing
    assert labels["weight"].ge(0).all()
    assert labels["quality"].notna().all()


def test_a_refused_run_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs prototypes; add --prototypes sinet"):
        whole_run(tmp_path, weighter="sinet")
    assert not (tmp_path / "run").exists()


def test_correctors_stack_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    made = []
    for order in (("sinet", "smp"), ("smp", "sinet")):
        folder = tmp_path / "-".join(order)
        folder.mkdir()
        made.append(whole_run(folder, prototypes="smp", corrector={name: {} for name in order}).labels["corrected"])
    assert not made[0].equals(made[1])


def test_a_backbone_of_a_plugin_takes_any_methods(tmp_path: Path) -> None:
    run = whole_run(tmp_path, prototypes="smp", corrector="smp", backbone={"timm": {"model": "test_resnet"}})
    assert run.summary["label_accuracy"]["after"] is not None


def test_a_clean_subset_fine_tunes_at_the_end(tmp_path: Path) -> None:
    stages = [
        {"name": "rounds", "epochs": 1, "label_phase": "every:1"},
        {"name": "finetune", "epochs": 1, "samples": "clean", "targets": "trusted"},
    ]
    run = whole_run(tmp_path, prototypes="smp", weighter="sinet", stages=stages, verify="0.2", clean="0.1")
    assert [epoch["stage"] for epoch in run.summary["history"]] == ["rounds", "finetune"]
