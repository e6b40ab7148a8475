"""A new package passes the conformance suite as it is written; bad wishes leave nothing behind."""

from __future__ import annotations

import runpy
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from noisyrun.api import API_VERSION, Method, UserError
from noisyrun.cli import main
from noisyrun.scaffold import SOCKETS, new_plugin
from noisyrun.testing import check_method


@pytest.mark.parametrize("kind", SOCKETS)
def test_a_new_package_passes_the_suite_and_its_own_tests(kind: str, tmp_path: Path, monkeypatch) -> None:
    name = f"fresh-{kind.replace('_', '-')}"
    files = [path.as_posix() for path in new_plugin(name, kind, tmp_path / "package")]
    module = f"noisyrun_{name.replace('-', '_')}"
    assert f"src/{module}/method.py" in files
    monkeypatch.syspath_prepend(tmp_path / "package" / "src")
    found = __import__(module)
    (record,) = found.noisyrun_plugins()
    assert (record.kind, record.name, record.api) == (kind, name, API_VERSION)
    assert len(check_method(record).passed) > 5
    tests = runpy.run_path(str(tmp_path / "package" / "tests" / f"test_{name.replace('-', '_')}.py"))
    own = [test for title, test in tests.items() if title.startswith("test_") and title != "test_conformance"]
    assert own
    for test in own:
        test()


def test_its_project_names_the_entry_point_by_which_it_is_found(tmp_path: Path) -> None:
    new_plugin("small-loss", "weighter", tmp_path / "p")
    project = tomllib.loads((tmp_path / "p" / "pyproject.toml").read_text())["project"]
    assert project["name"] == "noisyrun-small-loss"
    assert project["entry-points"]["noisyrun"] == {"small-loss": "noisyrun_small_loss"}


@pytest.mark.parametrize(
    ("name", "kind"), [("true", "weighter"), ("tensor", "weighter"), ("needs", "corrector"), ("plugin", "backbone")]
)
def test_a_name_that_python_or_the_contract_has_taken_makes_another_class(
    name: str, kind: str, tmp_path: Path, monkeypatch
) -> None:
    new_plugin(name, kind, tmp_path / "package")
    monkeypatch.syspath_prepend(tmp_path / "package" / "src")
    (record,) = __import__(f"noisyrun_{name}").noisyrun_plugins()
    module, title = record.factory.split(":")
    assert title == f"{name.capitalize()}Method"
    assert issubclass(getattr(import_module(module), title), Method)


def test_it_brings_the_licence_that_its_project_names(tmp_path: Path) -> None:
    new_plugin("small-loss", "weighter", tmp_path / "p")
    project = tomllib.loads((tmp_path / "p" / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    core = Path(__file__).resolve().parents[2]
    assert (tmp_path / "p" / "LICENSE").read_text() == (core / "LICENSE").read_text()


def test_the_command_that_installs_it_is_one_for_every_shell(tmp_path: Path) -> None:
    """Brackets that are not quoted are a pattern to zsh."""
    new_plugin("small-loss", "weighter", tmp_path / "p")
    assert "pip install -e '.[test]'\n" in (tmp_path / "p" / "README.md").read_text()


def test_no_placeholder_is_left(tmp_path: Path) -> None:
    for kind in SOCKETS:
        folder = tmp_path / kind
        for path in new_plugin("x", kind, folder):
            text = (folder / path).read_text()
            assert not [word for word in text.split() if word.startswith("@") and word.endswith("@")], path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "new-plugin: name the plugin first"),
        (["Small_Loss", "--socket", "weighter"], "a name is lower-case words joined by hyphens"),
        (["../up", "--socket", "weighter"], "a name is lower-case words joined by hyphens"),
        (["none", "--socket", "weighter"], "none says that a socket is empty"),
        (["small-loss"], "--socket: say which socket it fits: weighter, corrector"),
        (["small-loss", "--socket", "loss"], "--socket: must be one of weighter, corrector"),
        (["small-loss", "--socket", "weighter", "--out", "full"], "--out: full exists and is not empty"),
    ],
)
def test_bad_wishes_get_one_line_and_leave_nothing(words, said, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").write_text("mine")
    assert main(["new-plugin", *words]) == 2
    told = capsys.readouterr().err.strip()
    assert said in told
    assert "\n" not in told
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["full", "kept.txt"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        new_plugin("x", "weighter", tmp_path / "file" / "package")


def test_the_verb_says_what_comes_next(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", "small-loss", "--socket", "weighter"]) == 0
    told = capsys.readouterr()
    assert "noisyrun --weighter small-loss" in told.out
    assert told.err == ""
    assert (tmp_path / "noisyrun-small-loss" / "src" / "noisyrun_small_loss" / "method.py").exists()


@pytest.mark.parametrize(
    ("name", "socket", "said"),
    [
        ("features", "backbone", ["backbone 'features' comes with noisyrun 0"]),
        # Known from the catalogue, whether or not it is installed.
        ("smp", "corrector", ["corrector 'smp' comes with noisyrun-smp", "noisyrun-smp is another distribution"]),
        ("smp", "backbone", ["noisyrun-smp is another distribution"]),
    ],
)
def test_a_name_that_is_taken_is_warned_of(
    name: str, socket: str, said: list[str], tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", name, "--socket", socket]) == 0
    told = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"warning: {part}") for line, part in zip(told, said, strict=True)] == [True] * len(said)
    assert (tmp_path / f"noisyrun-{name}" / "LICENSE").exists()
