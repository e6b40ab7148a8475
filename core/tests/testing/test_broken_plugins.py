"""Every check of the suite catches a plugin that is broken in just the way it looks for."""

import broken_label_methods  # noqa: F401 (fills BROKEN)
import broken_networks
import pytest
import torch
from breaking import BROKEN, broken
from pydantic import ConfigDict, Field, field_serializer
from sound_plugins import SOUND, Online, Weighter

from noisyrun.api import API_VERSION, BAGS, Needs, Plugin, PluginConfig, SampleWeighter, hookimpl
from noisyrun.testing import check_method, checks, subject
from noisyrun.testing.subject import Subject


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


def test_half_precision_breaks_what_is_sound_in_full():
    full = named("losses-are-finite-scalars")
    for plugin in (broken_networks.SureOfItself, broken_networks.OneDtype):
        full(subject(plugin))


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
