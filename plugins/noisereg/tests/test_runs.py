"""Noise regularization through whole runs: single and several labels, in part and unpaired, resumed; its recipes."""

from __future__ import annotations

import io
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import noisyrun
from noisyrun.api import API_VERSION, UserError
from noisyrun.config.resolve import resolve
from noisyrun.engine import trainer as trainers
from noisyrun.report.console import Console
from noisyrun.testing import parametrize_with_checks
from noisyrun_noisereg import noisyrun_plugins, noisyrun_recipes
from noisyrun_noisereg.config import NoiseregConfig

RECIPES = [recipe.name for recipe in noisyrun_recipes()]
SMALL = [name for name in RECIPES if name not in ("noisereg", "noisereg-clothing1m")]
C = 3


@parametrize_with_checks(["corrector.noisereg"])
def test_it_keeps_the_contract(plugin: Any, check: Any) -> None:
    check(plugin)


def features(labels: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Multi-hot labels [N, C] as features: each class is a direction, under noise."""
    made: np.ndarray = labels @ draw.normal(size=(C, 6)) * 2 + draw.normal(size=(len(labels), 6)) * 0.3
    return made.astype(np.float32)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features whose clean samples have no noisy label at all; of the others two in five are wrong."""
    draw = np.random.default_rng(0)
    truth = draw.integers(0, C, 240)
    noisy = np.where(draw.random(240) < 0.4, (truth + 1) % C, truth)
    clean = np.arange(240) % 6 == 0
    made = features(np.eye(C)[truth], np.random.default_rng(1))
    folder = tmp_path_factory.mktemp("single")
    columns = {"features": pa.array(list(made)), "clean_label": pa.array(truth)}
    columns |= {"noisy_label": pa.array(noisy, mask=clean), "trusted": pa.array(truth, mask=~clean)}
    table = pa.table(columns)
    pq.write_table(table[:200], folder / "train.parquet")
    pq.write_table(table[200:].select(["features", "clean_label"]), folder / "test.parquet")
    return folder


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several labels a sample; of clean samples two of three pairs are trusted, and some noisy pairs are unknown."""
    draw = np.random.default_rng(0)
    truth = (draw.random((240, C)) < 0.5).astype(np.int64)
    noisy = np.where(draw.random((240, C)) < 0.2, 1 - truth, truth)
    noisy = np.where(draw.random((240, C)) < 0.1, -1, noisy)
    clean = np.arange(240) % 6 == 0
    trusted = np.where(clean[:, None] & (draw.random((240, C)) < 0.67), truth, -1)
    trusted[clean, 0] = truth[clean, 0]
    made = features(truth.astype(float), np.random.default_rng(1))
    path = tmp_path_factory.mktemp("several") / "data.npz"
    arrays = {"features": made[:200], "noisy_label": noisy[:200], "clean_label": truth[:200], "trusted": trusted[:200]}
    np.savez(path, **arrays, test_features=made[200:], test_label=truth[200:])
    return path


def settings(data: Path, out: Path, **more: Any) -> dict[str, Any]:
    given = {"dataset": str(data), "out": str(out), "tracking": None, "device": "cpu", "batch_size": 40, "data.val": 0}
    return given | more


def train(data: Path, out: Path, **more: Any) -> noisyrun.runner.Run:
    console = Console(quiet=True, out=io.StringIO(), err=io.StringIO())
    return noisyrun.run(settings(data, out, **more), console=console)


def weights(run: noisyrun.runner.Run) -> dict[str, torch.Tensor]:
    return dict(run.network.state_dict())


@pytest.mark.parametrize("kind", ["single", "several"])
def test_few_clean_labels_in_part_or_without_noisy_ones_are_learned_from(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stage = {"name": "joint", "epochs": 30, "optimizer": {"name": "adam", "lr": 0.02, "weight_decay": 0}}
    done = train(request.getfixturevalue(kind), tmp_path / "run", corrector="noisereg", stages=[stage])
    assert done.summary["accuracy"]["last"] > 0.9
    assert done.summary["label_accuracy"]["after"] is None


def test_it_learns_at_the_default_settings_of_a_run(single: Path, tmp_path: Path) -> None:
    done = train(single, tmp_path / "run", corrector={"noisereg": {"hidden": 32}}, epochs=20)
    assert done.summary["accuracy"]["last"] > 0.8


def test_a_run_that_is_killed_and_resumed_ends_in_the_same_weights(
    several: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"recipe": "noisereg-small-multi", "epochs": 6}
    whole = train(several, tmp_path / "whole", **given)
    seed_step = trainers.seed_step
    for step in (8, 22):  # within the backbone's stage, and within that of the nets

        def kill(seed: int, at: int, step: int = step) -> None:
            if at == step:
                raise RuntimeError("killed")
            seed_step(seed, at)

        with monkeypatch.context() as patch:
            patch.setattr(trainers, "seed_step", kill)
            with pytest.raises(RuntimeError, match="killed"):
                train(several, tmp_path / str(step), **given)
        again = noisyrun.resume(tmp_path / str(step), console=Console(quiet=True, out=io.StringIO(), err=io.StringIO()))
        same = weights(whole)
        assert all(torch.equal(value, same[name]) for name, value in weights(again).items())
        assert again.summary["accuracy"]["last"] == whole.summary["accuracy"]["last"]


def test_the_nets_learn_nothing_while_the_backbone_does(several: Path, tmp_path: Path) -> None:
    stage = {"name": "backbone", "epochs": 1, "online": False, "targets": "observed"}
    short = train(several, tmp_path / "a", corrector="noisereg", stages=[stage])
    longer = train(several, tmp_path / "b", corrector="noisereg", stages=[stage | {"epochs": 2}])
    same = weights(longer)
    parts = [name for name in weights(short) if name.startswith("parts")]
    assert parts
    assert all(torch.equal(weights(short)[name], same[name]) for name in parts)
    assert not torch.equal(weights(short)["classifier.weight"], same["classifier.weight"])


def test_without_clean_samples_a_run_says_how_to_give_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corrector\.noisereg needs a clean subset .*--clean 0\.05"):
        noisyrun.run({"corrector": "noisereg", "dataset": "digits", "tracking": None, "out": str(tmp_path / "run")})


@pytest.mark.parametrize("kind", ["single", "several", "images"])
@pytest.mark.parametrize("recipe", SMALL)
def test_every_small_recipe_runs_by_one_command(
    recipe: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    given = {"recipe": recipe, "epochs": 2, "out": str(tmp_path / "run")}
    if kind == "images":
        given |= {
            "dataset": "digits",
            "noise": "symmetric:0.3",
            "data.subset": 120,
            "backbone": {"small-cnn": {"width": 2}},
        }
        given |= {} if recipe == "noisereg-gt" else {"clean": "0.2"}
    else:
        given |= {"dataset": str(request.getfixturevalue(kind))}
    done = noisyrun.run(
        {"tracking": None, "device": "cpu"} | given, console=Console(quiet=True, out=io.StringIO(), err=io.StringIO())
    )
    stages = {row["stage"] for row in done.summary["history"]}
    assert stages == {stage["name"] for stage in read(recipe)["stages"]}


def read(name: str) -> dict[str, Any]:
    recipe = next(one for one in noisyrun_recipes() if one.name == name)
    return tomllib.loads(files(recipe.package).joinpath(recipe.path).read_text("utf-8"))


def test_the_published_settings() -> None:
    coco = read("noisereg")
    backbone, nets = coco["stages"]
    assert coco["backbone"]["timm"] == {"model": "resnet50", "pretrained": True}
    assert (backbone["steps"], backbone["batch_size"], backbone["online"]) == (20_000, 64, False)
    assert (backbone["optimizer"]["name"], backbone["optimizer"]["lr"]) == ("rmsprop", 1e-4)
    assert (backbone["schedule"]["every"], backbone["schedule"]["gamma"]) == (2, 0.9)
    assert (nets["steps"], nets["trains"], coco["batch_size"]) == (100_000, "parts", 32)
    assert (nets["optimizer"]["name"], nets["optimizer"]["lr"]) == ("adam", 1e-4)
    clothing = read("noisereg-clothing1m")
    (joint,) = clothing["stages"]
    assert (joint["steps"], clothing["batch_size"], joint["optimizer"]["lr"]) == (120_000, 32, 1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_accepts_the_recipe_which_repeats_no_other_default_than_the_papers(name: str) -> None:
    own = {"backbone": "small-cnn"} if "backbone" in read(name) else {}
    config = resolve({"recipe": name} | own)
    assert len(config.settings.stages) == len(read(name)["stages"])
    if "corrector" in read(name):
        assert NoiseregConfig(**read(name)["corrector"]["noisereg"]) == NoiseregConfig()


def test_the_record_is_written_against_this_contract() -> None:
    (record,) = noisyrun_plugins()
    assert (record.kind, record.name, record.api) == ("corrector", "noisereg", API_VERSION)
