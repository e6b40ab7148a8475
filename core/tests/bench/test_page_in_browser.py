"""report.html in a browser: sorting, choosing, a phone, a screen reader, and no script at all."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import BINARY, Chromium
from page_fakes import SLOW, analysis

from noisyrun.bench.page.build import write_page

pytestmark = pytest.mark.skipif(BINARY is None, reason="needs Chromium (apt install chromium)")

HOSTILE = '</script><img src=x onerror="document.title=1">'
FAILED = [("GCE", "random_label1", seed, "pending") for seed in range(3)]

TABLE = "document.querySelector('#comparison-2 table')"


def written(folder: Path, **values: Any) -> Path:
    page = folder / "report.html"
    write_page(analysis(**values), folder, page)
    return page


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A page whose data would break out of it if they could, with a method that has no result."""
    folder = tmp_path_factory.mktemp("page")
    page = written(folder, methods=("SMP", HOSTILE, "URNet", "GCE"), failed=FAILED, title=HOSTILE, epochs=5)
    made = Chromium(page, folder / "profile", 1200, 900)
    yield made
    made.close()


@pytest.fixture
def phone(browser: Chromium) -> Iterator[Chromium]:
    browser.ask("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    yield browser
    browser.ask("Emulation.clearDeviceMetricsOverride")


def column(browser: Chromium, heading: str) -> Any:
    """What the column of a heading is sorted by, from above; None where nothing was measured."""
    at = f"{header(heading)}.cellIndex"
    return browser.run(f"[...{TABLE}.tBodies[0].rows].map(row => row.cells[{at}].dataset.v ?? null)")


def header(heading: str) -> str:
    """A heading, as an expression."""
    return f"[...{TABLE}.tHead.rows[1].cells].find(one => one.textContent.startsWith('{heading}'))"


def press_enter(browser: Chromium) -> None:
    key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
    browser.ask("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
    browser.ask("Input.dispatchKeyEvent", type="keyUp", **key)


def test_a_click_on_a_heading_sorts_and_says_so(browser: Chromium) -> None:
    browser.run(f"{header('Cost')}.querySelector('button').click()")
    costs = column(browser, "Cost")
    known = [float(cost) for cost in costs if cost is not None]
    assert known == sorted(known)
    assert costs[-1] is None
    assert browser.run(f"[...{TABLE}.querySelectorAll('[aria-sort]')].map(one => one.ariaSort)").count("ascending") == 1
    browser.run(f"{header('Cost')}.querySelector('button').click()")
    turned = column(browser, "Cost")
    assert [float(cost) for cost in turned if cost is not None] == known[::-1]
    assert turned[-1] is None  # not measured stays last
    assert browser.run(f"{header('Cost')}.ariaSort") == "descending"


def test_the_keyboard_sorts_too(browser: Chromium) -> None:
    browser.run(f"{header('Method')}.querySelector('button').focus()")
    press_enter(browser)
    names = column(browser, "Method")
    assert names == sorted(names, key=str.casefold)
    press_enter(browser)
    assert column(browser, "Method") == names[::-1]


def test_the_best_comes_first_before_anyone_sorts(browser: Chromium) -> None:
    first = browser.run("document.querySelector('#comparison-3 tbody tr').textContent")
    assert "best" in first
    assert browser.run("document.querySelector('#comparison-3 tbody tr b') !== null")


def choose(browser: Chromium, value: str) -> None:
    browser.run(f"document.querySelector('.tools input[value={value}]').click()")


def seen(browser: Chromium, selector: str) -> list[bool]:
    """Of each element whether it is displayed; of parts of pictures Chromium's own answer leaves out their style."""
    displayed = "one.checkVisibility() && getComputedStyle(one).display !== 'none'"
    found: list[bool] = browser.run(f"all({json.dumps(selector)}).map(one => {displayed})")
    return found


def test_groups_of_measures_are_chosen_and_marks_stay(browser: Chromium) -> None:
    for group in ("accuracy", "detection", "cost", "all"):
        choose(browser, group)
        for other in ("accuracy", "detection", "calibration", "cost"):
            shown = seen(browser, f"td[data-g={other}]")
            assert shown
            assert set(shown) == {group in (other, "all")}, (group, other)
        assert all(seen(browser, "table .sign, .notes li"))
    assert len(seen(browser, "table .sign")) >= 6


def test_what_stands_beside_the_mean_is_chosen(browser: Chromium) -> None:
    choose(browser, "accuracy")
    for mode in ("ci", "dx", "sd"):
        choose(browser, mode)
        for other in ("ci", "dx", "sd"):
            assert any(seen(browser, f"#comparison-1 .{other}")) == (mode == other), (mode, other)


def test_a_method_is_taken_out_of_the_pictures_but_not_of_the_tables(browser: Chromium) -> None:
    button = "document.querySelector('.toggle[data-method=\"1\"]')"
    rows = len(seen(browser, "tbody tr"))
    browser.run(f"{button}.click()")
    assert browser.run(f"{button}.ariaPressed") == "false"
    assert not any(seen(browser, ".plot .m1"))
    assert sum(seen(browser, "tbody tr")) >= rows - len(seen(browser, "details tbody tr"))
    browser.run(f"{button}.click()")
    assert any(seen(browser, ".plot .m1"))


def test_a_curve_is_chosen(browser: Chromium) -> None:
    select = "document.querySelector('#comparison-1 select.curve')"
    assert seen(browser, "#comparison-1 .chosen") == [True, False]
    browser.run(f"{{{select}.selectedIndex = 1; {select}.dispatchEvent(new Event('change', {{bubbles: true}}))}}")
    assert seen(browser, "#comparison-1 .chosen") == [False, True]


def test_nothing_is_loaded_nothing_fails_and_data_stay_text(browser: Chromium) -> None:
    for domain in ("Runtime", "Log", "Network"):
        browser.ask(f"{domain}.enable")
    browser.reload()
    assert browser.run("document.title") == HOSTILE
    assert browser.run("document.querySelectorAll('img, script').length") == 1
    assert browser.run("performance.getEntriesByType('resource').length") == 0
    events = [one for one in browser._events if one["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    assert events == []
    asked = {one["params"]["request"]["url"] for one in browser._events if one["method"] == "Network.requestWillBeSent"}
    assert all(url.startswith("file:") for url in asked)


def test_a_phone_scrolls_tables_in_their_boxes_and_the_page_never(phone: Chromium) -> None:
    choose(phone, "all")
    assert phone.run("document.documentElement.scrollWidth") <= 390
    wide = phone.run(
        "all('main *').filter(one => !one.closest('.scroll, svg') && one.getBoundingClientRect().right > 391)"
        ".map(one => one.outerHTML.slice(0, 80))"
    )
    assert wide == []
    box = "document.querySelector('#comparison-1 .scroll')"
    assert phone.run(f"{box}.scrollWidth > {box}.clientWidth")
    phone.run(f"{box}.scrollLeft = 300")
    left = phone.run(f"{box}.querySelector('tbody th').getBoundingClientRect().left")
    assert 0 <= left <= 24  # the names stay in sight
    choose(phone, "accuracy")


def test_words_in_pictures_are_legible_on_a_phone(phone: Chromium) -> None:
    sizes = phone.run(
        "all('#comparison-1 .plot text').filter(one => one.checkVisibility()).map(one =>"
        " parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a)"
    )
    assert sizes
    assert min(sizes) >= 10


def test_a_screen_reader_finds_its_way(browser: Chromium) -> None:
    tree = browser.ask("Accessibility.getFullAXTree")["nodes"]
    told = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if "role" in node and not node["ignored"]
    ]
    roles = [role for role, _ in told]
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert roles.count(landmark) == 1, landmark
    named = ("table", "button", "img", "image", "radio", "region", "link", "combobox")
    assert [role for role, name in told if role in named and not name.strip()] == []
    levels = browser.run("all('h1, h2, h3').map(one => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    assert browser.run("all('th:not([scope])').length") == 0
    assert ("link", f"mark ‡: {SLOW.text}") in told
    ids = browser.run("all('[id]').map(one => one.id)")
    assert len(ids) == len(set(ids))
    assert browser.run("all('a[href^=\"#\"]').filter(one => !document.querySelector(one.hash)).length") == 0


def test_without_scripts_all_of_it_is_there(browser: Chromium) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.reload()
        shown = "[...document.querySelectorAll('{}')].every(one => one.checkVisibility())"
        for selector in ("[data-g]", ".ci", ".sd", ".chosen", ".sign", ".notes li"):
            assert browser.run(shown.format(selector)), selector
        assert not browser.run("document.querySelector('.tools').checkVisibility()")
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)
        browser.reload()


def test_printing_opens_what_is_folded(browser: Chromium) -> None:
    assert browser.run("document.querySelectorAll('details[open]').length") == 0
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("document.querySelectorAll('details:not([open])').length") == 0
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run("document.querySelectorAll('details[open]').length") == 0
