"""Bad input: exit code 2, one line on stderr that names the culprit, no traceback, and no run folder left behind."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisyrun.cli import main

#: A run that trains for a moment.
QUICK = [
    *("--tracking", "none", "--device", "cpu", "--epochs", "1", "--batch-size", "32"),
    *("--backbone", "small-cnn", "--backbone.width", "4", "--backbone.depth", "2", "--backbone.blocks", "0"),
]
ON_FEATURES = ["--tracking", "none", "--device", "cpu", "--epochs", "1", "--batch-size", "32"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Line:
    """Runs a command that must fail as bad input does, and gives its one line."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str | Path) -> str:
        self.capsys.readouterr()
        code = main([str(word) for word in words])
        error = self.capsys.readouterr().err
        assert code == 2, error
        assert "Traceback" not in error
        lines = error.splitlines()
        # What a run says before it finds the culprit goes to stderr as well when that is no terminal.
        assert sum(bool(line.strip()) for line in lines) == 1, error
        return lines[0]


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str]) -> Line:
    return Line(capsys)


def png(seed: int) -> bytes:
    file = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)).save(file, "PNG")
    return file.getvalue()


def images(root: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 12) -> Path:
    """An image folder."""
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(each):
            (root / name / f"{i:02}.png").write_bytes(png(40 * c + i))
    return root


def features(path: Path, **columns: np.ndarray) -> Path:
    """A file of features; columns replace the good ones."""
    rng = np.random.default_rng(0)
    good = {"features": rng.normal(size=(40, 8)).astype(np.float32), "noisy_label": np.arange(40) % 4}
    np.savez(path, **{**good, **columns})
    return path


