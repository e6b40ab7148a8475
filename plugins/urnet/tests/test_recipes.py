"""The recipes: what they set is what the paper says; whole runs, and runs that are refused."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import noisyrun
from noisyrun.api import API_VERSION, UserError
from noisyrun.config.resolve import resolve
from noisyrun_urnet import noisyrun_plugins, noisyrun_recipes

ALL = ["urnet-class", "urnet-cluster", "urnet-instance", "urnet-bag"]
QUICK: dict[str, Any] = {
    "dataset": "digits",
    "noise": "symmetric:0.2",
    "tracking": "none",
    "data": {"subset": 300},
    "backbone": {"small-cnn": {"width": 4, "depth": 2, "blocks": 0}},
    "stages": [
        {"name": "baseline", "epochs": 1, "targets": "observed", "weighted": False, "keep_predictions": "baseline"},
        {"name": "urnet", "epochs": 1, "label_phase": "once"},
    ],
}


def read(name: str) -> dict[str, Any]:
    recipe = next(one for one in noisyrun_recipes() if one.name == name)
    return tomllib.loads(files(recipe.package).joinpath(recipe.path).read_text())


@pytest.mark.parametrize("name", ["urnet", "urnet-small"])
def test_a_run_accepts_the_recipe(name: str) -> None:
    config = resolve({"recipe": name} | ({"backbone": "small-cnn"} if name == "urnet" else {}))
    assert list(config.sockets["weighter"]) == ALL
    assert set(config.sockets["corrector"]) == {"urnet-label"}
    baseline, urnet = config.settings.stages
    assert (baseline.keep_predictions, baseline.label_phase, baseline.weighted) == ("baseline", "never", False)
    assert (urnet.label_phase, urnet.weights_from, urnet.targets) == ("once", "continue", "corrected")


@pytest.mark.parametrize("name", ["urnet", "urnet-small"])
def test_the_published_settings(name: str) -> None:
    recipe = read(name)
    assert recipe["weighter"]["urnet-class"] == {"alpha": 0.5}
    assert recipe["weighter"]["urnet-cluster"] == {"predictions": "baseline", "confused": 4, "groups": 5}
    assert recipe["weighter"]["urnet-instance"] == {"top": 30}
    assert recipe["weighter"]["urnet-bag"] == {"size": 3}
    assert recipe["corrector"]["urnet-label"] == {"predictions": "baseline", "beta": 0.8}
    assert recipe["batch_size"] % 3 == 0


def test_the_full_recipe_takes_the_papers_network_and_text() -> None:
    recipe = read("urnet")
    assert recipe["backbone"]["timm"] == {"model": "resnext101_32x4d", "pretrained": True}
    assert set(recipe["side_info"]) == {"fasttext"}


def test_a_recipe_repeats_no_other_default_than_the_papers() -> None:
    from noisyrun_urnet import config

    recipe = read("urnet")
    for name, factory in (("class", "ClassSize"), ("instance", "Instance"), ("bag", "Bags")):
        made = getattr(config, f"{factory}Config")
        assert made(**recipe["weighter"][f"urnet-{name}"]) == made()


def test_the_records_are_written_against_this_contract() -> None:
    records = list(noisyrun_plugins())
    assert {(record.kind, record.name) for record in records} == {
        *(("weighter", name) for name in (*ALL, "urnet-source")),
        ("corrector", "urnet-label"),
    }
    assert {record.api for record in records} == {API_VERSION}


def test_all_parts_run_together(tmp_path: Path) -> None:
    done = noisyrun.run(
        {
            **QUICK,
            "side_info": "tfidf",
            "weighter": {**{name: {} for name in ALL}, "urnet-cluster": {"predictions": "baseline"}},
            "corrector": {"urnet-label": {"predictions": "baseline"}},
            "out": str(tmp_path / "run"),
        }
    )
    weights = done.labels["weight"].to_numpy()
    assert weights.min() == 0  # negative cosines count nothing
    assert len(np.unique(weights)) > 50
    assert any("urnet-bag" in name for name, _ in done.network.named_parameters())


def refusal(tmp_path: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as error:
        noisyrun.run({**QUICK, "out": str(tmp_path / "run"), **settings})
    assert not (tmp_path / "run").exists()  # before training
    return str(error.value)


def test_bags_on_a_frozen_backbone_are_refused(tmp_path: Path) -> None:
    assert "backbone that trains" in refusal(tmp_path, weighter="urnet-bag", train={"freeze_backbone": True})


def test_bags_are_refused_where_every_stage_trains_the_head_alone(tmp_path: Path) -> None:
    stages = [{**stage, "trains": "head"} for stage in QUICK["stages"]]
    assert "backbone that trains" in refusal(tmp_path, weighter="urnet-bag", stages=stages)


def test_bags_on_features_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "f.npz", features=rng.normal(size=(60, 8)).astype(np.float32), labels=np.arange(60) % 3)
    line = refusal(tmp_path, weighter="urnet-bag", dataset=str(tmp_path / "f.npz"), backbone="features", data={})
    assert "weighter.urnet-bag needs images" in line


def test_what_is_missing_is_said_with_how_to_give_it(tmp_path: Path) -> None:
    assert "--side-info" in refusal(tmp_path, weighter="urnet-instance")
    assert "source" in refusal(tmp_path, weighter="urnet-source")
    line = refusal(tmp_path, corrector={"urnet-label": {"predictions": "base"}})
    assert "keep_predictions = 'base'" in line
