"""gallery.html: what is on it, that data cannot break out of it, and how it works in a browser."""

from __future__ import annotations

import base64
import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from chromium import BINARY, Chromium
from PIL import Image
from report_fakes import Pixels, make_samples

from noisyrun.api import PAD, Labels, Targets, Task
from noisyrun.data.samples import Samples
from noisyrun.engine.label_state import LabelState
from noisyrun.report.gallery import most_suspicious, write_page

in_browser = pytest.mark.skipif(BINARY is None, reason="needs Chromium (apt install chromium)")


def judged(samples: Samples, score: list[float]) -> LabelState:
    """A state whose scores are given, and whose classifier says class 1, then class 0."""
    predicted = torch.tensor([[1, 0]]).expand(len(samples), 2)
    return replace(LabelState.initial(samples.labels), score=torch.tensor(score), predicted=predicted)


def content(page: Path) -> Any:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(found)


def written(tmp_path: Path, samples: Samples, state: LabelState, title: str = "gallery") -> Path:
    page = tmp_path / "gallery.html"
    assert write_page(samples, state, page, run="r1", title=title)
    return page


def test_the_labels_that_look_most_wrong_come_first_with_another_label_beside_them(tmp_path: Path) -> None:
    samples = make_samples(4)  # labels a b a b
    items = content(written(tmp_path, samples, judged(samples, [0.9, 0.1, 0.2, 0.8])))["items"]
    assert [item["index"] for item in items] == [1, 2, 3, 0]
    assert [item["suggested"] for item in items] == [[0], [1], [0], [1]]


def test_a_corrected_label_is_what_is_suggested(tmp_path: Path) -> None:
    samples = make_samples(2)
    targets = Targets.hard(torch.tensor([1, 1]), 1.0)
    items = content(written(tmp_path, samples, replace(judged(samples, [0.0, 1.0]), targets=targets)))["items"]
    assert [item["suggested"] for item in items] == [[1], [0]]


def test_labels_called_wrong_come_before_lower_scores() -> None:
    samples = make_samples(4)
    state = replace(judged(samples, [0.9, 0.1, 0.2, 0.8]), wrong=torch.tensor([True, False, False, False]))
    assert most_suspicious(samples, state)[0].tolist() == [0, 1, 2, 3]


def test_what_was_judged_before_comes_after_what_was_not() -> None:
    samples = replace(make_samples(4), verified=torch.tensor([-1, 0, 1, -1], dtype=torch.int8))
    rows, _ = most_suspicious(samples, judged(samples, [0.9, 0.1, 0.2, 0.8]))
    assert rows.tolist() == [3, 0, 1, 2]


def test_of_every_class_the_worst_are_there() -> None:
    """A class of 5,000 doubtful labels does not drive out one of 5 that look right."""
    labels = torch.tensor([0] * 5000 + [1] * 5)
    samples = replace(make_samples(5005), labels=Labels.of(labels))
    state = replace(LabelState.initial(samples.labels), score=labels.float())
    rows, _ = most_suspicious(samples, state)
    assert [int((labels[rows] == c).sum()) for c in (0, 1)] == [500, 5]


def test_multi_label_data_is_judged_by_pair(tmp_path: Path) -> None:
    samples = replace(make_samples(2), labels=Labels(torch.tensor([[0, 1], [1, PAD]])), task=Task(("a", "b"), "multi"))
    state = replace(judged(samples, [1.0, 1.0]), pair_score=torch.tensor([[0.5, 0.1], [0.3, 0.0]]))
    items = content(written(tmp_path, samples, state))["items"]
    assert [(item["index"], item["label"], item["observed"]) for item in items] == [
        (0, 1, [0, 1]),
        (1, 1, [1]),
        (0, 0, [0, 1]),
    ]


def test_nothing_is_written_without_images(tmp_path: Path) -> None:
    samples = replace(make_samples(2), images=None)
    assert not write_page(samples, judged(samples, [0.0, 1.0]), tmp_path / "page.html", run="r", title="t")


class Large(Pixels):
    """Images of 90 by 300 pixels in three channels."""

    def __init__(self, count: int) -> None:
        super().__init__(count, 3)
        self.shape = (3, 90, 300)


def test_large_images_are_made_smaller_and_small_ones_kept_to_the_pixel(tmp_path: Path) -> None:
    sizes = {}
    for name, images in (("small", Pixels(2, 1)), ("large", Large(2))):
        samples = replace(make_samples(2), images=images)
        url = content(written(tmp_path, samples, judged(samples, [0.0, 1.0])))["items"][0]["image"]
        kind, data = url.removeprefix("data:image/").split(";base64,")
        sizes[name] = kind, Image.open(BytesIO(base64.b64decode(data))).size
    assert sizes == {"small": ("png", (4, 4)), "large": ("jpeg", (144, 43))}


HOSTILE = '</script><img src=x onerror="document.title=1">'


def test_names_from_the_data_stay_text(tmp_path: Path) -> None:
    samples = replace(make_samples(2), task=Task((HOSTILE, "b")))
    text = written(tmp_path, samples, judged(samples, [0.0, 1.0]), title=HOSTILE).read_text()
    assert HOSTILE not in text
    assert text.count("</script>") == 2
    assert content(tmp_path / "gallery.html")["classes"][0] == HOSTILE


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    samples = replace(make_samples(400), task=Task((HOSTILE, 'b, "the" second')), truth=Labels.of(torch.ones(400)))
    page = written(tmp_path, samples, judged(samples, torch.linspace(0, 1, 400).tolist()), title=HOSTILE)
    made = Chromium(page, tmp_path / "profile")
    yield made
    made.close()


