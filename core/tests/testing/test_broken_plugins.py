"""Every check of the suite catches a plugin that is broken in just the way it looks for."""

import random

import pytest
import torch
from pydantic import ConfigDict, Field, field_serializer
from sound_plugins import SOUND, Builder, Corrector, Encoder, Net, Network, Online, Part, Weighter
from torch import nn

from noisyrun.api import (
    API_VERSION,
    BAGS,
    Needs,
    Plugin,
    PluginConfig,
    Prototypes,
    SampleWeighter,
    SideInfo,
    Targets,
    hookimpl,
)
from noisyrun.api.side_info import DenseRows
from noisyrun.testing import check_method, checks, subject
from noisyrun.testing.subject import Subject

BROKEN = []


def broken(check, message):
    """Take a class as one that a check catches with a message."""

    def take(plugin):
        BROKEN.append(pytest.param(check, plugin, message, id=f"{check}-{plugin.__name__}"))
        return plugin

    return take


def named(name):
    return next(check for check in checks() if check.name == name)


def with_config(config):
    """A weighter that is configured by this class."""
    return type(config.__name__, (Weighter,), {"__orig_bases__": (SampleWeighter[config],)})


class Lossy(PluginConfig):
    share: float = Field(0.5, description="A share.")

    @field_serializer("share")
    def _rounded(self, value):
        return round(value)


class Bare(PluginConfig):
    share: float = Field(description="A share.")


class Loose(PluginConfig):
    model_config = ConfigDict(frozen=False)
    share: float = Field(0.5, description="A share.")


class Open(PluginConfig):
    model_config = ConfigDict(extra="ignore")


class Mute(PluginConfig):
    share: float = 0.5


broken("config-round-trips", "read again")(with_config(Lossy))
broken("config-has-defaults", "share has no default")(with_config(Bare))
broken("config-is-frozen", "share can be set")(with_config(Loose))
broken("config-refuses-unknown-keys", "no_such_setting")(with_config(Open))
broken("config-describes-its-fields", "share has no description")(with_config(Mute))


@broken("needs-are-told", "labels")
class Strange(Weighter):
    needs = Needs(labels=frozenset({"dozens"}))


@broken("works-with-what-it-needs", "NoneType")
class Silent(Weighter):
    """Uses side information it never asked for."""

    def fit(self, bank, prototypes, side, phase):
        self.norm = float(side.class_embeddings.norm())


@broken("works-with-what-it-needs", "needs 1")
class SingleAlone(Corrector):
    """Says it takes several labels, and reads the one."""

    def correct(self, block, targets, prototypes, side):
        return Targets.hard(block.observed, 1.0)


@broken("works-with-more-than-it-needs", "not match|shape|size")
class Greedy(Weighter):
    """Uses what is there without looking at its shape."""

    def weigh(self, block, labels, prototypes, side):
        if side.class_embeddings is None:
            return super().weigh(block, labels, prototypes, side)
        return (block.features @ side.class_embeddings.T)[:, 0].abs()


@broken("weights-are-finite-and-not-negative", "at least 0")
class Negative(Weighter):
    def weigh(self, block, labels, prototypes, side):
        return torch.full((len(block),), -0.1)


@broken("weights-are-finite-and-not-negative", "not finite")
class Infinite(Weighter):
    def weigh(self, block, labels, prototypes, side):
        return torch.ones(len(block)) / (labels != 1).float()


@broken("targets-are-probabilities", "sum to 1")
class OffTheSimplex(Corrector):
    def correct(self, block, targets, prototypes, side):
        return Targets(block.top_classes[:, :2], torch.full((len(block), 2), 0.7), torch.ones(len(block)))


@broken("targets-are-probabilities", "name it once")
class Twice(Corrector):
    """Names a class twice; each value by itself is in bounds."""

    def correct(self, block, targets, prototypes, side):
        top = block.top_classes[:, :1]
        values = torch.full((len(block), 2), 0.5 if not block.bank.task.multi else 0.9)
        return Targets(top.repeat(1, 2), values, torch.ones(len(block)))


@broken("prototypes-stand-for-classes", "another class")
class Foreign(Builder):
    def build_class(self, c, bank, rows, side, phase):
        own = (bank.labels.classes != c).all(1).nonzero()[:1, 0]
        made = super().build_class(c, bank, own, side, phase)
        return Prototypes.of(made.vectors, rows=own.reshape(1, 1))


@broken("prototypes-stand-for-classes", "has no prototype")
class Absent(Builder):
    def build_class(self, c, bank, rows, side, phase):
        made = super().build_class(c, bank, rows, side, phase)
        return Prototypes.of(made.vectors, torch.full((1, 1), c != 2))


@broken("determined-by-the-seed", "two answers")
@broken("leaves-global-generators-alone", "torch's global")
class Dice(Weighter):
    def weigh(self, block, labels, prototypes, side):
        return torch.rand(len(block))


