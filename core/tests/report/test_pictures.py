"""Curves and galleries."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from report_fakes import make_samples

from noisyrun.api import PAD, Labels, Targets
from noisyrun.data.samples import Samples
from noisyrun.engine.label_state import LabelState
from noisyrun.report.pictures import FRAME, SIDE, curves, most_doubtful, write_curves, write_gallery

SVG = "{http://www.w3.org/2000/svg}"
EPOCHS = [{"epoch": e, "test_accuracy": e / 4, "val_accuracy": None} for e in (1, 2, 3)]


def judged(samples: Samples, score: list[float], wrong: list[bool] | None) -> LabelState:
    n = len(samples)
    return LabelState(
        targets=Targets.of(samples.labels),
        weights=torch.ones(n, 1),
        target_weights=torch.ones(n, 1),
        score=torch.tensor(score),
        wrong=None if wrong is None else torch.tensor(wrong),
    )


def test_every_measure_that_was_taken_has_a_curve_and_the_baseline_is_dashed():
    drawn = curves({"history": EPOCHS, "rounds": [{"epoch": 1, "wrong": 0.5}], "baseline": {"history": EPOCHS[:2]}})
    assert drawn is not None
    lines = list(ElementTree.fromstring(drawn).iter(f"{SVG}polyline"))
    assert [len(line.attrib["points"].split()) for line in lines] == [3, 2, 1]
    assert ["stroke-dasharray" in line.attrib for line in lines] == [False, True, False]
    heights = [float(point.split(",")[1]) for point in lines[0].attrib["points"].split()]
    assert heights == sorted(heights, reverse=True)  # a higher share stands higher up


def test_only_a_corrector_has_a_curve_of_corrected_labels():
    told = {"epoch": 1, "label_accuracy_after": 0.6}
    words = "right after correction"
    assert words in (curves({"rounds": [{**told, "changed": 0.2}]}) or "")
    assert words not in (curves({"rounds": [{**told, "auroc": 0.9}]}) or "")


def test_nothing_measured_draws_nothing(tmp_path: Path):
    assert not write_curves({"history": [], "rounds": []}, tmp_path / "curves.svg")
    assert not (tmp_path / "curves.svg").exists()


def test_labels_called_wrong_come_first_and_then_the_lowest_quality():
    samples = make_samples()
    state = judged(samples, [0.5, 0.1, 0.9, 0.2, 0.3, 0.4], [True, False, True, False, False, False])
    assert most_doubtful(state, 4).tolist() == [0, 2, 1, 3]
    assert most_doubtful(replace(state, wrong=None), 3).tolist() == [1, 3, 4]


def test_a_gallery_shows_images_framed_by_what_is_known(tmp_path: Path):
    samples = make_samples()
    truth = samples.labels.classes.clone()
    truth[0] = (truth[0] + 1) % 2
    truth[1] = PAD
    samples = replace(samples, truth=Labels(truth))
    assert write_gallery(samples, judged(samples, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5], None), tmp_path / "g.png")
    sheet = Image.open(tmp_path / "g.png")
    at = [sheet.getpixel((r * (SIDE + 2 * FRAME), 0)) for r in range(3)]
    assert at == [(214, 39, 40), (187, 187, 187), (44, 160, 44)]
    inside = [sheet.getpixel((r * (SIDE + 2 * FRAME) + FRAME, FRAME)) for r in range(6)]
    assert inside == [(r, r, r) for r in range(6)]


def test_features_alone_have_no_gallery(tmp_path: Path):
    samples = replace(make_samples(), images=None)
    assert not write_gallery(samples, judged(samples, [0.0] * 6, None), tmp_path / "g.png")


def test_label_phases_are_marked_on_the_curves() -> None:
    drawn = curves({"history": EPOCHS, "rounds": [{"epoch": 1, "auroc": 0.5}, {"epoch": 2, "auroc": 0.6}]})
    assert drawn is not None
    marks = [path for path in ElementTree.fromstring(drawn).iter(f"{SVG}path") if path.get("class") == "phase"]
    assert len(marks) == 4  # on both panels
    words = [found.text for found in ElementTree.fromstring(drawn).iter(f"{SVG}text")]
    assert words.count("label phase") == 2
    plain = curves({"history": EPOCHS})
    assert plain is not None
    assert "label phase" not in plain


def test_several_labels_a_sample_are_measured_by_map() -> None:
    multi = {"data": {"labels": "multi"}}
    for tested in ({"test_accuracy": 0.5, "test_map": 0.5, "test_ap_all": 0.4}, {}):  # a test set need not be there
        drawn = curves(multi | {"history": [{"epoch": 1, "val_accuracy": 0.5, **tested}]})
        assert drawn is not None
        words = {found.text for found in ElementTree.fromstring(drawn).iter(f"{SVG}text")}
        assert "mAP on noisy validation" in words
        assert ("test mAP" in words) == bool(tested)
        assert not words & {"test accuracy", "accuracy on noisy validation"}