# Words of the command line.


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--weighter", "sinnet"], ["sinnet", "sinet"]),
        (["--prototypes", "nothing-like-it"], ["nothing-like-it"]),
        (["--recipe", "sinett"], ["sinett", "sinet"]),
        (["--weighter", "sinet", "--weighter.alpa", "1"], ["--weighter.alpa", "alpha"]),
        (["--epocs", "3"], ["--epocs", "--epochs"]),
        (["--train.optimizer.learning-rate", "1"], ["learning-rate"]),
        (["--weighter", "sinet", "--weighter.alpha", "-1"], ["--weighter.alpha", "greater than 0", "-1"]),
        (["--epochs", "0"], ["--epochs", "0"]),
        (["--epochs", "many"], ["--epochs", "many"]),
        (["--noise", "symmetric:2"], ["--noise", "2"]),
        (["--device", "gpu"], ["gpu"]),
        (["--train.schedule.name", "cosinus"], ["cosinus"]),
        (["rnu"], ["rnu"]),
        (["--config", "absent.toml"], ["absent.toml"]),
        (["--verify", "7"], ["--verify", "7"]),
        (["--clean", "0.1:cta"], ["cta"]),
        (["--weighter", "sinet", "--tracking", "none"], ["weighter.sinet needs prototypes", "--prototypes"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith("-") else "",
)
def test_words_that_mean_nothing_are_named(words: list[str], parts: list[str], line: Line) -> None:
    said = line(*words)
    assert [part for part in parts if part not in said] == []
    assert not Path("runs").exists()


def test_a_broken_configuration_file_is_named_with_its_line(tmp_path: Path, line: Line) -> None:
    (tmp_path / "run.toml").write_text("epochs = 3\nbatch_size = = 4\n")
    said = line("--config", "run.toml")
    assert "run.toml" in said
    assert "line 2" in said


def test_a_misspelt_field_of_a_configuration_file_is_named(tmp_path: Path, line: Line) -> None:
    (tmp_path / "run.toml").write_text("[weighter.sinet]\nalhpa = 1.0\n")
    said = line("--config", "run.toml", "--prototypes", "smp")
    assert "alhpa" in said
    assert "alpha" in said


# Data.


@pytest.mark.parametrize("name", ["absent", "absent.csv", "absent.npz", "absent.parquet"])
def test_a_data_set_that_is_not_there_is_named(name: str, line: Line) -> None:
    assert name in line("--dataset", name, *QUICK)


def manifest(root: Path, rows: list[str]) -> Path:
    images(root / "pictures")
    path = root / "train.csv"
    path.write_text("path,label\n" + "\n".join(rows) + "\n")
    return path


GOOD_ROWS = [f"pictures/{name}/{i:02}.png,{c}" for c, name in enumerate(("cat", "dog")) for i in range(12)]


def test_a_label_out_of_range_names_its_row(tmp_path: Path, line: Line) -> None:
    (tmp_path / "classes.tsv").write_text("label\twords\n0\tcat\n1\tdog\n")
    path = manifest(tmp_path, [*GOOD_ROWS, "pictures/cat/00.png,7"])
    said = line("--dataset", path, *QUICK)
    assert "7" in said
    assert "train.csv" in said


def test_a_negative_label_is_refused(tmp_path: Path, line: Line) -> None:
    said = line("--dataset", features(tmp_path / "f.npz", noisy_label=np.arange(40) % 4 - 1), *ON_FEATURES)
    assert "f.npz" in said


def test_a_file_that_a_manifest_names_but_is_not_there_is_named(tmp_path: Path, line: Line) -> None:
    path = manifest(tmp_path, [*GOOD_ROWS, "pictures/cat/absent.png,0"])
    assert "pictures/cat/absent.png" in line("--dataset", path, *QUICK)


@pytest.mark.parametrize("outside", ["../secret.png", "/etc/passwd", "pictures/../../secret.png"])
def test_a_manifest_cannot_lead_outside_its_root(outside: str, tmp_path: Path, line: Line) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (tmp_path / "secret.png").write_bytes(png(1))
    path = manifest(root, [*GOOD_ROWS, f"{outside},0"])
    said = line("--dataset", path, *QUICK)
    assert outside in said
    assert "outside" in said


@pytest.mark.parametrize("damage", [lambda content: content[:-40], lambda content: b"", lambda content: b"no image"])
def test_a_damaged_image_is_named(damage: Callable[[bytes], bytes], tmp_path: Path, line: Line) -> None:
    bad = images(tmp_path / "train") / "dog" / "05.png"
    bad.write_bytes(damage(bad.read_bytes()))
    assert "dog/05.png" in line("--dataset", tmp_path / "train", *QUICK)


def test_a_damaged_image_may_be_skipped_and_is_named_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = images(tmp_path / "train") / "dog" / "05.png"
    bad.write_bytes(bad.read_bytes()[:-40])
    words = ["--dataset", str(tmp_path / "train"), "--data.on-bad-image", "skip", "--out", str(tmp_path / "run")]
    assert main([*words, *QUICK]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["data"]["train"] + summary["data"]["val"] == 23
    assert any("dog/05.png" in note for note in summary["data"]["notes"])


def test_features_and_labels_of_different_length_are_refused(tmp_path: Path, line: Line) -> None:
    said = line("--dataset", features(tmp_path / "f.npz", noisy_label=np.arange(39) % 4), *ON_FEATURES)
    assert "f.npz" in said
    assert "39" in said
    assert "40" in said


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value: float, tmp_path: Path, line: Line) -> None:
    bad = np.ones((40, 8), np.float32)
    bad[17, 3] = value
    said = line("--dataset", features(tmp_path / "f.npz", features=bad), *ON_FEATURES)
    assert "f.npz" in said
    assert "17" in said


@pytest.mark.parametrize("verb", [[], ["detect"]], ids=["run", "detect"])
def test_an_array_of_objects_is_refused_unopened(verb: list[str], tmp_path: Path, line: Line) -> None:
    path = tmp_path / "f.npz"
    np.savez(path, features=np.array([{"x": Bomb(tmp_path)}] * 4, dtype=object), noisy_label=np.arange(4))
    flag = ["--features" if verb else "--dataset", path]
    said = line(*verb, *flag, *(["--weighter", "sinet", "--prototypes", "smp"] if verb else ON_FEATURES))
    assert "f.npz" in said
    assert not (tmp_path / "exploded").exists()


def test_a_data_set_of_one_class_is_refused(tmp_path: Path, line: Line) -> None:
    assert "cat" in line("--dataset", images(tmp_path / "train", ("cat",)), *QUICK)


def test_prototypes_of_a_relation_nobody_gives_are_refused_with_the_way_out(line: Line) -> None:
    said = line("--prototypes", "sinet", *QUICK)
    assert "class similarity" in said
    assert "--side-info" in said


# Checkpoints and folders of runs.


class Bomb:
    """Leaves a trace where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.trace = folder / "exploded"

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.trace,))


@pytest.fixture
def stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of a run on two classes that has a checkpoint, as if it had been stopped."""
    images(tmp_path / "train")
    folder = tmp_path / "run"
    assert main(["--dataset", str(tmp_path / "train"), "--out", str(folder), *QUICK]) == 0, capsys.readouterr().err
    assert (folder / "checkpoint.safetensors").is_file()
    return folder


def test_a_checkpoint_of_other_classes_is_refused(stopped: Path, tmp_path: Path, line: Line) -> None:
    (tmp_path / "train" / "dog").rename(tmp_path / "train" / "fox")
    said = line("resume", stopped)
    assert "dog" in said
    assert "fox" in said


def test_a_checkpoint_of_more_classes_is_refused(stopped: Path, tmp_path: Path, line: Line) -> None:
    images(tmp_path / "more", ("eel",))
    (tmp_path / "more" / "eel").rename(tmp_path / "train" / "eel")
    said = line("resume", stopped)
    assert "2 classes" in said
    assert "has 3" in said


def test_a_pickle_in_place_of_a_checkpoint_is_refused_unopened(stopped: Path, tmp_path: Path, line: Line) -> None:
    (stopped / "checkpoint.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path)))
    said = line("resume", stopped)
    assert "checkpoint.safetensors" in said
    assert "pickle" in said
    assert not (tmp_path / "exploded").exists()


def test_a_checkpoint_cut_short_is_refused(stopped: Path, line: Line) -> None:
    file = stopped / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "cut short" in line("resume", stopped)


def test_a_folder_that_holds_no_run_cannot_be_resumed(tmp_path: Path, line: Line) -> None:
    assert "config.json" in line("resume", tmp_path)


def test_a_folder_that_holds_a_run_is_not_written_over(stopped: Path, tmp_path: Path, line: Line) -> None:
    before = (stopped / "config.json").read_bytes()
    said = line("--dataset", tmp_path / "train", "--out", stopped, *QUICK)
    assert "noisyrun resume" in said
    assert (stopped / "config.json").read_bytes() == before


def test_a_method_that_needs_images_is_refused_on_features(tmp_path: Path, line: Line) -> None:
    said = line("--dataset", features(tmp_path / "f.npz"), "--backbone", "timm", *ON_FEATURES)
    assert "images" in said


def test_the_bomb_of_these_tests_does_explode(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path)))
    assert (tmp_path / "exploded").exists()


def test_side_information_that_cannot_be_had_is_found_before_the_first_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--side-info", "fasttext", "--side-info.vectors", "absent.vec", "--prototypes", "sinet"]
    words += ["--weighter", "sinet", "--train.warmup-epochs", "1", "--data.subset", "100", *QUICK]
    words[words.index("--epochs") + 1] = "2"
    assert main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "absent.vec" in lines[0]
