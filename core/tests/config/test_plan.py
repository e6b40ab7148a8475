from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from noisyrun import cost
from noisyrun import plan as plans
from noisyrun.api import (
    BAGS,
    MIX,
    Labels,
    Needs,
    OnlinePart,
    Plugin,
    PluginConfig,
    PrototypeBuilder,
    SampleWeighter,
    SideInfoEncoder,
    Task,
    Text,
    UserError,
)
from noisyrun.config.resolve import RunConfig, resolve
from noisyrun.data.samples import Data, Images, Samples, no_labels
from noisyrun.methods import Methods
from noisyrun.plugins import Switches, discover
from noisyrun.registry import Found, Registry, Source

N = 24


class Blank(Images):
    shape = (1, 8, 8)

    def __len__(self):
        return N

    def load(self, positions):
        return torch.zeros(len(positions), *self.shape, dtype=torch.uint8)


def samples(**given) -> Samples:
    task = Task(classes=("a", "b"), image_size=(8, 8), channels=1)
    base = Samples(
        task=task,
        index=torch.arange(N),
        labels=Labels.of(torch.arange(N) % 2),
        verified=torch.full((N,), -1, dtype=torch.int8),
        verified_held=torch.zeros(N, dtype=torch.bool),
        trusted=no_labels(N),
        clean=torch.zeros(N, dtype=torch.bool),
        text=Text(("a", "b")),
        images=Blank(),
    )
    return replace(base, **given)


def data(**given) -> Data:
    return Data("blank", samples(**given), None, None, {})


class Asks(SampleWeighter):
    def __init__(self, key="weighter.asks", **needs):
        super().__init__(PluginConfig())
        self.key = key
        self._needs = Needs(**needs)

    @property
    def needs(self):
        return self._needs


class Encoder(SideInfoEncoder):
    def __init__(self, key, gives=(), **needs):
        super().__init__(PluginConfig())
        self.key = key
        self.gives = frozenset(gives)
        self._needs = Needs(**needs)

    @property
    def needs(self):
        return self._needs


class Giver(SideInfoEncoder):
    """What the registry of these tests offers."""

    gives = frozenset({"class_similarity"})


class GiverConfig(PluginConfig):
    pass


@pytest.fixture(scope="module")
def core():
    return discover(Switches.of(only=["core"], environ={}))


@pytest.fixture
def giving(core):
    """The registry of core, and an encoder `giver` that gives class similarity."""
    record = Plugin(
        kind="side_info",
        name="giver",
        api="1.0",
        summary="x",
        factory=f"{__name__}:Giver",
        config=f"{__name__}:GiverConfig",
    )
    return Registry({**core.plugins, ("side_info", "giver"): Found(record, Source("noisyrun-giver", "1", "giver"))})


@pytest.fixture
def config(core) -> RunConfig:
    return resolve({"tracking": None, "device": "cpu"}, registry=core)


def problems(methods, config, registry=None, **given) -> list[str]:
    return plans.examine(config, methods, data(**given), registry).problems()


SATISFIED = {
    "verification": {"verified": torch.ones(N, dtype=torch.int8)},
    "clean": {"trusted": Labels.of(torch.zeros(N))},
    "text": {"text": Text(("a", "b"), titles=[""] * N)},
    "source": {"source": torch.zeros(N, dtype=torch.int64)},
    "rank": {"rank": torch.zeros(N, dtype=torch.int64)},
}


@pytest.mark.parametrize("need", SATISFIED)
def test_what_the_data_must_offer_is_asked_for_only_when_it_is_missing(config, need):
    methods = Methods(weighters=(Asks(**{need: True}),))
    [line] = problems(methods, config)
    assert line.startswith("weighter.asks needs ")
    assert "; give " in line
    assert problems(methods, config, **SATISFIED[need]) == []


def test_a_need_for_images_is_not_met_by_features(config):
    features = {"images": None, "features": torch.zeros(N, 4)}
    features["task"] = Task(classes=("a", "b"), feature_dim=4)
    methods = Methods(weighters=(Asks(images=True),))
    assert "needs images" in problems(methods, config, **features)[0]
    assert problems(methods, config) == []


def test_a_need_for_prototypes_is_met_by_a_builder(config):
    builder = PrototypeBuilder(PluginConfig())
    builder.key = "prototypes.b"
    asks = Asks(prototypes=True)
    assert problems(Methods(weighters=(asks,)), config) == [
        "weighter.asks needs prototypes; no prototype builder is installed; see noisyrun plugins --available"
    ]
    assert problems(Methods(weighters=(asks,), prototypes=builder), config) == []


