"""The recipes: what they set is what the paper says, and a run accepts them."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

import pytest

from noisyrun.api import API_VERSION
from noisyrun.config.resolve import resolve
from noisyrun_smp import noisyrun_plugins, noisyrun_recipes


def read(name: str) -> dict[str, Any]:
    recipe = next(one for one in noisyrun_recipes() if one.name == name)
    return tomllib.loads(files(recipe.package).joinpath(recipe.path).read_text())


@pytest.mark.parametrize("name", ["smp", "smp-small"])
def test_a_run_accepts_the_recipe(name: str) -> None:
    settings = {"recipe": name} | ({"backbone": "small-cnn"} if name == "smp" else {})
    config = resolve(settings)
    assert set(config.sockets["prototypes"]) == set(config.sockets["corrector"]) == {"smp"}
    assert config.settings.epochs == 3 * (config.settings.train.warmup_epochs or 0)


def test_the_published_settings() -> None:
    recipe = read("smp")
    assert recipe["backbone"]["timm"] == {"model": "resnet50", "pretrained": True}
    assert recipe["prototypes"]["smp"] | {"p": 8, "m": 1280, "eta": 0.95} == recipe["prototypes"]["smp"]
    assert recipe["corrector"]["smp"]["alpha"] == 0.5
    assert (recipe["augment"]["resize"], recipe["data"]["image_size"]) == (256, 224)
    assert recipe["train"]["optimizer"] == {"name": "sgd", "lr": 0.002, "momentum": 0.9, "weight_decay": 5e-3}
    assert recipe["train"]["schedule"]["milestones"] == [5, 10]
    assert (recipe["epochs"], recipe["batch_size"], recipe["train"]["warmup_epochs"]) == (15, 128, 5)


@pytest.mark.parametrize("name", ["smp", "smp-small"])
def test_a_recipe_repeats_no_other_default_than_the_papers(name: str) -> None:
    from noisyrun_smp.config import SmpCorrectorConfig, SmpPrototypesConfig

    recipe = read(name)
    assert SmpPrototypesConfig(**recipe["prototypes"]["smp"]) == SmpPrototypesConfig()
    assert SmpCorrectorConfig(**recipe["corrector"]["smp"]) == SmpCorrectorConfig()


def test_the_records_are_written_against_this_contract() -> None:
    records = list(noisyrun_plugins())
    assert {(record.kind, record.name) for record in records} == {("prototypes", "smp"), ("corrector", "smp")}
    assert {record.api for record in records} == {API_VERSION}
