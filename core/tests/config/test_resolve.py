from __future__ import annotations

import json
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisyrun.api import UserError
from noisyrun.config import resolve as configuration
from noisyrun.config.resolve import RunConfig, resolve
from noisyrun.plugins import Switches, discover

FIELDS = """
alpha: float = Field(1.0, gt=0, description="Shift.")
mode: Literal["soft", "hard"] = Field("soft", description="Mode.")
ks: tuple[int, ...] = Field((1, 2), description="Counts.")
keep_all: bool = Field(False, description="Keep.")
options: dict[str, float] = Field(default_factory=dict, description="Free.")
"""


@pytest.fixture
def registry(site):
    """One weighter `one`, another `two`, a corrector `one`, a builder `protos`, and a recipe `paper`."""
    site.plugin("noisyrun-one", "weighter", "one", fields=FIELDS)
    site.plugin("noisyrun-two", "weighter", "two", fields='beta: int = Field(1, description="x")\nalpha: float = 2.0')
    site.plugin("noisyrun-three", "corrector", "one", fields=FIELDS)
    site.plugin("noisyrun-protos", "prototypes", "protos")
    site.install(
        "noisyrun-paper",
        """
        from noisyrun.api import Recipe, hookimpl
        @hookimpl
        def noisyrun_recipes():
            yield Recipe(name="paper", summary="x", package="papers", path="paper.toml")
        """,
    )
    (site.folder / "papers").mkdir()
    (site.folder / "papers" / "__init__.py").write_text("")
    (site.folder / "papers" / "paper.toml").write_text(
        'epochs = 100\nseed = 9\n[train.optimizer]\nlr = 0.3\n[weighter.one]\nalpha = 3.0\nmode = "hard"\n'
    )
    only = ["one", "two", "noisyrun-three", "protos", "paper", "noisyrun-paper"]
    return discover(Switches.of(only=only, environ={}))


@pytest.fixture
def run(registry):
    def resolved(line: str = "", overrides=None, **given) -> RunConfig:
        return resolve(overrides, args=["--tracking", "none", *line.split()], registry=registry, **given)

    return resolved


@pytest.fixture
def problem(run):
    def message(line: str = "", overrides=None, **given) -> str:
        with pytest.raises(UserError) as caught:
            run(line, overrides, **given)
        return str(caught.value)

    return message


def test_the_short_form_reaches_the_only_plugin_of_a_socket(run):
    made = run("--weighter one --prototypes protos --weighter.alpha 1.2")
    assert made.sockets["weighter"]["one"].alpha == 1.2
    assert list(made.sockets["prototypes"]) == ["protos"]


def test_flags_may_come_in_any_order(run):
    assert run("--weighter.alpha 1.2 --weighter one").sockets["weighter"]["one"].alpha == 1.2


def test_several_plugins_stack_in_the_order_they_are_named(run):
    assert list(run("--weighter two,one").sockets["weighter"]) == ["two", "one"]


def test_with_several_plugins_a_flag_names_one(run):
    made = run("--weighter one,two --weighter.one.alpha 1.5 --weighter.two.alpha 2.5").sockets["weighter"]
    assert (made["one"].alpha, made["two"].alpha) == (1.5, 2.5)


def test_with_several_plugins_the_short_form_lists_the_candidates(problem):
    message = problem("--weighter one,two --weighter.alpha 1.5")
    assert "--weighter.one.alpha or --weighter.two.alpha" in message


def test_with_several_plugins_only_those_that_have_the_field_are_candidates(problem):
    message = problem("--weighter one,two --weighter.beta 1")
    assert "--weighter.two.beta" in message
    assert "--weighter.one.beta" not in message


def test_the_long_form_works_with_one_plugin_too(run):
    assert run("--weighter one --weighter.one.alpha=4").sockets["weighter"]["one"].alpha == 4


@pytest.mark.parametrize("flag", ["--weighter.keep-all", "--weighter.keep_all", "--weighter.keep-all=yes"])
def test_dashes_and_underscores_are_one_in_flags(run, flag):
    assert run(f"--weighter one {flag}").sockets["weighter"]["one"].keep_all is True


def test_yes_or_no_settings_stand_alone_or_negated(run):
    assert run("--baseline").settings.baseline is True
    assert run("--no-baseline", {"baseline": True}).settings.baseline is False
    assert run("--no-augment.flip").settings.augment.flip is False
    assert run("--augment.no-flip").settings.augment.flip is False


