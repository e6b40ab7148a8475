from __future__ import annotations

import json
import sys

import pytest

from noisyrun.api import UserError
from noisyrun.cli import main
from noisyrun.plugins import Switches, discover
from noisyrun.registry import BrokenPluginError


def switches(**given):
    return Switches.of(environ={}, **given)


def test_what_core_brings_is_found_like_everyones(site):
    registry = discover(switches())
    assert {("backbone", "small-cnn"), ("backbone", "features"), ("lifecycle", "mlflow")} <= set(registry.plugins)
    assert registry.get("backbone", "small-cnn").source.distribution == "noisyrun"


def test_an_installed_plugin_is_found_without_importing_what_it_is_made_of(site):
    site.plugin("noisyrun-fake", "weighter", "fake")
    registry = discover(switches())
    assert registry.get("weighter", "fake").source.version == "1.0"
    assert "noisyrun_fake_config" not in sys.modules
    assert "noisyrun_fake_method" not in sys.modules


def test_a_plugin_that_breaks_on_import_costs_one_line_and_leaves_the_others(site):
    site.install("noisyrun-bad", "raise RuntimeError('no such library')\n", version="2.1")
    site.plugin("noisyrun-fake", "weighter", "fake")
    registry = discover(switches())
    assert ("weighter", "fake") in registry.plugins
    [line] = [line for line in registry.complaints() if "noisyrun-bad" in line]
    assert "noisyrun-bad 2.1" in line
    assert "RuntimeError: no such library" in line
    assert "\n" not in line


def test_a_hook_that_raises_midway_is_isolated(site):
    site.install(
        "noisyrun-bad",
        """
        from noisyrun.api import hookimpl
        @hookimpl
        def noisyrun_plugins():
            yield from ()
            raise KeyError("oops")
        """,
    )
    site.plugin("noisyrun-fake", "weighter", "fake")
    registry = discover(switches())
    assert ("weighter", "fake") in registry.plugins
    assert any("noisyrun-bad 1.0" in line and "oops" in line for line in registry.complaints())


def test_a_hook_of_the_wrong_signature_is_isolated(site):
    site.install(
        "noisyrun-bad",
        "from noisyrun.api import hookimpl\n@hookimpl\ndef noisyrun_plugins(surprise):\n    return []\n",
    )
    assert any("noisyrun-bad 1.0" in line for line in discover(switches()).complaints())


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("def noisyrun_plugins():\n    return []\n", "nothing marked @hookimpl"),
        ("from noisyrun.api import hookimpl\n@hookimpl\ndef noisyrun_plugin():\n    return []\n", "noisyrun_plugin"),
    ],
)
def test_a_module_without_a_hook_we_know_is_said(site, source, word):
    site.install("noisyrun-bad", source)
    [line] = [line for line in discover(switches()).complaints() if "noisyrun-bad 1.0" in line]
    assert word in line


@pytest.mark.parametrize(("answer", "word"), [("'a string'", "str"), ("3", "int"), ("None", "NoneType")])
def test_a_record_that_is_no_plugin_is_isolated(site, answer, word):
    source = f"from noisyrun.api import hookimpl\n@hookimpl\ndef noisyrun_plugins():\n    yield {answer}\n"
    site.install("noisyrun-bad", source)
    registry = discover(switches())
    assert any("noisyrun-bad 1.0" in line and word in line for line in registry.complaints())
    assert ("backbone", "small-cnn") in registry.plugins


def test_a_record_of_an_unknown_kind_is_isolated(site):
    site.plugin("noisyrun-bad", "optimiser", "sgd")
    assert any("noisyrun-bad 1.0" in line and "kind" in line for line in discover(switches()).complaints())


def test_a_chosen_plugin_that_broke_on_import_raises_its_own_error(site):
    site.install("noisyrun-bad", "import a_library_that_is_not_there\n")
    registry = discover(switches())
    with pytest.raises(BrokenPluginError, match=r"noisyrun-bad 1\.0") as caught:
        registry.get("weighter", "bad")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_chosen_plugin_whose_configuration_cannot_be_imported_raises_its_own_error(site):
    site.plugin("noisyrun-fake", "weighter", "fake")
    site.module("noisyrun_fake_config", "1 / 0\n")
    with pytest.raises(BrokenPluginError, match=r"weighter\.fake of noisyrun-fake 1\.0") as caught:
        discover(switches()).config_class("weighter", "fake")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_configuration_that_is_no_plugin_config_is_refused_in_a_line(site):
    site.plugin("noisyrun-fake", "weighter", "fake")
    site.module("noisyrun_fake_config", "Config = dict\n")
    with pytest.raises(UserError, match="must be a PluginConfig"):
        discover(switches()).config_class("weighter", "fake")


