"""All pictures of a run: one that fails costs neither the run nor the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from report_fakes import make_samples
from torch import nn

from noisyrun.data.samples import Data
from noisyrun.engine.label_state import LabelState
from noisyrun.engine.outcome import Outcome
from noisyrun.report import gallery
from noisyrun.report.drawing import draw
from noisyrun.run_folder import RunFolder


def drawn(tmp_path: Path, warnings: list[str]) -> dict[str, str]:
    samples = make_samples(4)
    state = replace(LabelState.initial(samples.labels), score=torch.arange(4.0))
    history = [{"epoch": 1, "test_accuracy": 0.5}]
    outcome = Outcome(nn.Identity(), state, {}, history=history, rounds=[{"epoch": 0, "auroc": 0.5}])
    return draw(Data("few", samples, None, None, {}), outcome, None, RunFolder(tmp_path), "r1", warnings.append)


def test_after_a_label_phase_every_picture_is_drawn(tmp_path: Path) -> None:
    warnings: list[str] = []
    made = drawn(tmp_path, warnings)
    assert set(made) == {"curves", "weights", "gallery", "page"}
    assert {path.name for path in tmp_path.iterdir()} == set(made.values())
    assert warnings == []


def test_a_picture_that_fails_leaves_the_others_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **settings: object) -> bool:
        raise OSError("no\nroom")

    monkeypatch.setattr(gallery, "write_page", fail)
    warnings: list[str] = []
    assert set(drawn(tmp_path, warnings)) == {"curves", "weights", "gallery"}
    assert warnings == ["no page: no room"]