@pytest.mark.parametrize("text", ["3,4", "[3,4]"])
def test_lists_are_commas_or_json(run, text):
    assert run(f"--weighter one --weighter.ks {text}").sockets["weighter"]["one"].ks == (3, 4)


def test_a_free_dictionary_is_filled_key_by_key(run):
    made = run("--weighter one --weighter.options.drop 0.5").sockets["weighter"]["one"]
    assert made.options == {"drop": 0.5}


def test_none_empties_a_socket(run):
    assert run("--weighter none", {"weighter": "one"}).sockets["weighter"] == {}


def test_a_group_can_be_given_as_json(run):
    made = run('--train.optimizer {"lr":0.2} --train.optimizer.momentum 0.5').settings.train.optimizer
    assert (made.lr, made.momentum) == (0.2, 0.5)


def test_only_chosen_plugins_are_imported(run):
    run("--weighter one")
    assert "noisyrun_one_config" in sys.modules
    assert "noisyrun_two_config" not in sys.modules
    assert "noisyrun_one_method" not in sys.modules


# ---- errors


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--weighter one --weighter.alpha -1", "--weighter.alpha: must be greater than 0 (got -1)"),
        ("--weighter one --weighter.alpha x", "--weighter.alpha: must be a number (got x)"),
        ("--weighter one --weighter.alpha", "--weighter.alpha: needs a value"),
        ("--weighter one --weighter.alpha nan", "--weighter.alpha: must be a finite number (got nan)"),
        ("--weighter one --weighter.ks 1,x", "--weighter.ks[1]: must be a whole number (got x)"),
        ("--seed 1.5", "--seed: must be a whole number (got 1.5)"),
        ("--data.val 1", "--data.val: must be less than 1 (got 1)"),
        ("--bank.memory lots", "--bank.memory: is not written as it must be: Memory a label phase may take"),
        ("--baseline maybe", "--baseline: must be yes or no (got maybe)"),
        ("--no-seed", "--no-seed: cannot be switched off with --no-; give it a value"),
        ("--weighter", "--weighter: needs the name of a plugin, or none"),
        ("--prototypes protos,protos2", "--prototypes: takes one plugin (got protos, protos2)"),
        ("--weighter one,one", "--weighter: names a plugin twice (one, one)"),
        ("--weighter.alpha 1", "--weighter.alpha: no weighter is chosen; add --weighter NAME"),
        ("--weighter.one.alpha 1", "--weighter.one.alpha: no weighter is chosen; add --weighter one"),
        ("--weighter two --weighter.one.alpha 1", "--weighter.one.alpha: weighter 'one' is not chosen"),
    ],
)
def test_errors_are_one_line_that_names_the_flag(problem, line, message):
    assert problem(line).startswith(message)
    assert len(problem(line).splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("--wieghter one", "did you mean --weighter?"),
        ("--weighter one --weighter.alhpa 1", "did you mean --weighter.alpha?"),
        ("--weighter one --alpha 1", "did you mean --weighter.alpha?"),
        ("--weighter one,two --weighter.one.alhpa 1", "did you mean --weighter.one.alpha?"),
        ("--lr 0.1", "did you mean --train.optimizer.lr?"),
        ("--train.optimiser.lr 0.1", "did you mean --train.optimizer.lr?"),
        ("--datset x", "did you mean --dataset?"),
        ("--weighter oen", "did you mean one"),
        ("--weighter one --weighter.mode sotf", "did you mean soft?"),
        ("--bank.space centered", "did you mean centred?"),
        ("--confg x", "did you mean --config?"),
    ],
)
def test_what_is_misspelt_is_answered_with_what_may_have_been_meant(problem, line, meant):
    assert meant in problem(line)


def test_several_errors_are_a_line_each(problem):
    lines = problem("--weighter one --weighter.alpha -1 --seed x --bank.top 0 --nonsense 1").splitlines()
    assert len(lines) == 4


def test_errors_of_stages_name_the_stage(problem):
    stages = [{"name": "a", "epochs": 1, "sampels": "all"}, {"name": "b", "epochs": 0}]
    lines = problem("", {"stages": stages}).splitlines()
    assert lines[0].startswith("stages[0].sampels: is no setting; did you mean samples?")
    assert lines[1].startswith("stages[1].epochs: must be at least 1")


# ---- files, recipes, Python