@pytest.mark.parametrize(
    ("api", "remedy"), [("1.1", "newer noisyrun"), ("2.0", "newer noisyrun"), ("0.9", "newer version of the plugin")]
)
def test_a_plugin_for_another_api_is_left_out_with_the_remedy(site, api, remedy):
    site.plugin("noisyrun-fake", "weighter", "fake", api=api)
    registry = discover(switches())
    assert ("weighter", "fake") not in registry.plugins
    with pytest.raises(UserError, match=remedy) as caught:
        registry.get("weighter", "fake")
    assert api in str(caught.value)
    assert "noisyrun-fake 1.0" in str(caught.value)


def test_two_plugins_of_one_name_are_an_error_that_names_both_distributions(site):
    site.plugin("noisyrun-one", "weighter", "fake")
    site.plugin("noisyrun-two", "weighter", "fake")
    registry = discover(switches())
    with pytest.raises(UserError) as caught:
        registry.get("weighter", "fake")
    assert "noisyrun-one 1.0" in str(caught.value)
    assert "noisyrun-two 1.0" in str(caught.value)
    assert sum("noisyrun-one" in line for line in registry.complaints()) == 1


def test_three_plugins_of_one_name_are_all_named(site):
    for number in ("one", "two", "three"):
        site.plugin(f"noisyrun-{number}", "weighter", "fake")
    with pytest.raises(UserError, match=r"noisyrun-one 1\.0 and noisyrun-three 1\.0 and noisyrun-two 1\.0"):
        discover(switches()).get("weighter", "fake")


def test_nobody_takes_a_name_of_core_unnoticed(site):
    site.plugin("noisyrun-taker", "backbone", "small-cnn")
    with pytest.raises(UserError, match=r"noisyrun-taker 1\.0; .* --disable-plugins noisyrun-taker$"):
        discover(switches()).get("backbone", "small-cnn")
    remedied = discover(switches(disable=["noisyrun-taker"]))
    assert remedied.get("backbone", "small-cnn").source.distribution == "noisyrun"


def test_a_taken_name_is_free_again_when_one_of_the_two_is_switched_off(site):
    site.plugin("noisyrun-one", "weighter", "fake")
    site.plugin("noisyrun-two", "weighter", "fake")
    found = discover(switches(disable=["noisyrun-one"])).get("weighter", "fake")
    assert found.source.distribution == "noisyrun-two"


def test_the_same_name_in_two_sockets_is_no_collision(site):
    site.plugin("noisyrun-one", "weighter", "fake")
    site.plugin("noisyrun-two", "corrector", "fake")
    assert discover(switches()).collisions == {}


@pytest.mark.parametrize("word", ["fake", "weighter.fake", "noisyrun-fake", "noisyrun_fake", "Noisyrun-Fake"])
def test_a_plugin_is_switched_off_by_any_of_its_names(site, word):
    site.plugin("noisyrun-fake", "weighter", "fake")
    registry = discover(switches(disable=[word]))
    with pytest.raises(UserError, match="switched off"):
        registry.get("weighter", "fake")


def test_a_distribution_that_is_switched_off_is_not_imported(site):
    site.install("noisyrun-bad", "raise SystemError\n")
    assert not any("noisyrun-bad" in line for line in discover(switches(disable=["noisyrun-bad"])).complaints())


def test_only_leaves_the_named_plugins_and_those_of_core(site):
    site.plugin("noisyrun-one", "weighter", "one")
    site.plugin("noisyrun-two", "weighter", "two")
    site.install("noisyrun-bad", "raise SystemError\n")
    registry = discover(switches(only=["one"]))
    assert registry.names("weighter") == ["one"]
    assert ("backbone", "small-cnn") in registry.plugins
    assert registry.complaints() == []


LOUD = """
import pathlib
pathlib.Path(__file__).with_name("was-imported").touch()
from noisyrun.api import Plugin, Recipe, hookimpl
@hookimpl
def noisyrun_plugins():
    yield Plugin(kind="weighter", name="loud", api="1.0", summary="A fake.", factory="a:B", config="a:C")
@hookimpl
def noisyrun_recipes():
    yield Recipe(name="loud-recipe", summary="A fake.", package="a", path="b.toml")
"""


@pytest.mark.parametrize("entry", ["loud", "one", "noisyrun-one", "sinet", "core"])
def test_what_is_not_on_the_list_is_not_imported_whatever_it_calls_itself(site, entry):
    site.plugin("noisyrun-one", "weighter", "one")
    site.install("noisyrun-loud", LOUD, entry=entry)
    registry = discover(switches(only=["one"]))
    assert registry.names("weighter") == ["one"]
    assert not (site.folder / "was-imported").exists()
    assert "noisyrun-loud" in registry.unread
    assert "noisyrun-one" not in registry.unread
    assert "loud" in discover(switches(only=["noisyrun_loud"])).names("weighter")
    assert (site.folder / "was-imported").exists()


