"""What a run draws, and where it goes: into MLflow, before a reviewer, and back into the next run as verdicts."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from noisyrun import data as datasets
from noisyrun.cli import main
from noisyrun.config.resolve import resolve

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "core" / "tests" / "report"))
from chromium import BINARY, Chromium

in_browser = pytest.mark.skipif(BINARY is None, reason="needs Chromium (apt install chromium)")

#: A network and a number of digits that make an epoch a matter of a moment.
SMALL = ["--data.subset", "300", "--batch-size", "48", "--device", "cpu", "--epochs", "3"]
SMALL += ["--backbone", "small-cnn", "--backbone.width", "4", "--backbone.depth", "2", "--backbone.blocks", "0"]
METHODS = ["--prototypes", "smp", "--weighter", "sinet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run in it, recorded in MLflow."""
    folder, before = tmp_path_factory.mktemp("pictures"), Path.cwd()
    os.chdir(folder)
    pytest.importorskip("mlflow")
    assert main([*METHODS, *SMALL, "--tracking", "mlflow", "--out", "first"]) == 0
    yield folder
    os.chdir(before)


def again(folder: Path, out: str, *words: str) -> pd.DataFrame:
    """Labels of a further run of the same methods on the same data."""
    assert main([*METHODS, *SMALL, "--tracking", "none", *words, "--out", str(folder / out)]) == 0
    return pd.read_parquet(folder / out / "labels.parquet")


def test_pictures_and_gallery_are_artifacts_of_the_mlflow_run(folder: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    mlflow = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    experiment = mlflow.get_experiment_by_name("noisyrun")
    assert experiment is not None
    (run,) = mlflow.search_runs([experiment.experiment_id])
    names = {entry.path for entry in mlflow.list_artifacts(run.info.run_id)}
    pictures = {path.name for path in (folder / "first").iterdir() if path.suffix in (".svg", ".png", ".html")}
    assert pictures >= {"curves.svg", "weights.svg", "gallery.png", "gallery.html", "prototypes.png"}
    assert pictures <= names
    for name in ("curves.svg", "gallery.html"):
        kept = Path(mlflow.download_artifacts(run.info.run_id, name, str(tmp_path)))
        assert kept.read_bytes() == (folder / "first" / name).read_bytes()


@in_browser
def test_verdicts_given_in_the_gallery_come_back_and_change_the_next_run(folder: Path, tmp_path: Path) -> None:
    page = Chromium(folder / "first" / "gallery.html", tmp_path / "profile")
    try:
        # Ninety cards, judged by the clean labels in place of a reviewer.
        page.run("""
            [...document.querySelectorAll("li")].slice(0, 90).forEach((card, i) =>
                judge(card, shown[i].truth.includes(shown[i].label) ? "right" : "wrong"))
        """)
        verdicts = page.downloaded("#save", tmp_path)
    finally:
        page.close()
    rows = list(csv.DictReader(verdicts.read_text(encoding="utf-8").splitlines()))
    given = {int(row["index"]): int(row["verdict"] == "right") for row in rows}
    assert len(given) == 90
    assert set(given.values()) == {0, 1}

    first = pd.read_parquet(folder / "first" / "labels.parquet")
    assert again(folder, "same")["weight"].equals(first["weight"])
    second = again(folder, "second", "--verify", str(verdicts))
    train = datasets.load(resolve(config=folder / "second" / "config.json").settings).train
    taken = {int(i): int(one) for i, one in zip(train.index, train.verified) if one >= 0}
    assert taken == given
    assert not second["weight"].equals(first["weight"])


def test_the_page_holds_what_the_run_says_of_its_labels(folder: Path) -> None:
    text = (folder / "first" / "gallery.html").read_text(encoding="utf-8")
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    items: list[dict[str, Any]] = json.loads(found)["items"]
    labels = pd.read_parquet(folder / "first" / "labels.parquet").set_index("index")
    for item in items[:50]:
        assert item["label"] == labels.loc[item["index"], "observed"]
        assert float(item["score"]) == pytest.approx(labels.loc[item["index"], "quality"], rel=0.01, abs=1e-3)