@broken("leaves-global-generators-alone", "Python's global")
class Shuffler(Corrector):
    def fit(self, bank, prototypes, side, phase):
        random.random()


@broken("order-of-rows-does-not-matter", "another order")
class Positional(Weighter):
    """Weighs by the place of a row in the bank."""

    def weigh(self, block, labels, prototypes, side):
        return block.rows.float() / len(block.bank)


@broken("order-of-rows-does-not-matter", "another order")
class FirstOfClass(Builder):
    def build_class(self, c, bank, rows, side, phase):
        return super().build_class(c, bank, rows[:5], side, phase)


@broken("size-of-blocks-does-not-matter", "blocks of seven")
@broken("judges-a-row-by-itself", "rows beside others")
class ByBlock(Weighter):
    """Sets weights off by the mean of the block."""

    def weigh(self, block, labels, prototypes, side):
        return (block.features[:, 0] - block.features[:, 0].mean()).abs()


@broken("state-is-tensors-and-json", "neither a tensor nor a JSON value")
class Opaque(Weighter):
    def state_dict(self):
        return {"norm": {1, 2}}


@broken("state-survives-a-checkpoint", "restored")
class Forgetful(Weighter):
    def state_dict(self):
        return {}


@broken("stays-within-memory", "MB allowed")
class Whole(Weighter):
    """Gathers all features at once."""

    def fit(self, bank, prototypes, side, phase):
        self.norm = float(torch.cat([block.features for block in bank.blocks()]).norm(dim=1).mean())


@broken("stays-within-memory", "MB allowed")
class Everyone(Corrector):
    """Forms scores of all samples and classes."""

    def fit(self, bank, prototypes, side, phase):
        torch.zeros(len(bank), bank.num_classes)


@broken("leaves-its-inputs-alone", "bank.features changed")
class InPlace(Weighter):
    def weigh(self, block, labels, prototypes, side):
        block.features.sub_(1.0)
        return torch.ones(len(block))


@broken("leaves-its-inputs-alone", "targets.values changed")
class Halving(Corrector):
    def correct(self, block, targets, prototypes, side):
        targets.values.mul_(0.5)
        return super().correct(block, targets, prototypes, side)


@broken("leaves-its-inputs-alone", "prototypes.vectors changed")
class Overwriting(Weighter):
    def fit(self, bank, prototypes, side, phase):
        prototypes.vectors.div_(2)


@broken("coarse-and-large-features-stay-finite", "not finite")
class Overflowing(Weighter):
    def weigh(self, block, labels, prototypes, side):
        return block.features.exp().sum(1)


@broken("takes-a-class-without-samples", "not finite")
class Divides(Weighter):
    def weigh(self, block, labels, prototypes, side):
        return 1 / block.bank.class_counts()[labels].float()


@broken("takes-a-class-with-one-sample", "not finite")
class Variance(Builder):
    def build_class(self, c, bank, rows, side, phase):
        return Prototypes.of(
            (bank.take(rows).features.var(0, correction=0) * len(rows) / (len(rows) - 1)).reshape(1, 1, -1)
        )


@broken("takes-features-that-are-all-equal", "not finite")
class Scaled(Weighter):
    def weigh(self, block, labels, prototypes, side):
        return block.features.norm(dim=1) / block.features.norm(dim=1)


@broken("takes-two-classes", "out of bounds")
class Top3(Corrector):
    def correct(self, block, targets, prototypes, side):
        return Targets.hard(block.top_classes[:, 2], 1.0)


@broken("takes-samples-without-label", "out of bounds|out of range|negative")
class Unpadded(Corrector):
    def fit(self, bank, prototypes, side, phase):
        torch.bincount(bank.labels.classes.flatten() if not bank.task.multi else torch.zeros(1).long())


@broken("takes-the-prototypes-of-others", "size|shape|multiplied")
class OwnSpace(Weighter):
    """Compares features with prototypes without embedding them."""

    def weigh(self, block, labels, prototypes, side):
        return (block.features @ prototypes.vectors[:, 0].T)[:, 0].abs()


@broken("gives-what-it-says", "gives names class_tokens")
class Promising(Encoder):
    gives = frozenset({"class_embeddings", "class_tokens"})


@broken("gives-what-it-says", "gives does not name")
class Secret(Encoder):
    gives = frozenset()


@broken("has-a-row-for-every-sample", "2 rows for 180 samples")
class Short(Encoder):
    def encode(self, task, text, before, phase):
        return SideInfo(sample_embeddings=DenseRows(torch.zeros(2, 3)))


@broken("features-have-the-width-it-says", "dim is 5")
class Wide(Network):
    def build(self, task):
        made = Net(task.channels, 4)
        made.dim = 5
        made.make_head = lambda dim, classes: nn.Linear(4, classes)
        return made


