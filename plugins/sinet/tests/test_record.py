"""What the distribution brings: records, configurations and recipes that can be used as they stand."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module, resources

import pytest
from pydantic import ValidationError

import noisyrun_sinet
from noisyrun.api import API_VERSION, Method, Plugin, PluginConfig
from noisyrun.config.settings import RunSettings

RECORDS = list(noisyrun_sinet.noisyrun_plugins())
RECIPES = list(noisyrun_sinet.noisyrun_recipes())


def load(target: str) -> type:
    module, name = target.split(":")
    return getattr(import_module(module), name)  # type: ignore[no-any-return]


def test_it_fits_four_sockets() -> None:
    assert [(one.kind, one.name) for one in RECORDS] == [
        ("side_info", "sinet"),
        ("prototypes", "sinet"),
        ("weighter", "sinet"),
        ("corrector", "sinet"),
    ]
    assert all(one.api == API_VERSION for one in RECORDS)


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: one.kind)
def test_every_record_points_at_a_method_that_its_defaults_can_make(record: Plugin) -> None:
    config = load(record.config)
    assert issubclass(config, PluginConfig)
    assert isinstance(load(record.factory)(config()), Method)


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: one.kind)
def test_every_field_is_described(record: Plugin) -> None:
    for name, field in load(record.config).model_fields.items():  # type: ignore[attr-defined]
        assert field.description, name


def test_records_and_configurations_import_no_torch_and_no_nltk() -> None:
    program = (
        "import sys, noisyrun_sinet, noisyrun_sinet.config; list(noisyrun_sinet.noisyrun_plugins())\n"
        "sys.exit(', '.join({'torch', 'nltk'} & sys.modules.keys()) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda one: one.name)
def test_every_recipe_is_made_of_settings_that_exist(recipe: object) -> None:
    text = resources.files(recipe.package).joinpath(recipe.path).read_text()  # type: ignore[attr-defined]
    given = tomllib.loads(text)
    configs = {one.kind: load(one.config) for one in RECORDS}
    for kind, config in configs.items():
        config.model_validate(given.pop(kind)["sinet"] if kind in given else {})  # type: ignore[attr-defined]
    given.pop("backbone")
    settings = RunSettings.model_validate(given)
    kept = [stage.keep_predictions for stage in settings.stages]
    assert "smoothing" in kept
    names = [stage.name for stage in settings.stages]
    # Whoever selects by score comes after a label phase.
    scored = next(i for i, stage in enumerate(settings.stages) if stage.label_phase != "never")
    chosen = next(i for i, stage in enumerate(settings.stages) if stage.samples.startswith("top:"))
    assert scored < chosen, names


def test_the_paper_s_recipe_carries_the_paper_s_values() -> None:
    text = resources.files("noisyrun_sinet").joinpath("recipes/sinet.toml").read_text()
    given = tomllib.loads(text)
    assert given["batch_size"] == 2500
    assert given["train"]["optimizer"]["lr"] == 0.1
    assert given["train"]["schedule"]["milestones"] == [30, 60, 80, 90]
    assert given["train"]["dropout"] == 0.25
    assert given["augment"]["policy"] == "autoaugment"
    assert given["weighter"]["sinet"] == {"alpha": 1.2, "beta": 1.5}
    assert [stage.get("resolution") for stage in given["stages"]][-3:] == [224, 256, 312]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("side_info", {"relation": "BERT"}),
        ("prototypes", {"gamma": 0}),
        ("prototypes", {"k": 0}),
        ("weighter", {"alpha": -1}),
        ("weighter", {"betta": 1}),
        ("corrector", {"s": 1.5}),
    ],
)
def test_settings_out_of_range_are_refused(kind: str, settings: dict[str, object]) -> None:
    config = next(load(one.config) for one in RECORDS if one.kind == kind)
    with pytest.raises(ValidationError):
        config.model_validate(settings)  # type: ignore[attr-defined]
