"""Every recipe of every installed plugin plans: on images that carry everything a method may ask for."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noisyrun
from noisyrun import data as datasets
from noisyrun.api import UserError
from noisyrun.cli import main
from noisyrun.config.resolve import resolve
from noisyrun.plan import Plan, examine, make_methods
from noisyrun.plugins import Switches, discover

REGISTRY = discover(Switches.of())
NLTK_DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "nltk_data"

#: Methods that ship recipes: ``NAME`` as published, ``NAME-small``, and variants of them.
FAMILIES = {name.partition("-")[0] for name in REGISTRY.recipes}

#: A class for each row of the table, known to WordNet.
CLASSES = (("cat", "n02121620"), ("dog", "n02084071"), ("horse", "n02374451"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A folder with images, and two manifests: of one label a sample, and of several.

    Both have verification, trusted and clean labels, texts, sources and ranks.
    """
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    table(
        folder / "classes.tsv",
        ["label", "wnid", "words", "description"],
        [[number, wnid, name, f"an animal: the {name}"] for number, (name, wnid) in enumerate(CLASSES)],
        "\t",
    )
    one, several = [], []
    for n in range(90):
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{n}.png")
        label, truth = n % 3, (n + n % 2) % 3
        checked, clean = n % 4 == 0, n % 5 == 0
        words = [f"photo of a {CLASSES[label][0]}", ("google", "flickr")[n % 2], n]
        verified = int(label == truth) if checked else ""
        one.append([f"{n}.png", label, truth, verified, truth if clean else "", int(clean), *words])
        both = f"{label}|{(label + 1) % 3}"
        several.append([f"{n}.png", both, f"{truth}", "", f"{truth}" if clean else "", int(clean), *words])
    columns = ["path", "label", "clean_label", "verified", "trusted", "clean", "title", "source", "rank"]
    table(folder / "one.csv", columns, one)
    table(folder / "several.csv", columns, several)
    return folder


def table(path: Path, columns: list[str], rows: list[list[object]], mark: str = ",") -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=mark).writerows([columns, *rows])


@pytest.fixture
def wordnet(monkeypatch) -> None:
    """WordNet from the shared data, where it is."""
    nltk = pytest.importorskip("nltk")
    if NLTK_DATA.is_dir() and "NLTK_DATA" not in os.environ:
        monkeypatch.setattr(nltk.data, "path", [str(NLTK_DATA), *nltk.data.path])


def plan_of(photos: Path, recipe: str, *flags: str) -> Plan:
    """The plan of a recipe, on samples of several labels where it is for those."""
    words = ["--recipe", recipe, "--data.classes", str(photos / "classes.tsv"), *flags, "--tracking", "none"]
    for name in ("one.csv", "several.csv"):
        config = resolve(args=[*words, "--dataset", str(photos / name)], registry=REGISTRY)
        methods = make_methods(config)
        for method in methods:
            # Models and word vectors come from elsewhere: no repository carries them.
            method.preflight = lambda: None  # type: ignore[method-assign]
        try:
            plan = examine(config, methods, datasets.load(config.settings), REGISTRY)
        except UserError as error:
            if "WordNet is not installed" in str(error):
                pytest.skip(str(error))
            raise
        if not any("multi-label data" in problem for problem in plan.problems()):
            break
    return plan


@pytest.mark.parametrize("recipe", sorted(REGISTRY.recipes))
def test_every_recipe_plans(recipe, photos, wordnet):
    plan = plan_of(photos, recipe)
    assert plan.problems() == []
    assert plan.stages
    method = recipe in FAMILIES or "-small" in recipe  # the others are a paper's baselines
    assert not method or plan.config.sockets["weighter"] or plan.config.sockets["corrector"]


@pytest.mark.parametrize("recipe", sorted(name for name in REGISTRY.recipes if "-small" in name))
def test_small_recipes_are_made_for_32_pixels_and_train_in_any_number_of_epochs(recipe, photos, wordnet):
    plan = plan_of(photos, recipe)
    assert plan.config.settings.data.image_size in (None, 32)
    assert max(stage.resolution or 32 for stage in plan.stages) <= 48
    short = plan_of(photos, recipe, "--epochs", str(max(2, len(plan.stages))))
    assert sum(stage.epochs or 0 for stage in short.stages if stage.name != "finetune") == short.config.settings.epochs
    assert short.config.settings.epochs < plan.config.settings.epochs


def test_every_method_with_recipes_has_its_paper_s_and_a_small_one():
    names = set(REGISTRY.recipes)
    assert names
    assert names >= FAMILIES | {f"{family}-small" for family in FAMILIES}


def test_a_class_that_wordnet_lacks_is_found_before_the_folder_is_made(tmp_path, wordnet):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    table(tmp_path / "photos.csv", ["path", "label"], [["a.png", name] for name in ("cat", "zzyzxq") * 8])
    settings = {"dataset": str(tmp_path / "photos.csv"), "out": str(tmp_path / "out"), "tracking": "none"}
    with pytest.raises(UserError, match=r"zzyzxq|WordNet is not installed") as refused:
        noisyrun.run(settings | {"recipe": "sinet-small"})
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_plan_says_of_each_stage_how_its_batches_are_drawn(capsys, monkeypatch) -> None:
    """Bags are drawn where the part that asks for them takes part, and not in the baseline before."""
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["plan", "--recipe", "urnet-small", "--no-cost", "--tracking", "none"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if "epochs" in line}
    assert "bags of 3 of one class" in rows["urnet"]
    assert "bags" not in rows["baseline"]