@broken("gradient-reaches-every-weight", "unused")
class Idle(Network):
    def build(self, task):
        made = Net(task.channels, 4)
        made.unused = nn.Linear(2, 2)
        return made


@broken("weights-load-into-another-network", "outside state_dict")
class Outside(Network):
    """Keeps a weight that is neither a parameter nor a buffer."""

    def build(self, task):
        made = Net(task.channels, 4)
        scale = torch.rand(4)
        made.features = lambda images: made.layer(images.mean((2, 3))) * scale
        return made


@broken("another-seed-draws-other-weights", "two seeds")
class Constant(Network):
    def build(self, task):
        made = Net(task.channels, 4)
        nn.init.ones_(made.layer.weight)
        nn.init.zeros_(made.layer.bias)
        made.make_head = lambda dim, classes: nn.Identity()
        return made


class Fixed(Constant):
    pass


@broken("losses-are-finite-scalars", "scalar")
class Vector(Online):
    def loss(self, part, batch, features, logits):
        return {"ce": logits.sum(1)}


@broken("gradient-reaches-the-part", "never learn|no gradient")
class Detached(Online):
    def loss(self, part, batch, features, logits):
        return {"ce": (logits.detach() * 0).sum() + features.mean()}


@broken("padding-counts-nothing", "batch.mask")
class CountsPadding(Online):
    def loss(self, part, batch, features, logits):
        return {"ce": logits.square().mean()}


@broken("a-batch-of-padding-is-finite", "all rows padding")
class DividesByNone(Online):
    def loss(self, part, batch, features, logits):
        return {"ce": (logits.square().mean(1) * batch.mask).sum() / batch.mask.sum()}


@broken("predictions-have-a-logit-for-each-class", "predict gives")
class Narrow(Online):
    def predict(self, part, features):
        return part.head(features)[:, :2]


@broken("the-part-is-not-kept", "keeps its part as mine")
class Keeper(Online):
    def part(self, dim, task):
        self.mine = Part(dim, task.num_classes)
        return self.mine


class Misheard:
    """An observer of a hook with an argument that the hook has not."""

    def __init__(self, config):
        self.config = config

    @hookimpl
    def noisyrun_epoch_end(self, result, mood):
        pass


@pytest.mark.parametrize(("check", "plugin", "message"), BROKEN)
def test_a_check_catches_what_it_looks_for(check, plugin, message):
    with pytest.raises(Exception, match=message):
        named(check)(subject(plugin))


def test_a_check_catches_an_observer_of_unknown_arguments():
    plugin = Subject("lifecycle.misheard", "lifecycle", Misheard, PluginConfig)
    with pytest.raises(AssertionError, match="mood"):
        named("hooks-are-known")(plugin)


def record(**fields):
    values = {"kind": "weighter", "name": "heavy", "api": API_VERSION, "summary": "Heavy.", "factory": "heavy:Heavy"}
    return Plugin(**{**values, "config": "heavy:HeavyConfig", **fields})


@pytest.fixture
def heavy(tmp_path, monkeypatch):
    """A module that holds a configuration and imports torch."""
    lines = ["import torch", "from noisyrun.api import PluginConfig, SampleWeighter"]
    lines += ["class HeavyConfig(PluginConfig): pass", "class Heavy(SampleWeighter[HeavyConfig]): pass"]
    (tmp_path / "heavy.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("heavy")
def test_a_check_catches_a_configuration_that_imports_torch():
    with pytest.raises(AssertionError, match="heavy also imports torch"):
        named("record-imports-no-torch")(subject(record()))


@pytest.mark.usefixtures("heavy")
def test_a_check_catches_a_record_of_another_contract():
    with pytest.raises(AssertionError, match=r"written for plugin API 7\.1"):
        named("record-is-complete")(subject(record(api="7.1")))


def test_there_is_a_broken_plugin_for_every_check():
    apart = {"hooks-are-known", "record-imports-no-torch", "record-is-complete"}
    assert {check.name for check in checks()} == {case.values[0] for case in BROKEN} | apart


@pytest.mark.parametrize("plugin", SOUND, ids=lambda plugin: plugin.__name__)
def test_a_sound_plugin_passes_everything(plugin):
    found = check_method(plugin)
    assert len(found.passed) >= 19
    assert not found.failed


def test_bags_are_given_where_they_are_asked_for():
    class Bagged(Online):
        needs = Needs(batches=BAGS(3))

        def loss(self, part, batch, features, logits):
            assert torch.equal(batch.bags, torch.arange(len(features)) // 3)
            for bag in batch.bags.unique():
                assert len(batch.labels.classes[batch.bags == bag].unique()) == 1
            return super().loss(part, batch, features, logits)

    assert "padding-counts-nothing" in check_method(Bagged).passed
