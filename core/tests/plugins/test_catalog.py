from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from noisyrun import catalog
from noisyrun.api import KINDS, UserError
from noisyrun.plugins import Switches, discover
from noisyrun.registry import Registry

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def registry():
    return discover(Switches.of(environ={}))


@pytest.mark.parametrize("row", catalog.load(), ids=lambda row: f"{row.kind}.{row.name}")
def test_every_row_agrees_with_the_record_of_the_installed_plugin(row, registry):
    if (row.kind, row.name) not in registry.plugins:
        pytest.skip(f"{row.package} is not installed")
    found = registry.plugins[row.kind, row.name]
    assert (row.package, row.api, row.paper) == (found.source.distribution, found.record.api, found.record.paper)


def test_every_installed_plugin_of_this_repository_has_a_row(registry):
    ours = {row.package for row in catalog.load()}
    known = {(row.kind, row.name) for row in catalog.load()}
    assert {key for key, found in registry.plugins.items() if found.source.distribution in ours} <= known


def test_rows_are_unique_and_well_formed():
    keys = [(row.kind, row.name) for row in catalog.load()]
    assert len(set(keys)) == len(keys)
    assert {row.kind for row in catalog.load()} <= set(KINDS)
    assert {row.status for row in catalog.load()} <= {"core", "stable", "beta", "alpha"}


@pytest.mark.parametrize("row", [row for row in catalog.load() if row.install.startswith("plugins/")], ids=str)
def test_a_folder_to_install_from_is_there_and_holds_that_distribution(row):
    if not (ROOT / "plugins").is_dir():
        pytest.skip("not in a checkout")
    assert f'name = "{row.package}"' in (ROOT / row.install / "pyproject.toml").read_text()


def test_the_catalogue_at_the_root_is_the_one_in_the_package():
    root = ROOT / "registry.toml"
    if not root.exists():
        pytest.skip("not in a checkout")
    assert root.read_text() == files("noisyrun").joinpath("registry.toml").read_text()


@pytest.mark.parametrize(("kind", "name"), [("weighter", "sinet"), ("corrector", "smp"), ("backbone", "timm")])
def test_a_known_plugin_that_is_not_installed_is_hinted_at_by_its_folder_never_by_a_bare_name(kind, name):
    with pytest.raises(UserError) as caught:
        Registry().get(kind, name)
    assert f"pip install ./plugins/{catalog.find(kind, name).package.removeprefix('noisyrun-')}" in str(caught.value)
    assert "pip install noisyrun" not in str(caught.value)


def test_an_unknown_plugin_is_answered_with_what_may_have_been_meant_and_what_is_there(registry):
    with pytest.raises(UserError) as caught:
        registry.get("backbone", "smal-cnn")
    assert "did you mean small-cnn" in str(caught.value)
    assert "installed: features, small-cnn" in str(caught.value)


def test_a_name_that_fits_other_sockets_is_said(registry):
    with pytest.raises(UserError, match="'mlflow' fits --tracking"):
        registry.get("corrector", "mlflow")


def test_a_published_plugin_is_hinted_at_by_what_pip_is_to_be_given():
    row = catalog.Row("weighter", "x", "noisyrun-x", "1.0", "", "stable", "pypi:noisyrun-x>=1")
    assert row.how == "pip install noisyrun-x>=1"