def test_a_plugin_of_a_distribution_that_is_not_read_is_one_line_that_says_so(site):
    site.install("noisyrun-loud", LOUD)
    registry = discover(switches(only=["core"]))
    says = r"limited to core \(--only-plugins, NOISYRUN_ONLY_PLUGINS\); not read: .*noisyrun-loud"
    for ask in (
        lambda: registry.get("weighter", "loud"),
        lambda: registry.get("weighter", "sinet"),
        lambda: registry.get("weighter", "unheard-of"),
        lambda: registry.recipe("loud-recipe"),
    ):
        with pytest.raises(UserError, match=says) as refused:
            ask()
        assert "\n" not in str(refused.value)
    assert discover(switches()).limit() is None


def test_a_plugin_of_the_catalogue_is_then_the_only_one_of_its_distribution(site):
    registry = discover(switches(only=["urnet-class"]))
    assert [name for name in registry.names("weighter") if name.startswith("urnet")] == ["urnet-class"]
    assert "noisyrun-urnet" not in registry.unread


def test_the_flag_narrows_what_the_environment_allows_and_never_widens_it():
    def only(words, allowed):
        return Switches.of(only=words, environ={"NOISYRUN_ONLY_PLUGINS": allowed}).only

    assert only(None, "sinet, smp") == ("sinet", "smp")
    assert only(["noisyrun-smp"], "sinet, smp") == ("noisyrun-smp",)
    assert only(["urnet-class"], "urnet") == ("urnet-class",)
    assert only(["core"], "sinet") == ("core",)
    for word, allowed in (("timm", "sinet,smp"), ("urnet", "urnet-class"), ("urnet-source", "urnet-class")):
        with pytest.raises(UserError, match=f"NOISYRUN_ONLY_PLUGINS .* leaves out '{word}'"):
            only([word], allowed)


def test_listing_and_doctor_say_what_plugins_are_limited_to(monkeypatch, capsys):
    monkeypatch.setenv("NOISYRUN_ONLY_PLUGINS", "sinet")
    assert main(["plugins"]) == 0
    assert (
        "\n\nlimited to core, sinet (--only-plugins, NOISYRUN_ONLY_PLUGINS); not read: noisyrun-"
        in capsys.readouterr().out
    )
    assert main(["plugins", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["only"] == ["sinet"]
    assert {row["package"] for row in told["plugins"]} == {"noisyrun", "noisyrun-sinet"}
    assert "noisyrun-smp" in told["not_read"]
    main(["doctor"])
    assert "limited to core, sinet" in " ".join(capsys.readouterr().out.split())


def test_the_environment_switches_plugins_off(site):
    site.plugin("noisyrun-one", "weighter", "one")
    site.plugin("noisyrun-two", "weighter", "two")
    off = discover(Switches.of(environ={"NOISYRUN_DISABLE_PLUGINS": "one, noisyrun-sinet"}))
    only = discover(Switches.of(environ={"NOISYRUN_ONLY_PLUGINS": "one"}))
    assert "one" not in off.names("weighter")
    assert "two" in off.names("weighter")
    assert only.names("weighter") == ["one"]


def test_a_switch_for_something_that_is_not_there_is_said(site):
    site.plugin("noisyrun-fake", "weighter", "fake")
    [line] = discover(switches(only=["fake"], disable=["fale"])).complaints()
    assert "'fale'" in line
    assert "did you mean fake" in line


def test_strict_raises_on_a_broken_plugin_nobody_chose(site):
    site.install("noisyrun-bad", "raise RuntimeError('no')\n")
    with pytest.raises(BrokenPluginError, match="noisyrun-bad"):
        discover(switches(strict=True))


def test_strict_raises_on_a_taken_name_nobody_chose(site):
    site.plugin("noisyrun-one", "weighter", "fake")
    site.plugin("noisyrun-two", "weighter", "fake")
    with pytest.raises(UserError, match="noisyrun-two"):
        discover(switches(strict=True))


def test_strict_raises_on_an_older_api(site):
    site.plugin("noisyrun-old", "weighter", "fake", api="0.8")
    with pytest.raises(UserError, match="noisyrun-old"):
        discover(switches(strict=True))


RECIPE = """
from noisyrun.api import Recipe, hookimpl
@hookimpl
def noisyrun_recipes():
    yield Recipe(name="quick", summary="Quick.", package="noisyrun_{0}", path="quick.toml")
"""


def test_a_recipe_of_two_distributions_is_an_error_that_names_both(site):
    site.install("noisyrun-one", RECIPE.format("one"))
    site.install("noisyrun-two", RECIPE.format("two"))
    with pytest.raises(UserError, match=r"noisyrun-one 1\.0 and noisyrun-two 1\.0"):
        discover(switches()).recipe("quick")


def test_a_recipe_nobody_brings_is_an_error_with_a_suggestion(site):
    site.install("noisyrun-one", RECIPE.format("one"))
    with pytest.raises(UserError, match="did you mean quick"):
        discover(switches()).recipe("quik")