def test_a_missing_side_information_is_answered_with_the_encoder_that_gives_it(config, giving, monkeypatch):
    monkeypatch.setattr(Registry, "factory", lambda self, kind, name, base=None: Giver)
    monkeypatch.setattr(Registry, "config_class", lambda self, kind, name: GiverConfig)
    builder = Asks("prototypes.x", class_similarity=True)
    backbone = plans.make_methods(plans.with_backbone(config, samples(), discover(Switches.of(only=["core"])))).backbone
    methods = Methods(backbone=backbone, weighters=(builder,))
    lines = problems(methods, plans.with_backbone(config, samples()), giving)
    assert lines == ["prototypes.x needs class similarity; add --side-info giver"]
    stacked = replace(methods, side_info=(Encoder("side_info.words", ["text_encoder"]),))
    [line] = problems(stacked, plans.with_backbone(config, samples()), giving)
    assert line.endswith("add --side-info words,giver")


def test_a_missing_text_encoder_is_to_be_put_before_who_needs_it(config, giving, monkeypatch):
    monkeypatch.setattr(plans, "_givers", lambda name, registry: ["fast", "words"])
    relation = Encoder("side_info.relation", ["class_similarity"], text_encoder=True)
    [line] = problems(Methods(side_info=(Encoder("side_info.first"), relation)), config)
    ways = "--side-info first,fast,relation or --side-info first,words,relation"
    assert line == f"side_info.relation needs a text encoder; put one before it: {ways}"


def test_side_information_that_an_encoder_gives_meets_the_need(config):
    methods = Methods(
        side_info=(Encoder("side_info.e", ["class_similarity"]),), weighters=(Asks(class_similarity=True),)
    )
    assert problems(methods, config) == []


def test_an_encoder_sees_only_what_those_before_it_give(config):
    words = Encoder("side_info.words", ["text_encoder"])
    relation = Encoder("side_info.relation", ["class_similarity"], text_encoder=True)
    assert problems(Methods(side_info=(words, relation)), config) == []
    [line] = problems(Methods(side_info=(relation, words)), config)
    assert line.startswith("side_info.relation needs a text encoder")


def test_predictions_must_be_kept_by_a_stage(config, core):
    methods = Methods(weighters=(Asks(predictions="smooth"),))
    assert "keep_predictions = 'smooth'" in problems(methods, config)[0]
    stages = [{"name": "s", "epochs": 1, "keep_predictions": "smooth"}, {"name": "t", "epochs": 1}]
    kept = resolve({"tracking": None, "stages": stages}, registry=core)
    assert problems(methods, kept) == []


def test_a_stage_that_trains_parts_alone_needs_a_method_that_brings_one(core):
    alone = resolve({"tracking": None, "stages": [{"name": "s", "epochs": 1, "trains": "parts"}]}, registry=core)
    assert problems(Methods(), alone)[0].startswith("stage s needs a part of the network; choose a method")


@pytest.mark.parametrize("phase", ["never", "once"])
def test_a_stage_on_the_top_samples_needs_a_label_phase_that_scored_them(core, phase):
    stages = [{"name": "s", "epochs": 1, "label_phase": phase}, {"name": "t", "epochs": 1, "samples": "top:0.5"}]
    top = resolve({"tracking": None, "stages": stages}, registry=core)
    lines = problems(Methods(weighters=(Asks(),)), top)
    assert [line[:34] for line in lines] == (["stage t needs scores of the sample"] if phase == "never" else [])


def test_a_frozen_backbone_is_refused_by_who_needs_it_to_train(core):
    frozen = resolve({"tracking": None, "train.freeze_backbone": True}, registry=core)
    methods = Methods(weighters=(Asks(trainable_backbone=True),))
    assert "--train.freeze-backbone" in problems(methods, frozen)[0]


def test_a_kind_of_labels_that_a_method_cannot_work_with_is_refused(config):
    methods = Methods(weighters=(Asks(labels=frozenset({"multi"})),))
    assert problems(methods, config) == [
        "weighter.asks needs multi-label data; this data set is single-label: leave out --weighter asks"
    ]


def test_batches_that_disagree_are_refused(config):
    methods = Methods(weighters=(Asks("weighter.a", batches=BAGS(3)), Asks("weighter.b", batches=MIX(1, 9))))
    with pytest.raises(
        UserError, match=r"weighter\.a wants bags of 3 of one class, weighter\.b wants clean 1 : noisy 9"
    ):
        problems(methods, config)


def test_batches_that_agree_are_the_plans(config):
    methods = Methods(weighters=(Asks("weighter.a", batches=BAGS(3)), Asks("weighter.b", batches=BAGS(3)), Asks()))
    assert plans.examine(config, methods, data()).batches == BAGS(3)


def test_two_heads_are_refused(config):
    class Head(Asks, OnlinePart):
        head = True

    with pytest.raises(UserError, match=r"weighter\.a and weighter\.b"):
        problems(Methods(weighters=(Head("weighter.a"), Head("weighter.b"))), config)


