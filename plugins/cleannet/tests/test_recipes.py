"""The recipes: what they set is what the paper says, and a run accepts them."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

import pytest

from noisyrun.api import API_VERSION
from noisyrun.config.resolve import resolve
from noisyrun_cleannet import noisyrun_plugins, noisyrun_recipes
from noisyrun_cleannet.config import CleanNetPrototypesConfig, CleanNetWeighterConfig


def read(name: str) -> dict[str, Any]:
    recipe = next(one for one in noisyrun_recipes() if one.name == name)
    return tomllib.loads(files(recipe.package).joinpath(recipe.path).read_text())


@pytest.mark.parametrize("name", ["cleannet", "cleannet-small"])
def test_a_run_accepts_the_recipe(name: str) -> None:
    config = resolve({"recipe": name} | ({"backbone": "small-cnn"} if name == "cleannet" else {}))
    assert set(config.sockets["prototypes"]) == set(config.sockets["weighter"]) == {"cleannet"}


@pytest.mark.parametrize("name", ["cleannet", "cleannet-small"])
def test_training_alternates_first_unweighted_then_with_weights_then_the_head_alone(name: str) -> None:
    first, second, *rest = resolve(
        {"recipe": name} | ({"backbone": "small-cnn"} if name == "cleannet" else {})
    ).settings.stages
    assert (first.weighted, first.label_phase) == (False, "never")
    assert (second.weighted, second.label_phase, second.trains) == (True, "once", "all")
    assert rest
    assert all((s.trains, s.label_phase, s.while_gains) == ("head", "once", True) for s in rest)


def test_the_published_settings() -> None:
    recipe = read("cleannet")
    config = CleanNetPrototypesConfig(**recipe["prototypes"]["cleannet"])
    assert recipe["backbone"]["timm"] == {"model": "resnet50", "pretrained": True}
    assert (config.references, config.reference_size) == ("k-means", 50)
    assert (config.lr, config.momentum, config.l2, config.steps) == (0.01, 0.9, 1e-4, 60_000)
    assert (config.verified_batch, config.unverified_batch, config.dropout) == (32, 32, 0.2)
    assert (config.omega, config.rho, config.beta, config.gamma) == (5.0, 0.1, 0.1, 0.1)
    assert (config.hidden, config.attended, config.attention, config.query_hidden, config.embedding) == (
        512,
        256,
        256,
        256,
        128,
    )
    assert CleanNetWeighterConfig(**recipe["weighter"]["cleannet"]).weights == "soft"
    assert recipe["weights"]["scale"] == "none"


def test_the_records_are_written_against_this_contract() -> None:
    records = [record for record in noisyrun_plugins() if record.name == "cleannet"]
    assert {record.kind for record in records} == {"prototypes", "weighter"}
    assert {record.api for record in records} == {API_VERSION}