@in_browser
def test_in_a_browser_keys_judge_cards_and_verdicts_come_out_as_csv(browser: Chromium, tmp_path: Path) -> None:
    assert browser.run("document.title") == HOSTILE
    assert browser.run("document.querySelectorAll('li').length") < 400  # the rest comes as it is scrolled to
    browser.run("document.querySelector('li').focus()")
    for key in "wru":
        browser.press(key)
    assert browser.run("document.activeElement.dataset.id") == "3:1"
    rows = list(csv.DictReader(browser.run("verdictsAsCsv()").splitlines()))
    assert rows == [
        {"index": "0", "label": HOSTILE, "verdict": "wrong"},
        {"index": "1", "label": 'b, "the" second', "verdict": "right"},
        {"index": "2", "label": HOSTILE, "verdict": "unsure"},
    ]
    assert "3 judged" in browser.run("document.getElementById('tell').textContent")


@in_browser
def test_a_click_on_the_button_downloads_what_was_judged_with_clicks(browser: Chromium, tmp_path: Path) -> None:
    assert browser.run("at('save').disabled")
    browser.click("li:nth-child(2) input[value=wrong]")
    browser.click("li:nth-child(1) input[value=unsure]")
    browser.click("li:nth-child(1) input[value=right]")  # a second thought
    file = browser.downloaded("#save", tmp_path / "downloads")
    assert file.name == "verdicts.csv"
    with file.open(encoding="utf-8", newline="") as rows:
        assert list(csv.reader(rows)) == [
            ["index", "label", "verdict"],
            ["0", HOSTILE, "right"],
            ["1", 'b, "the" second', "wrong"],
        ]
    for _ in range(5):  # Chromium's storage is a moment behind its pages
        browser.reload()
        if "2 judged" in browser.run("at('tell').textContent"):
            break
    assert browser.run("document.querySelector('li').dataset.verdict") == "right"


#: How many cards the browser draws; what is on those far from what is seen is left out of layout and paint.
DRAWN = "[...document.querySelectorAll('li img')].filter(i => i.checkVisibility({contentVisibilityAuto: true})).length"


@in_browser
def test_of_thousands_of_cards_only_those_near_the_eye_are_drawn(tmp_path: Path) -> None:
    count, classes = 4000, 400
    labels = Labels.of(torch.arange(count) % classes)
    task = Task(tuple(f"class {c}" for c in range(classes)))
    samples = replace(make_samples(count), labels=labels, task=task)
    page = written(tmp_path, samples, judged(samples, torch.linspace(0, 1, count).tolist()))
    browser = Chromium(page, tmp_path / "profile")
    try:
        assert browser.run("[data.items.length, document.querySelectorAll('li').length]") == [count, 120]
        browser.run("window.scrollTo(0, document.body.scrollHeight)")
        # What comes into sight is made when it does: a page's worth at a time.
        browser.until("drawn > 120")
        assert browser.run("document.querySelectorAll('li').length") <= 360
        browser.run("{ while (drawn < shown.length) draw(); }")
        assert browser.run("document.querySelectorAll('li').length") == count
        browser.until(f"{DRAWN} < 150")
        assert browser.run(DRAWN) > 0
        browser.run("{ at('find').value = 'class 39'; at('find').dispatchEvent(new Event('input')); }")
        assert browser.run("[shown.length, document.querySelectorAll('li').length]") == [110, 110]
    finally:
        browser.close()


@in_browser
def test_a_card_of_several_labels_asks_about_one_and_shows_them_all(tmp_path: Path) -> None:
    labels = Labels(torch.tensor([[0, 1], [1, PAD]]))
    samples = replace(make_samples(2), labels=labels, task=Task(("sea", "dog"), "multi"))
    state = replace(judged(samples, [1.0, 1.0]), pair_score=torch.tensor([[0.5, 0.1], [0.3, 0.0]]))
    browser = Chromium(written(tmp_path, samples, state), tmp_path / "profile")
    try:
        told = browser.run("[...document.querySelector('dl').children].map(part => part.textContent)")
        assert told[:4] == ["says", "dog", "all labels", "sea, dog"]
        browser.run("document.querySelector('li').focus()")
        browser.press("w")
        assert browser.run("verdictsAsCsv()") == 'index,label,verdict\n0,"dog",wrong\n'
    finally:
        browser.close()


@in_browser
def test_in_a_browser_cards_are_chosen_by_class_and_by_words(browser: Chromium) -> None:
    browser.run("{at('class').value = '1'; at('class').dispatchEvent(new Event('change'))}")
    assert browser.run("[shown.length, shown.every(item => item.label === 1)]") == [200, True]
    browser.run("{at('class').value = ''; at('find').value = 'SECOND'; at('find').dispatchEvent(new Event('input'))}")
    # As observed label or as the one suggested.
    assert browser.run("shown.length") == 400
    browser.run("{at('find').value = 'third'; at('find').dispatchEvent(new Event('input'))}")
    assert browser.run("document.querySelectorAll('li').length") == 0


@in_browser
def test_a_screen_reader_is_told_what_is_asked_of_each_card(browser: Chromium) -> None:
    tree = browser.ask("Accessibility.getFullAXTree")["nodes"]
    told = [(node["role"]["value"], node["name"]["value"]) for node in tree if "name" in node and "role" in node]
    assert ("group", "Is " + HOSTILE + " right for image 0?") in told
    assert sum(role == "radio" for role, _ in told) % 3 == 0
    assert ("searchbox", "Search") in told
    unnamed = [
        role for role, name in told if role in ("radio", "button", "image", "checkbox", "searchbox") and not name
    ]
    assert unnamed == []
