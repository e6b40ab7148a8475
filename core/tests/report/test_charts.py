"""Charts of weights, of noise by class and of what became of labels."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import torch
from report_fakes import make_samples

from noisyrun.api import Labels, Prototypes, Targets, Task
from noisyrun.engine.label_state import LabelState
from noisyrun.report.charts import (
    PLAIN,
    RIGHT,
    WRONG,
    confusion_chart,
    noise_chart,
    prototype_exhibit,
    weights_chart,
    write_charts,
)

SVG = "{http://www.w3.org/2000/svg}"


def state_of(samples, **values):  # type: ignore[no-untyped-def]
    return replace(LabelState.initial(samples.labels), **values)


def words(chart: str) -> list[str]:
    return [found.text or "" for found in ElementTree.fromstring(chart).iter(f"{SVG}text")]


def test_weights_of_right_and_wrong_labels_stand_apart_where_clean_labels_are_known() -> None:
    samples = make_samples(4)  # labels a b a b
    state = state_of(samples, weights=torch.tensor([[0.0], [1.0], [0.5], [1.0]]))
    plain = weights_chart(samples, state)
    known = weights_chart(replace(samples, truth=Labels.of(torch.tensor([1, 1, 0, 1]))), state)
    assert plain is not None
    assert known is not None
    assert "labels: 4" in words(plain)
    assert PLAIN in plain
    assert {"right: 3", "wrong: 1"} <= set(words(known))
    # The one wrong label weighs nothing: its only bar starts at the left.
    (bars,) = re.findall(f'<path d="([^"]+)" fill="{WRONG}"', known)
    assert bars.count("M") == 1
    assert bars.startswith("M60.0 ")


def test_equal_weights_give_way_to_the_scores_and_equal_scores_to_nothing() -> None:
    samples = make_samples(4)
    scored = weights_chart(samples, state_of(samples, score=torch.tensor([0.0, 1.0, 2.0, 3.0])))
    assert scored is not None
    assert "Score of the observed labels" in words(scored)
    assert weights_chart(samples, state_of(samples)) is None


def test_noise_by_class_starts_with_the_noisiest_and_marks_the_true_share() -> None:
    samples = replace(make_samples(4), truth=Labels.of(torch.tensor([0, 0, 0, 1])))
    chart = noise_chart(samples, state_of(samples, wrong=torch.tensor([False, True, False, True])))
    assert chart is not None
    told = words(chart)
    assert told.index("b") < told.index("a")
    assert [told[told.index(name) + 1] for name in "ba"] == ["100 %", "0 %"]
    marks = [float(x) for x in re.findall(rf'<path d="M([\d.]+) [\d.]+v19" stroke="{WRONG}"', chart)]
    assert marks == [60 + 120 + 450 * 0.5, 60 + 120.0]
    assert noise_chart(samples, state_of(samples)) is None


def test_the_confusion_shows_shares_of_the_observed_class() -> None:
    samples = replace(make_samples(4), task=Task(("a", "b", "c")))  # a b a b
    targets = Targets.hard(torch.tensor([0, 1, 1, 1]), 1.0)
    chart = confusion_chart(samples, state_of(samples, targets=targets))
    assert chart is not None
    told = [title.text for title in ElementTree.fromstring(chart).iter(f"{SVG}title")]
    assert {"a to a: 50.0 %", "a to b: 50.0 %", "b to b: 100.0 %"} <= set(told)
    assert not any("c" in (title or "").split()[0] for title in told[1:])  # c takes no part
    assert confusion_chart(samples, state_of(samples)) is None


def test_names_of_classes_are_escaped(tmp_path: Path) -> None:
    samples = replace(make_samples(4), task=Task(("<script>", "b&c\x08")))
    targets = Targets.hard(torch.tensor([1, 1, 1, 1]), 1.0)
    state = state_of(samples, targets=targets, wrong=torch.tensor([True] * 4), score=torch.arange(4.0))
    files = write_charts(samples, state, tmp_path)
    assert sorted(files) == ["confusion", "noise-by-class", "weights"]
    for file in files.values():
        text = (tmp_path / file).read_text()
        ElementTree.fromstring(text)
        assert "<script>" not in text


def test_prototypes_that_are_samples_are_shown_with_their_weights() -> None:
    samples = make_samples(4)
    rows, weights = torch.tensor([[0], [3]]), torch.tensor([[0.25], [1.0]])
    made = Prototypes.of(torch.ones(2, 1, 3), weights=weights, rows=rows)
    shown = prototype_exhibit(samples, state_of(samples, prototypes=made))
    assert shown is not None
    assert (shown.titles, shown.rows.tolist(), shown.values.tolist()) == (("a", "b"), [[0], [3]], [[0.25], [1.0]])
    learned = replace(made, rows=None)
    assert prototype_exhibit(samples, state_of(samples, prototypes=learned)) is None


def test_right_is_green() -> None:
    samples = replace(make_samples(4), truth=Labels.of(torch.tensor([0, 1, 0, 1])))
    chart = weights_chart(samples, state_of(samples, score=torch.arange(4.0)))
    assert chart is not None
    assert f'fill="{RIGHT}"' in chart


def test_labels_of_which_nothing_is_known_are_neither_right_nor_wrong() -> None:
    samples = replace(make_samples(4), truth=Labels.of(torch.tensor([0, -1, 1, -1])))
    state = state_of(samples, score=torch.arange(4.0), wrong=torch.tensor([True] * 4))
    chart = weights_chart(samples, state)
    assert chart is not None
    assert {"right: 1", "wrong: 1"} <= set(words(chart))
    marks = noise_chart(samples, state)
    assert marks is not None
    # One of the two labels "a" is wrong; of the labels "b" nothing is known.
    found = [float(x) for x in re.findall(rf'<path d="M([\d.]+) [\d.]+v19" stroke="{WRONG}"', marks)]
    assert sorted(found) == [60 + 120.0, 60 + 120 + 450 * 0.5]


def test_with_several_labels_only_known_pairs_are_right_or_wrong() -> None:
    task = Task(("a", "b"), "multi")
    observed, truth = (
        Labels(torch.tensor([[0, 1], [0, 1]])),
        Labels(torch.tensor([[0], [-1]]), torch.tensor([[0], [1]])),
    )
    samples = replace(make_samples(2), task=task, labels=observed, truth=truth)
    chart = weights_chart(samples, state_of(samples, weights=torch.tensor([[0.0, 1.0], [0.5, 1.0]])))
    assert chart is not None
    assert {"right: 1", "wrong: 1"} <= set(words(chart))