def write(tmp_path, text, name="run.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_file_chooses_plugins_by_name_by_list_or_by_table(run, tmp_path):
    by_name = write(tmp_path, 'weighter = "one"\n[train.optimizer]\nlr = 0.2\n')
    by_list = write(tmp_path, 'weighter = ["two", "one"]\n', "b.toml")
    by_table = write(tmp_path, "[weighter.two]\nbeta = 5\n[weighter.one]\n", "c.toml")
    assert run(config=by_name).settings.train.optimizer.lr == 0.2
    assert list(run(config=by_list).sockets["weighter"]) == ["two", "one"]
    made = run(config=by_table).sockets["weighter"]
    assert (list(made), made["two"].beta) == (["two", "one"], 5)


def test_a_file_may_use_the_short_form(run, tmp_path):
    path = write(tmp_path, "[weighter]\nalpha = 7\n")
    assert run("--weighter one", config=path).sockets["weighter"]["one"].alpha == 7


def test_stages_are_tables_of_a_file(run, tmp_path):
    path = write(tmp_path, '[[stages]]\nname = "a"\nepochs = 2\n[[stages]]\nname = "b"\nsteps = 5\n')
    assert [stage.name for stage in run(config=path).settings.stages] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[weighter.one]\nalpha = -1\n", "run.toml: weighter.one.alpha: must be greater than 0 (got -1)"),
        ("[weighter.one]\nalhpa = 1\n", "run.toml: weighter.one.alhpa: no such option; did you mean weighter.alpha?"),
        ("[bank]\nspcae = 'raw'\n", "run.toml: bank.spcae: no such option; did you mean bank.space?"),
        ("weighter = 'oen'\n", "run.toml: weighter: no weighter 'oen' is installed; did you mean one"),
        ("weighter = 3\n", "run.toml: weighter: must be a plugin's name"),
        ("train = 3\n", "run.toml: train: must be a table of settings (got 3)"),
        ("seed = {a = 1}\n", "run.toml: seed.a: no such option"),
        ("seed = [\n", "run.toml: is no valid TOML"),
    ],
)
def test_errors_of_a_file_name_the_file_and_the_key(problem, tmp_path, text, message):
    assert problem(config=write(tmp_path, text)).startswith(message)


def test_a_file_that_is_not_there_is_said(problem, tmp_path):
    assert "no file" in problem(f"--config {tmp_path}/none.toml")


def test_a_folder_in_place_of_a_file_is_said(problem, tmp_path):
    assert "cannot be read" in problem(f"--config {tmp_path}")


def test_a_recipe_gives_sockets_and_settings(run):
    made = run("--recipe paper")
    assert made.settings.recipe == "paper"
    assert made.settings.epochs == 100
    assert made.sockets["weighter"]["one"].mode == "hard"


def test_defaults_give_way_to_recipe_to_file_to_python_to_flags(run, tmp_path):
    path = write(tmp_path, "seed = 8\nbatch_size = 8\n[train.optimizer]\nmomentum = 0.1\n[weighter.one]\nalpha = 4\n")
    made = run("--seed 6 --weighter.one.alpha 6", {"seed": 7, "batch_size": 7}, config=path)
    assert (made.settings.seed, made.settings.batch_size, made.settings.epochs) == (6, 7, 20)
    made = run("--recipe paper", {"seed": 7}, config=path)
    assert (made.settings.seed, made.settings.batch_size, made.settings.epochs) == (7, 8, 100)
    assert (made.settings.train.optimizer.lr, made.settings.train.optimizer.momentum) == (0.3, 0.1)
    assert (made.sockets["weighter"]["one"].alpha, made.sockets["weighter"]["one"].mode) == (4, "hard")


def test_a_recipe_can_be_named_in_a_file(run, tmp_path):
    assert run(config=write(tmp_path, 'recipe = "paper"\n')).settings.epochs == 100


def test_settings_of_a_recipes_plugin_fall_away_with_the_plugin(run):
    made = run("--recipe paper --weighter two")
    assert list(made.sockets["weighter"]) == ["two"]
    assert made.sockets["weighter"]["two"].alpha == 2.0


def test_an_error_in_a_recipe_names_it(problem, site):
    (site.folder / "papers" / "paper.toml").write_text("epochs = 0\n")
    assert problem("--recipe paper").startswith("recipe paper: epochs: must be at least 1 (got 0)")


