from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from noisyrun import runner
from noisyrun.api import UserError
from noisyrun.cli import VERBS, main
from noisyrun.config.settings import RunSettings

HEAVY = {"torch", "mlflow", "pandas", "sklearn", "timm", "transformers", "nltk", "pyarrow", "torchvision"}


@pytest.fixture
def cli(capsys):
    """Run a command; its exit code, stdout and stderr."""

    def command(line: str) -> tuple[int, str, str]:
        code = main(line.split())
        out, err = capsys.readouterr()
        return code, out, err

    return command


def loaded(words: list[str]) -> set[str]:
    """Modules that a command leaves imported, in a process of its own."""
    code = "import sys, json\nfrom noisyrun.cli import main\nassert main(sys.argv[1:]) == 0\n"
    code += "print('MODULES' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.rpartition("MODULES")[2]))


@pytest.mark.parametrize("line", ["--help", "plugins", "plugins --available", "plugins --json", "--version"])
def test_quick_commands_import_nothing_heavy_not_even_pydantic(line):
    assert not (HEAVY | {"pydantic", "rich"}) & loaded(line.split())


@pytest.mark.parametrize("line", ["--weighter sinet --prototypes smp --help", "--help all"])
def test_help_on_fields_imports_pydantic_but_nothing_heavy(line):
    assert not HEAVY & loaded(line.split())


def test_help_names_every_setting_and_every_group(cli):
    code, out, _ = cli("--help")
    assert code == 0
    for name in RunSettings.model_fields:
        assert f"--{name.replace('_', '-')}" in out, name
    for verb in VERBS:
        assert f"noisyrun {verb}" in out


def test_help_fits_eighty_columns(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for line in ("--help", "--help all", "--weighter sinet --help", "plugins"):
        assert max(map(len, cli(line)[1].splitlines())) <= 92, line  # an example may be longer than the text


def test_help_all_names_every_field(cli):
    from noisyrun.config.fields import is_bool, leaves

    out = cli("--help all")[1]
    for path, info in leaves(RunSettings):
        dashes = "--[no-]" if is_bool(info.annotation) else "--"
        assert dashes + ".".join(path).replace("_", "-") in out


def test_help_of_a_chosen_plugin_shows_its_fields_with_defaults_and_descriptions(cli, site):
    site.plugin(
        "noisyrun-fake", "weighter", "fake", fields='alpha: float = Field(1.5, gt=0, description="Shift, in m.")'
    )
    code, out, _ = cli("--weighter fake --help")
    assert code == 0
    assert "--weighter.alpha NUMBER" in out
    assert "Shift, in m. [default 1.5; > 0]" in out
    assert "noisyrun-fake 1.0" in out


def test_help_of_several_plugins_shows_the_long_form(cli, site):
    for name in ("one", "two"):
        site.plugin(f"noisyrun-{name}", "weighter", name, fields='alpha: float = Field(1.5, description="Shift.")')
    out = cli("--weighter one,two --help")[1]
    assert "--weighter.one.alpha" in out
    assert "--weighter.two.alpha" in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(cli, verb):
    for line in (f"{verb} --help", f"--help {verb}"):
        code, out, _ = cli(line)
        assert code == 0
        assert out.startswith(f"noisyrun {verb}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("plugin", "no verb 'plugin' (did you mean plugins?)"),
        ("--wieghter x", "--wieghter: no such option; did you mean --weighter?"),
        ("--help tran", "no topic 'tran' (did you mean train?)"),
        ("--backbone smal-cnn", "did you mean small-cnn"),
        ("--seed -1", "--seed: must be at least 0 (got -1)"),
        ("plugins --jsn", "--jsn: no such option here (did you mean --json?)"),
        ("resume", "give the folder of the run"),
        ("resume no/such/folder", "no folder no/such/folder"),
        ("detect --weighter x", "--features FILE"),
        ("detect --features f.npz --epochs 3", "--epochs: no option of detect"),
        ("detect --feature f.npz", "did you mean --features?"),
        ("--config no.toml", "--config: no file no.toml"),
        ("--disable-plugins", "--disable-plugins: needs a value"),
        ("plan --json 1", "--json: takes no value"),
    ],
)
def test_what_a_user_can_mend_is_one_line_on_stderr_and_exit_code_2(cli, line, message):
    code, out, err = cli(line)
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_run_that_works_exits_with_0_and_gets_what_was_asked_for(cli, monkeypatch):
    asked = []
    monkeypatch.setattr(runner, "run", asked.append)
    assert cli("--tracking none --epochs 3 --no-augment.flip")[0] == 0
    assert (asked[0].settings.epochs, asked[0].settings.augment.flip) == (3, False)


def fails_with(error):
    def run(config):
        raise error

    return run


def test_a_crash_exits_with_1_and_shows_traceback_and_where_to_look(cli, monkeypatch):
    monkeypatch.setattr(runner, "run", fails_with(ZeroDivisionError("oh")))
    code, _, err = cli("--tracking none")
    assert code == 1
    assert "Traceback" in err
    assert "ZeroDivisionError: oh" in err
    assert "noisyrun doctor" in err


def test_a_user_error_within_a_run_shows_no_traceback(cli, monkeypatch):
    monkeypatch.setattr(runner, "run", fails_with(UserError("photos/3.jpg: truncated")))
    assert cli("--tracking none") == (2, "", "photos/3.jpg: truncated\n")


def test_an_interrupted_run_exits_with_130_and_its_own_words(cli, monkeypatch):
    monkeypatch.setattr(runner, "run", fails_with(KeyboardInterrupt("interrupted; go on with: noisyrun resume x")))
    assert cli("--tracking none") == (130, "", "interrupted; go on with: noisyrun resume x\n")


