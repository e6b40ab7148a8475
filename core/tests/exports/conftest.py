"""Finished runs that nothing trained: the data of a run, and what some label phase might have made of it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from noisyrun.api.labels import PAD, Targets
from noisyrun.config.settings import RunSettings
from noisyrun.data import load
from noisyrun.engine.label_state import LabelState
from noisyrun.report import summary as summaries
from noisyrun.report.labels import label_table, write_labels
from noisyrun.run_folder import CONFIG, LABELS, STATUS, SUMMARY

#: Stable indices of what the run calls wrong and corrects, calls wrong alone, and weighs less.
CORRECTED, WRONG, LIGHT = (0, 1, 2), (3, 4), (5,)


def judge(train) -> LabelState:
    """A verdict by stable index, whatever the labels are; a corrected label is the next class."""
    state, count = LabelState.initial(train.labels), train.task.num_classes
    is_one_of = {name: torch.isin(train.index, torch.tensor(of)) for name, of in (("c", CORRECTED), ("w", WRONG))}
    first = train.labels.classes[:, 0]
    made = Targets.hard(torch.where(first == PAD, 0, (first + 1) % count), 1.0)
    wrong = is_one_of["c"] | is_one_of["w"]
    weights = state.weights.clone()
    weights[torch.isin(train.index, torch.tensor(LIGHT))] = 0.125
    pair_wrong = wrong[:, None] & (train.labels.classes != PAD)
    targets = made.where(is_one_of["c"], Targets.of(train.labels))
    several = train.task.multi
    return LabelState(
        targets,
        weights,
        torch.ones(targets.classes.shape),
        torch.where(wrong, 0.25, 0.75),
        wrong,
        pair_score=torch.where(pair_wrong, 0.25, 0.75) if several else None,
        pair_wrong=pair_wrong if several else None,
    )


@pytest.fixture
def finished(tmp_path: Path):
    """Makes the folder of a finished run on a data set."""

    def make(dataset: Path | str, verdict: Callable = judge, **settings) -> Path:
        values = {"dataset": str(dataset), **settings}
        values["data"] = {"val": 0.25, **values.get("data", {})}
        run = RunSettings.model_validate(values)
        data = load(run)
        folder = tmp_path / "run"
        folder.mkdir()
        config = {**run.model_dump(mode="json"), "weighter": {"some": {}}, "tracking": {}}
        (folder / CONFIG).write_text(json.dumps(config))
        (folder / STATUS).write_text(json.dumps({"status": "finished", "run_id": "0" * 32}))
        table = label_table(data.train.index, data.train.labels, verdict(data.train), data.task, data.train.truth)
        write_labels(table, folder / LABELS)
        summaries.write(summaries.build(config=config, data=data, run_id="0" * 32), folder / SUMMARY)
        return folder

    return make


def make_images(root: Path, names: list[str], size: tuple[int, int] = (12, 10)) -> None:
    """Random images of (width, height), each another."""
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of eight training and two test images."""
    root = tmp_path / "pets"
    classes = ("cat", "dog", "owl")
    make_images(root, [f"train/{name}/{n}.png" for name in classes for n in range(8)])
    make_images(root, [f"test/{name}/{n}.png" for name in classes for n in range(2)])
    return root


@pytest.fixture
def shop(tmp_path: Path):
    """Writes a manifest of images with some columns beside their paths, JSON lines, and gives its path."""

    def write(columns: dict[str, list]) -> Path:
        root, count = tmp_path / "shop", len(next(iter(columns.values())))
        make_images(root, [f"{n}.png" for n in range(count)])
        rows = [dict(zip(columns, values)) for values in zip(*columns.values())]
        lines = [
            json.dumps({"path": f"{n}.png", **{k: v for k, v in row.items() if v is not None}})
            for n, row in enumerate(rows)
        ]
        (root / "train.jsonl").write_text("\n".join(lines) + "\n")
        return root

    return write