@pytest.mark.parametrize(
    "overrides",
    [
        {"weighter": "one", "weighter.alpha": 1.5, "train.optimizer.lr": 0.2},
        {"weighter": {"one": {"alpha": 1.5}}, "train": {"optimizer": {"lr": 0.2}}},
        {"weighter": ["one"], "weighter.one.alpha": 1.5, "train.optimizer": {"lr": 0.2}},
    ],
)
def test_python_gives_nested_tables_or_dotted_keys(run, overrides):
    made = run("", overrides)
    assert made.sockets["weighter"]["one"].alpha == 1.5
    assert made.settings.train.optimizer.lr == 0.2


def test_python_may_hand_over_configuration_objects(run, registry):
    wanted = registry.config_class("weighter", "one")(alpha=9)
    assert run("", {"weighter": {"one": wanted}}).sockets["weighter"]["one"] == wanted


# ---- the resolved configuration


def test_a_resolved_configuration_survives_json(run, registry):
    made = run("--recipe paper --weighter two,one --corrector one --out somewhere --train.schedule.milestones 3,6")
    values = json.loads(json.dumps(made.as_dict()))
    assert RunConfig.from_dict(values, registry) == made
    assert list(RunConfig.from_dict(values, registry).sockets["weighter"]) == ["two", "one"]


def test_a_resolved_configuration_is_a_configuration_file(run, registry, tmp_path):
    made = run("--recipe paper --weighter two,one --weighter.two.beta 4")
    path = write(tmp_path, json.dumps(made.as_dict()), "config.json")
    assert resolve(config=path, registry=registry) == made


def test_an_old_configuration_that_no_longer_fits_is_said_in_a_line(run, registry):
    values = run("--weighter one").as_dict()
    values["weighter"]["one"]["gone"] = 1
    with pytest.raises(UserError, match=r"weighter\.one\.gone: is no setting"):
        RunConfig.from_dict(values, registry)


def test_flat_gives_text_under_dotted_names(run):
    flat = run("--weighter one --train.optimizer.lr 0.25").flat()
    assert flat["weighter.one.alpha"] == "1.0"
    assert flat["train.optimizer.lr"] == "0.25"
    assert flat["corrector"] == "none"
    assert all(isinstance(value, str) for value in flat.values())


def test_schema_admits_the_fields_of_chosen_plugins(run):
    schema = run("--weighter one").schema()
    [table] = [kind for kind in schema["properties"]["weighter"]["anyOf"] if kind["type"] == "object"]
    name = table["properties"]["one"]["$ref"].rpartition("/")[2]
    assert schema["$defs"][name]["properties"]["alpha"]["exclusiveMinimum"] == 0
    assert "epochs" in schema["properties"]


def test_a_run_is_tracked_by_default_where_the_tracker_can_be(registry, monkeypatch):
    monkeypatch.setattr(configuration, "find_spec", lambda name: object())
    assert list(resolve(registry=registry).sockets["lifecycle"]) == ["mlflow"]


def test_without_the_trackers_package_a_run_is_not_tracked_and_says_so(registry, monkeypatch):
    monkeypatch.setattr(configuration, "find_spec", lambda name: None)
    made = resolve(registry=registry)
    assert made.sockets["lifecycle"] == {}
    assert "not tracked" in made.notes[0]
    assert resolve({"tracking": None}, registry=registry).notes == ()


SOCKETS = st.sampled_from(["none", "one", "two", "one,two", "two,one"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    weighter=SOCKETS,
    alpha=st.floats(0.01, 100),
    lr=st.floats(1e-6, 10),
    seed=st.integers(0, 2**31 - 1),
    flip=st.sampled_from([None, True, False]),
    milestones=st.lists(st.integers(0, 100), max_size=3),
)
def test_the_command_line_python_and_json_agree(weighter, alpha, lr, seed, flip, milestones, registry):
    names = [] if weighter == "none" else weighter.split(",")
    overrides = {"weighter": names, "seed": seed, "augment.flip": flip, "train.optimizer.lr": lr, "tracking": None}
    overrides["train.schedule.milestones"] = milestones
    words = ["--weighter", weighter, f"--seed={seed}", f"--train.optimizer.lr={lr!r}", "--tracking", "none"]
    words += ["--train.schedule.milestones", ",".join(map(str, milestones))]
    words += {None: ["--augment.flip", "none"], True: ["--augment.flip"], False: ["--no-augment.flip"]}[flip]
    for name in names:
        overrides[f"weighter.{name}.alpha"] = alpha
        words.append(f"--weighter.{name}.alpha={alpha!r}")
    from_python = resolve(overrides, registry=registry)
    assert resolve(args=words, registry=registry) == from_python
    assert RunConfig.from_dict(json.loads(json.dumps(from_python.as_dict())), registry) == from_python
