"""A cell is the hash of all that can change its result, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from noisyrun.api import UserError
from noisyrun.bench import identity as identities
from noisyrun.bench.identity import NOT_DIGESTED, cell_id, code_digest, identity
from noisyrun.config.resolve import resolve
from noisyrun.plugins import Switches, discover


@pytest.fixture(scope="module")
def registry():
    return discover(Switches.of())


@pytest.fixture
def cell(registry):
    """The cell of some settings."""

    def of(**settings) -> str:
        given = {name.replace("__", "."): value for name, value in settings.items()}
        return cell_id(identity(resolve({"tracking": "none", **given}, registry=registry), "train"))

    return of


def features(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(size=(20, 3)).astype(np.float32)
    np.savez(path, features=values, noisy_label=np.arange(20) % 2)
    return path


def test_the_same_settings_are_the_same_cell_wherever_it_runs_and_whoever_watches(cell):
    here = cell(epochs=3)
    assert cell(epochs=3, out="elsewhere", data__workers=3, strict=True, train__checkpoint_every=2) == here
    assert cell(epochs=4) != here
    assert cell(epochs=3, seed=1) != here


@pytest.mark.parametrize("settings", [{"weighter__alpha": 0.3}, {"prototypes__m": 17}, {"device": "cpu"}])
def test_a_setting_of_a_plugin_or_of_the_device_makes_another_cell(cell, settings):
    chosen = {"weighter": "sinet", "prototypes": "smp"}
    assert cell(**chosen, **settings) != cell(**chosen)


def test_data_count_by_what_is_in_them_and_not_by_where_they_are(cell, tmp_path):
    first = cell(dataset=str(features(tmp_path / "a" / "train.npz")))
    assert cell(dataset=str(features(tmp_path / "b" / "train.npz"))) == first
    assert cell(dataset=str(features(tmp_path / "c" / "train.npz", seed=1))) != first


def test_a_test_set_that_lies_beside_the_training_set_counts(cell, tmp_path):
    alone = cell(dataset=str(features(tmp_path / "a" / "train.npz")))
    train = features(tmp_path / "b" / "train.npz")
    features(train.with_name("test.npz"), seed=1)
    beside = cell(dataset=str(train))
    assert beside != alone
    identities._digest.cache_clear()
    features(train.with_name("test.npz"), seed=2)
    assert cell(dataset=str(train)) not in (alone, beside)


def test_any_file_that_a_setting_names_counts_by_its_content(cell, tmp_path):
    def with_list(folder: str, names: str) -> str:
        path = tmp_path / folder / "classes.txt"
        path.parent.mkdir()
        path.write_text(names)
        return cell(verify=f"0.05:@{path}")

    first = with_list("a", "1\n2\n")
    assert with_list("b", "1\n2\n") == first
    assert with_list("c", "1\n3\n") != first


def test_a_data_set_that_is_not_there_is_refused(cell, tmp_path):
    with pytest.raises(UserError, match="--dataset: no file or folder"):
        cell(dataset=str(tmp_path / "absent.npz"))


def test_a_cell_cannot_depend_on_other_runs(cell):
    with pytest.raises(UserError, match=r"eval\.ensemble: a cell stands alone, and cannot take the network of runs/a"):
        cell(eval__ensemble=["runs/a"])


def test_the_code_of_a_plugin_is_found_by_its_record_whatever_its_distribution_is_called(site):
    site.plugin("some-name", "weighter", "fake")
    site.module("some_name_method", "one = 1")
    registry = discover(Switches.of())

    def code() -> dict[str, str]:
        code_digest.cache_clear()
        config = resolve({"tracking": "none", "weighter": "fake"}, registry=registry)
        return identity(config, "train")["code"]

    before = code()
    assert set(before) == {"noisyrun", "some-name"}
    site.module("some_name_method", "one = 2")
    after = code()
    assert after["noisyrun"] == before["noisyrun"]
    assert after["some-name"] != before["some-name"]


def test_versions_are_those_of_core_the_chosen_plugins_and_what_they_require(registry):
    found = identity(resolve({"tracking": "none", "weighter": "sinet"}, registry=registry), "train")["versions"]
    assert {"python", "noisyrun", "noisyrun-sinet", "torch", "numpy"} <= set(found)
    assert not {"noisyrun-smp", "mlflow", "rich"} & set(found)


def test_every_part_of_core_that_is_left_out_is_there():
    places = [place for place, _ in identities._sources("noisyrun")]
    for part in NOT_DIGESTED:
        assert any(place.startswith(part) for place in places), part
