"""A data set that changed between a kill and a resume is refused, and the part that changed is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisyrun.cli import main

#: A run of a moment.
QUICK = [
    *("--batch-size", "40", "--device", "cpu", "--tracking", "none", "--epochs", "1", "--weighter", "naive"),
    *("--backbone", "small-cnn", "--backbone.width", "4", "--backbone.depth", "2", "--backbone.blocks", "0"),
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def png(path: Path, seed: int, side: int = 8) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)).save(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, interrupted, on a manifest of images with all that a manifest may hold; and a test set."""
    home = tmp_path_factory.mktemp("photos")
    (home / "images").mkdir()
    rows, test = [], []
    for i in range(40):
        png(home / "images" / f"{i}.png", i)
        verified = ("", "1", "0")[i % 3]
        (rows if i < 32 else test).append(f"images/{i}.png,{('cat', 'dog')[i % 2]},{verified},photo {i}")
    head = "path,label,verified,title"
    (home / "train.csv").write_text("\n".join([head, *rows]) + "\n")
    (home / "test.csv").write_text("\n".join([head, *test]) + "\n")
    words = ["--dataset", "train.csv", "--data.test", "test.csv", "--out", "out", "--data.on-bad-image", "skip"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main([*words, *QUICK]) == 0
    return home


def edit(path: str, old: str, new: str) -> Callable[[], None]:
    def act() -> None:
        text = Path(path).read_text()
        assert old in text
        Path(path).write_text(text.replace(old, new, 1))

    return act


def swapped() -> None:
    lines = Path("train.csv").read_text().splitlines()
    lines[1], lines[3] = lines[3], lines[1]
    Path("train.csv").write_text("\n".join(lines) + "\n")


CHANGES = {
    "a label": (edit("train.csv", "images/3.png,dog", "images/3.png,cat"), "the observed labels"),
    "a class's name": (edit("train.csv", ",cat,", ",lynx,"), "classes"),
    "the order": (swapped, "the images or features"),
    "an image": (lambda: png(Path("images/5.png"), 99), "the images or features"),
    "an image's size": (lambda: png(Path("images/5.png"), 5, 9), "the images or features"),
    "a row added": (edit("train.csv", "images/4.png", "images/39.png,cat,,new\nimages/4.png"), "the observed labels"),
    "a row removed": (edit("train.csv", "images/4.png,cat,1,photo 4\n", ""), "the observed labels"),
    "a file removed": (lambda: os.unlink("images/7.png"), "the observed labels"),
    "a verdict": (edit("train.csv", "images/4.png,cat,1", "images/4.png,cat,0"), "the verification labels"),
    "a title": (edit("train.csv", "photo 6", "another"), "the texts"),
    "a label of the test set": (edit("test.csv", "images/33.png,dog", "images/33.png,cat"), "the test set"),
    "an image of the test set": (lambda: png(Path("images/34.png"), 99), "the test set"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_data_that_changed_is_refused_and_named(command, monkeypatch, tmp_path, photos, what):
    shutil.copytree(photos, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    change, words = CHANGES[what]
    change()
    line = command.line("resume", "out")
    assert words in line
    assert line.startswith("out/checkpoint.safetensors: ")


def test_features_noise_files_and_verdict_files_that_changed_are_refused_and_named(command, tmp_path):
    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 3
    np.savez("data.npz", features=features, labels=labels)
    Path("verdicts.csv").write_text("index,verdict\n0,1\n1,0\n2,1\n")
    quick = ["--tracking", "none", "--device", "cpu", "--epochs", "1"]
    command("--dataset", "data.npz", "--noise", "symmetric:0.2", *quick, "--out", "noisy")
    noise = ["--data.noise-file", "noisy/noise.parquet"]
    command("--dataset", "data.npz", *noise, "--verify", "verdicts.csv", *quick, "--out", "out")
    Path("verdicts.csv").write_text("index,verdict\n0,1\n1,1\n2,1\n")
    assert "the verification labels" in command.line("resume", "out")
    Path("verdicts.csv").write_text("index,verdict\n0,1\n1,0\n2,1\n")
    command("--dataset", "data.npz", "--noise", "symmetric:0.4", *quick, "--out", "noisier")
    shutil.copy("noisier/noise.parquet", "noisy/noise.parquet")
    assert "the observed labels" in command.line("resume", "out")
    shutil.copy("noisier/noise.parquet", "noisy/noise.parquet")
    features[3, 1] += 1
    np.savez("data.npz", features=features, labels=labels)
    assert "the images or features" in command.line("resume", "noisier")
