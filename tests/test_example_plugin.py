"""The example plugin of the authoring guide: built, installed, used by name; and what is said where it does not fit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from noisyrun.api import API_VERSION
from noisyrun.api.plugin import fits

#: The contract that the example was written against: it stays as it is, and so does the example, when minors come.
WRITTEN_FOR = "1.0"
EXAMPLE = Path(__file__).resolve().parent.parent / "docs" / "authoring" / "example"
RECORD = "src/noisyrun_small_loss/__init__.py"
#: A run of a second or so.
TINY = ["--epochs", "2", "--data.subset", "150", "--batch-size", "64", "--tracking", "none"]
TINY += ["--backbone", "small-cnn", "--backbone.width", "4"]

pytestmark = pytest.mark.skipif(shutil.which("uv") is None, reason="uv builds and installs the example; it is not here")


def install(source: Path, target: Path) -> Path:
    """Build a wheel of a source tree, and put it into a folder of its own."""
    words = ["uv", "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(target)]
    done = subprocess.run([*words, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def variant(folder: Path, edit: Callable[[Path], None]) -> Path:
    """The example with something changed, installed."""
    source = shutil.copytree(EXAMPLE, folder / "source")
    edit(source)
    return install(source, folder / "target")


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def python(where: Path, *words: str, plugins: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, with plugins beside what is installed here."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, plugins)), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    return subprocess.run([sys.executable, *words], cwd=where, env=env, capture_output=True, text=True)


def noisyrun(where: Path, *words: str, plugins: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    return python(where, "-m", "noisyrun", *words, plugins=plugins)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(EXAMPLE, tmp_path_factory.mktemp("example") / "target")


@pytest.mark.slow
def test_installed_it_is_used_by_its_name(installed: Path, tmp_path: Path) -> None:
    words = ["--weighter", "small-loss", "--weighter.keep", "0.6", *TINY, "--out", "run"]
    done = noisyrun(tmp_path, *words, plugins=(installed,))
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["detection"]["auroc"] is not None
    labels = pd.read_parquet(tmp_path / "run" / "labels.parquet")
    for _, of_class in labels.groupby("observed"):
        kept = (of_class["weight"] > 0).sum()
        assert kept == -(-6 * len(of_class) // 10)  # six in ten, rounded up
    assert labels["wrong"].eq(labels["weight"] == 0).all()


@pytest.mark.slow
def test_its_own_tests_pass_with_the_conformance_suite_among_them(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    done = python(tmp_path, "-m", "pytest", "-q", "-rA", "tests", plugins=(installed,))
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") > 20
    assert "weighter.small-loss-record-imports-no-torch" in done.stdout


def test_it_is_listed_with_its_distribution_and_its_help_shows_its_settings(installed: Path, tmp_path: Path) -> None:
    listed = noisyrun(tmp_path, "plugins", "--strict", plugins=(installed,))
    assert listed.returncode == 0
    (row,) = [line for line in listed.stdout.splitlines() if "small-loss" in line]
    assert "noisyrun-small-loss" in row
    told = noisyrun(tmp_path, "--weighter", "small-loss", "--help", plugins=(installed,)).stdout
    assert "--weighter.keep" in told


def test_commands_of_the_guide_and_its_own_page_are_valid(installed: Path, tmp_path: Path) -> None:
    pages = [EXAMPLE / "README.md", *sorted(EXAMPLE.parent.glob("*.md"))]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    given = [line.split()[1:] for line in lines if line.startswith("noisyrun --weighter small-loss")]
    assert len(given) >= 2
    code = "from noisyrun.config.resolve import resolve\n"
    code += f"for words in {given!r}: print(resolve(args=words).settings.epochs)"
    done = python(tmp_path, "-c", code, plugins=(installed,))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(given)


def test_uninstalled_it_is_named_as_missing(tmp_path: Path) -> None:
    done = noisyrun(tmp_path, "--weighter", "small-loss", *TINY)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "no weighter 'small-loss' is installed; installed: " in line
    assert not list(tmp_path.iterdir())


def test_broken_on_import_it_costs_others_a_line_and_whoever_chose_it_a_traceback(tmp_path: Path) -> None:
    broken = variant(
        tmp_path,
        lambda source: replace(source / RECORD, "from noisyrun.api", "import no_such_module\nfrom noisyrun.api"),
    )
    listed = noisyrun(tmp_path, "plugins", plugins=(broken,))
    assert listed.returncode == 0
    (line,) = listed.stderr.strip().splitlines()
    assert line == (
        "warning: plugin noisyrun-small-loss 0.1.0: cannot be loaded "
        "(ModuleNotFoundError: No module named 'no_such_module'); left out"
    )
    done = noisyrun(tmp_path, "--weighter", "small-loss", *TINY, plugins=(broken,))
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "import no_such_module" in done.stderr


def test_of_a_newer_api_it_is_left_out_and_says_what_to_install(tmp_path: Path) -> None:
    major, minor = API_VERSION.split(".")
    newer = f"{major}.{int(minor) + 1}"
    made = variant(tmp_path, lambda source: replace(source / RECORD, f'api="{WRITTEN_FOR}"', f'api="{newer}"'))
    said = (
        f"plugin noisyrun-small-loss 0.1.0: weighter 'small-loss' is written for plugin API {newer}, and this "
        f"noisyrun has {API_VERSION}; install a newer noisyrun"
    )
    listed = noisyrun(tmp_path, "plugins", plugins=(made,))
    assert listed.returncode == 0
    assert listed.stderr.strip() == f"warning: {said}; left out"
    done = noisyrun(tmp_path, "--weighter", "small-loss", *TINY, plugins=(made,))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"--weighter: {said}"


def test_of_a_taken_name_neither_is_used_and_both_are_named(installed: Path, tmp_path: Path) -> None:
    def rename(source: Path) -> None:
        (source / "src" / "noisyrun_small_loss").rename(source / "src" / "tiny_loss")
        replace(source / "pyproject.toml", "noisyrun-small-loss", "tiny-loss")
        replace(source / "pyproject.toml", "noisyrun_small_loss", "tiny_loss")
        replace(source / "src" / "tiny_loss" / "__init__.py", "noisyrun_small_loss", "tiny_loss")

    both = (installed, variant(tmp_path, rename))
    said = (
        "weighter 'small-loss' comes with both noisyrun-small-loss 0.1.0 and tiny-loss 0.1.0; "
        "uninstall one, or leave it out with --disable-plugins noisyrun-small-loss"
    )
    assert noisyrun(tmp_path, "plugins", plugins=both).stderr.strip() == f"warning: {said}"
    done = noisyrun(tmp_path, "--weighter", "small-loss", *TINY, plugins=both)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"--weighter: {said}"
    alone = noisyrun(tmp_path, "plugins", "--disable-plugins", "tiny-loss", plugins=both)
    assert alone.stderr == ""
    assert "small-loss" in alone.stdout


def test_it_is_written_against_the_first_contract_which_fits_the_one_in_force() -> None:
    assert f'api="{WRITTEN_FOR}"' in (EXAMPLE / RECORD).read_text(encoding="utf-8")
    assert fits(WRITTEN_FOR, API_VERSION)


def test_it_imports_what_the_record_of_the_public_surface_has_and_no_more(
    tmp_path: Path, script: Callable[[str], ModuleType]
) -> None:
    surface = script("surface")
    assert surface.strange(EXAMPLE) == []
    code = "from noisyrun.api import Block, ops\nfrom noisyrun.api.labels import scatter\nimport noisyrun.engine\n"
    (tmp_path / "method.py").write_text(code + "from noisyrun.testing import make_bank\nops.unit, ops.no_such\n")
    found = [line.split(": ")[1].split(" is ")[0] for line in surface.strange(tmp_path)]
    assert found == ["noisyrun.api.labels.scatter", "noisyrun.engine", "noisyrun.api.ops.no_such"]


@pytest.mark.parametrize("plugin", sorted((EXAMPLE.parents[2] / "plugins").iterdir()), ids=lambda plugin: plugin.name)
def test_so_do_the_plugins_of_this_repository(plugin: Path, script: Callable[[str], ModuleType]) -> None:
    assert script("surface").strange(plugin / "src") == []