def test_a_broken_plugin_nobody_chose_is_one_line_and_the_run_goes_on(cli, site, monkeypatch):
    site.install("noisyrun-bad", "raise RuntimeError('no')\n", version="3.2")
    monkeypatch.setattr(runner, "run", lambda config: None)
    code, _, err = cli("--tracking none")
    assert code == 0
    assert [line for line in err.splitlines() if "noisyrun-bad 3.2" in line]
    assert "Traceback" not in err


def test_a_broken_plugin_that_was_chosen_shows_its_own_traceback(cli, site):
    site.install("noisyrun-bad", "def inner():\n    raise RuntimeError('no')\ninner()\n")
    code, _, err = cli("--weighter bad")
    assert code == 1
    assert "in inner" in err
    assert "RuntimeError: no" in err


def test_an_unknown_plugin_is_said_along_with_what_was_left_out(cli, site):
    site.install("noisyrun-bad", "raise RuntimeError('no')\n")
    code, _, err = cli("--weighter unheard-of")
    assert code == 2
    assert "noisyrun-bad 1.0" in err.splitlines()[0]
    assert "no weighter 'unheard-of' is installed" in err.splitlines()[1]


def test_strict_raises_on_a_broken_plugin_nobody_chose(cli, site):
    site.install("noisyrun-bad", "raise RuntimeError('no')\n")
    code, _, err = cli("--strict --tracking none")
    assert code == 1
    assert "noisyrun-bad 1.0" in err


def test_a_plugin_is_switched_off_on_the_command_line(cli, site):
    site.plugin("noisyrun-fake", "weighter", "fake")
    assert "fake" in cli("plugins")[1]
    assert "noisyrun-fake" not in cli("plugins --disable-plugins fake")[1]
    assert "switched off" in cli("--weighter fake --disable-plugins noisyrun-fake")[2]


def test_plugins_as_json_say_where_each_comes_from(cli, site):
    site.plugin("noisyrun-fake", "weighter", "fake")
    rows = json.loads(cli("plugins --json")[1])["plugins"]
    [row] = [row for row in rows if row["package"] == "noisyrun-fake"]
    assert (row["kind"], row["name"], row["version"], row["installed"]) == ("weighter", "fake", "1.0", True)


def test_available_plugins_that_are_not_installed_are_listed_with_how_to_get_them(cli):
    rows = json.loads(cli("plugins --available --json --disable-plugins noisyrun-smp")[1])["plugins"]
    missing = {(row["kind"], row["name"]): row["install"] for row in rows if not row["installed"]}
    assert missing["corrector", "smp"] == "pip install ./plugins/smp in a checkout of noisyrun"


def test_schema_is_json_and_knows_the_chosen_plugins(cli, site):
    site.plugin("noisyrun-fake", "weighter", "fake", fields="alpha: float = 1.0")
    schema = json.loads(cli("schema --weighter fake --tracking none")[1])
    assert any("alpha" in model.get("properties", {}) for model in schema["$defs"].values())


def test_plan_shows_sockets_data_stages_and_cost(cli):
    code, out, _ = cli("plan --tracking none --epochs 1 --backbone.width 4 --backbone small-cnn --device cpu")
    assert code == 0
    for word in ("digits", "10 (single-label)", "small-cnn", "train", "1 epochs", "about", "Demonstration"):
        assert word in out


def test_plan_shows_names_of_classes_as_they_are(cli, tmp_path):
    names = np.array(["[/]", "[bold]x", "it\x1b[31m"])
    np.savez(tmp_path / "some.npz", features=np.eye(30), noisy_label=np.arange(30) % 3, classes=names)
    code, out, _ = cli(f"plan --dataset {tmp_path / 'some.npz'} --no-cost --tracking none")
    assert code == 0
    assert "[/], [bold]x, it\ufffd[31m" in " ".join(out.split())


def test_plan_shows_which_stage_has_no_parts_which_labels_and_which_batches(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    stage = 'name = "before"\nepochs = 1\nonline = false\ntargets = "mixed"\nbatches = "mix:1:9"\n'
    (tmp_path / "run.toml").write_text(f"[[stages]]\n{stage}")
    code, out, _ = cli(f"plan --tracking none --no-cost --clean 0.1 --config {tmp_path / 'run.toml'}")
    assert code == 0
    words = " ".join(out.split())
    assert "all, mixed labels, clean 1 : noisy 9 all, without parts" in words


def test_plan_as_json_is_the_whole_plan(cli):
    code, out, _ = cli("plan --tracking none --json --no-cost --device cpu")
    plan = json.loads(out)
    assert code == 0
    assert plan["cost"] is None
    assert plan["config"]["backbone"] == {"small-cnn": plan["config"]["backbone"]["small-cnn"]}
    assert plan["stages"][0]["name"] == "train"


def test_plan_shows_an_unmet_need_and_exits_with_2(cli):
    code, out, err = cli("plan --tracking none --no-cost --train.finetune-epochs 2")
    assert code == 2
    assert "✗ a trusted clean subset" in out
    assert err.startswith("stage finetune needs a trusted clean subset; ")


def test_doctor_finds_a_plugin_that_cannot_be_imported(cli, site):
    site.plugin("noisyrun-fake", "weighter", "fake")
    code, out, _ = cli("doctor --only-plugins fake")
    assert code == 1
    assert "weighter.fake" in out
    assert "No module named 'noisyrun_fake_method'" in " ".join(out.split())


def test_output_into_a_closed_pipe_is_no_crash():
    command = f"{sys.executable} -m noisyrun --help all | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.stdout
    assert done.stderr == ""