def test_fine_tuning_needs_a_clean_subset(core):
    tuned = resolve({"tracking": None, "train.finetune_epochs": 2}, registry=core)
    assert "--clean 0.05" in problems(Methods(), tuned)[0]
    clean = {"clean": torch.ones(N, dtype=torch.bool), "trusted": Labels.of(torch.zeros(N))}
    assert problems(Methods(), tuned, **clean) == []


@pytest.mark.parametrize("stage", [{"targets": "mixed"}, {"batches": "mix:1:9"}])
def test_mixed_labels_and_mixed_batches_need_a_clean_subset(core, stage):
    mixed = resolve({"tracking": None, "stages": [{"name": "s", "epochs": 1, **stage}]}, registry=core)
    assert "--clean 0.05" in problems(Methods(), mixed)[0]
    clean = {"clean": torch.ones(N, dtype=torch.bool), "trusted": Labels.of(torch.zeros(N))}
    assert problems(Methods(), mixed, **clean) == []


def test_check_raises_every_unmet_need_in_a_line_each(config):
    methods = Methods(weighters=(Asks(rank=True, source=True),))
    with pytest.raises(UserError) as caught:
        plans.check(config, methods, data())
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "small-cnn"),
        ({"images": None, "features": torch.zeros(N, 4), "task": Task(classes=("a", "b"), feature_dim=4)}, "features"),
    ],
)
def test_a_run_that_names_no_backbone_gets_the_one_for_its_data(config, given, name):
    plan = plans.check(config, plans.make_methods(config), data(**given))
    assert list(plan.config.sockets["backbone"]) == [name]
    assert plan.methods.backbone.key == f"backbone.{name}"


def test_methods_are_made_with_their_key_and_their_configuration(core):
    made = plans.make_methods(resolve({"tracking": None, "backbone": {"small-cnn": {"width": 4}}}, registry=core))
    assert made.backbone.key == "backbone.small-cnn"
    assert made.backbone.config.width == 4


def test_a_factory_of_the_wrong_socket_is_refused_in_a_line(site):
    site.plugin("noisyrun-fake", "weighter", "fake")
    site.module("noisyrun_fake_method", "from noisyrun.api import PrototypeBuilder as Fake\n")
    registry = discover(Switches.of(only=["fake"], environ={}))
    config = resolve({"tracking": None, "weighter": "fake"}, registry=registry)
    with pytest.raises(UserError, match=r"weighter\.fake of noisyrun-fake 1\.0: .* must be a SampleWeighter"):
        plans.make_methods(config)


def test_the_cost_counts_steps_and_label_phases(core):
    small = {"tracking": None, "device": "cpu", "epochs": 6, "batch_size": 10, "backbone": {"small-cnn": {"width": 2}}}
    config = resolve({**small, "train.label_phase_every": 2}, registry=core)
    plan = plans.check(config, replace(plans.make_methods(config), weighters=(Asks(),)), data())
    found = cost.estimate(plan, data())
    assert found.steps == 6 * 3  # 24 samples in batches of 10
    assert found.rounds == 2  # four epochs after two of warm-up, every second
    assert found.total > found.training > 0
    assert found.bank == N * plan.methods.backbone(data().task).dim * 4


def test_the_cost_of_a_stage_grows_with_its_pixels(core, monkeypatch):
    monkeypatch.setattr(cost, "_time", lambda action, device: 1.0)
    stages = [{"name": "s", "epochs": 1}, {"name": "t", "epochs": 1, "resolution": 16}]
    given = {"tracking": None, "device": "cpu", "batch_size": 12, "backbone": {"small-cnn": {"width": 2}}}
    config = resolve({**given, "stages": stages}, registry=core)
    plan = plans.check(config, plans.make_methods(config), data())
    assert cost.estimate(plan, data()).training == pytest.approx(2 + 2 * 4)  # two steps of a second, then of four


def test_stages_of_steps_have_label_phases_by_epoch(core):
    stages = [{"name": "s", "steps": 7, "label_phase": "every:1"}, {"name": "t", "steps": 7, "label_phase": "once"}]
    made = resolve({"tracking": None, "stages": stages}, registry=core).settings.stages
    assert [cost.label_phases(stage, samples(), 10) for stage in made] == [3, 1]


def test_what_only_the_configuration_names_is_looked_for_with_the_plan(config):
    class Absent(Asks):
        def preflight(self):
            raise UserError("weighter.absent: no file 'x'")

    with pytest.raises(UserError, match="no file 'x'"):
        plans.examine(config, Methods(weighters=(Absent(),)), data())


def test_rounds_that_go_on_while_they_gain_need_noisy_validation(core):
    stages = [{"name": "first", "epochs": 1}, {"name": "again", "epochs": 1, "while_gains": True}]
    made = resolve({"tracking": None, "device": "cpu", "stages": stages}, registry=core)
    assert problems(Methods(), made) == ["stage again needs noisy validation; give --data.val a share above 0"]
