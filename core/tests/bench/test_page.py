"""report.html as text: what it says of an analysis, that data cannot break out of it, and that it can be read."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from bench_fakes import folder, suite, summary
from hypothesis import given
from hypothesis import strategies as st
from page_fakes import CLASSES, METHODS, SLOW, TRUSTED, analysis

from noisyrun.bench.analysis import Analysis, analyse
from noisyrun.bench.page import svg
from noisyrun.bench.page.build import page, write_page
from noisyrun.bench.page.looks import looks
from noisyrun.bench.suite import CROSS_ENTROPY

HOSTILE = '</script><img src=x onerror="document.title=1">'
BROKEN = "\x00\x08\ud800\uffff"


def read(text: str, section: str) -> str:
    """The words of a section."""
    (found,) = re.findall(rf'<section id="{section}".*?</section>', text, re.DOTALL)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<(?!/?svg)[^>]+>", "", found)))


def measured(path: Path, **by_method: tuple[float, ...]) -> Analysis:
    """An analysis of a results folder in which each method has so high an accuracy by seed; ce is cross entropy."""
    made = suite(method=[{"name": name, "weighter": name.lower()} for name in by_method if name != "ce"])

    def outcome(position):
        accuracy = by_method["ce" if position.method == CROSS_ENTROPY else position.method][position.seed]
        return accuracy if isinstance(accuracy, str) else summary(accuracy)

    return analyse(folder(path, made, outcome))


def test_the_verdict_says_who_is_ahead_beyond_noise_and_who_is_not(tmp_path):
    found = measured(
        tmp_path, ce=(0.80, 0.81, 0.82), A=(0.90, 0.91, 0.92), B=(0.901, 0.911, 0.908), C=(0.70, 0.71, 0.72)
    )
    said = read(page(found), "verdict")
    assert "A has the best mean, 91.00 ± 1.00 %; within noise of it: B." in said
    assert "Ahead of cross entropy beyond noise: A, B. Behind it: C." in said


def test_the_verdict_says_when_nothing_beats_plain_training(tmp_path):
    said = read(page(measured(tmp_path, ce=(0.80, 0.81, 0.82), A=(0.78, 0.83, 0.80))), "verdict")
    assert "No method is ahead of cross entropy beyond noise. Not told apart from it: A." in said


def test_a_wide_interval_whose_pairs_all_agree_says_so(tmp_path):
    found = measured(tmp_path, ce=(0.80, 0.80, 0.80), A=(0.81, 0.81, 0.89))
    said = read(page(found), "comparison-1")
    assert "+3.67 ≈ within noise −7.81 to +15.14, p = 0.25 all 3 pairs above 0" in said


def test_methods_of_the_same_mean_share_the_best(tmp_path):
    said = read(page(measured(tmp_path, ce=(0.80, 0.81, 0.82), A=(0.9, 0.9, 0.9), B=(0.9, 0.9, 0.9))), "verdict")
    assert "A, B share the best mean, 90.00 ± 0.00 %, ahead of all others beyond noise." in said.replace("\u00a0", " ")


def test_one_seed_says_nothing_about_noise(tmp_path):
    made = suite(seeds=[0])
    found = analyse(folder(tmp_path, made, lambda position: summary(0.9 if position.method == "A" else 0.8)))
    said = read(page(found), "verdict")
    assert "A has the best mean, 90.00 %; too few seeds to say what is noise." in said
    assert "Ahead of" not in said


def test_a_method_that_lacks_a_seed_is_not_called_the_best(tmp_path):
    found = measured(tmp_path, ce=(0.80, 0.81, 0.82), A=(0.90, 0.91, 0.92), B=(0.95, 0.96, "the loss is not finite"))
    text = page(found)
    said = read(text, "verdict")
    assert "A has the best mean of those with all seeds, 91.00 ± 1.00 %, ahead of these beyond noise." in said
    assert "the loss is not finite" in read(text, "unfinished")
    assert "2 of 3" in read(text, "comparison-1")


def test_a_folder_in_which_nothing_has_finished_has_a_page(tmp_path):
    text = page(analyse(folder(tmp_path, suite(), lambda position: None)))
    assert "Nothing was measured yet." in read(text, "verdict")
    assert "pending" in read(text, "unfinished")


def test_while_seeds_are_missing_nobody_is_called_the_best(tmp_path):
    found = measured(tmp_path, ce=(0.80, "out of memory", 0.82), A=(0.90, 0.91, "out of memory"))
    said = read(page(found), "verdict")
    assert re.search(r"No method has all its seeds yet. So far A ?N has the best mean, 90.50.%\.", said)


def test_a_swept_setting_is_drawn_over_its_values(tmp_path):
    made = suite(
        method=[
            {"name": "SMP", "prototypes": "smp", "sweep": {"prototypes.p": [1, 2, 8, 16]}},
            {"name": "B", "weighter": "b", "sweep": {"weighter.hard": [True, False]}},
        ]
    )

    def outcome(position):
        return summary(0.8 + 0.01 * position.swept.get("prototypes.p", 0) + 0.001 * position.seed)

    text = page(analyse(folder(tmp_path, made, outcome)))
    (drawn,) = re.findall(r'<svg[^>]*class="plot curves sweep".*?</figure>', text, re.DOTALL)
    words = re.findall(r"<text[^>]*>(.*?)</text>", drawn)
    assert [word for word in words if word in ("1", "2", "8", "16")] == ["1", "2", "8", "16"]
    assert "SMP" in words
    assert CROSS_ENTROPY in words
    assert "prototypes.p" in drawn


def test_one_method_alone_has_a_page():
    text = page(analysis(methods=(), noises=("a",), seeds=1, epochs=0, classes=(), keys=["accuracy.last"]))
    assert "there is no other method" in read(text, "verdict")
    assert "<figure" not in text


def test_marks_stand_below_every_table_with_their_text_and_methods():
    text = page(analysis(marks={"SMP": [SLOW], "URNet": [SLOW, TRUSTED]}))
    for section in ("overall", "comparison-1", "comparison-3", "fairness"):
        said = read(text, section)
        assert f"‡ Breaks a rule. SMP; URNet: {SLOW.text}" in said
        assert f"T URNet: {TRUSTED.text}" in said
    assert len(re.findall(r'<a class="sign breaks"', text)) >= 2 * 4


def test_a_mark_of_the_whole_comparison_stands_at_its_head():
    made = analysis(methods=("SMP",), noises=("a", "b"), marks={})
    whole = replace(SLOW, comparison="CIFAR-10N, b", text="the labels differ by method")
    first, second = made.comparisons
    text = page(replace(made, comparisons=(first, replace(second, marks=(whole,))), marks=(whole,)))
    assert re.search(r"<caption[^>]*>CIFAR-10N, b:[^<]*<sup>", text)
    assert not re.search(r"<caption[^>]*>CIFAR-10N, a:[^<]*<sup>", text)


def test_names_from_data_stay_text():
    made = analysis(
        methods=(HOSTILE, "SMP"),
        noises=(HOSTILE, "b"),
        classes=(HOSTILE, "cat"),
        title=HOSTILE,
        about=HOSTILE,
        failed=[("SMP", "b", 1, HOSTILE)],
        marks={"SMP": [replace(SLOW, text=HOSTILE)]},
    )
    made = replace(made, command=HOSTILE, versions={HOSTILE: (HOSTILE,)}, started=HOSTILE)
    text = page(made)
    assert HOSTILE not in text
    assert text.count("</script>") == 1
    assert "<img" not in text


@pytest.mark.parametrize(
    ("about", "shown"),
    [
        ("made by `a < b`, once", "made by <code>a &lt; b</code>, once"),
        ("a lone ` and <b>", "a lone ` and &lt;b&gt;"),
    ],
)
def test_backticks_in_the_words_of_a_suite_enclose_code(about, shown):
    assert f'<p class="about">{shown}</p>' in page(analysis(methods=("A",), noises=("a",), about=about))


def test_characters_that_no_page_may_hold_are_replaced(tmp_path):
    made = analysis(methods=("A",), noises=("a",), classes=(f"cat{BROKEN}",))
    write_page(made, tmp_path, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "cat\ufffd\ufffd\ufffd\ufffd" in text


def test_the_page_refers_to_nothing_but_itself_and_the_galleries_of_the_results():
    text = page(analysis(), "results/")
    links = re.findall(r'(?:href|src|action|data)="([^"]*)"', text)
    assert {link.partition("#")[0].partition("cells")[0] for link in links} == {"", "results/"}
    assert "@import" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_galleries_are_linked_from_wherever_the_page_lies(tmp_path):
    results = tmp_path / "some results"
    results.mkdir()
    for path, link in (
        (results / "report.html", "cells/0100/run/gallery.html"),
        (tmp_path / "pages" / "report.html", "../some%20results/cells/0100/run/gallery.html"),
    ):
        write_page(analysis(), results, path)
        assert f'href="{link}"' in path.read_text(encoding="utf-8")


def test_the_same_analysis_gives_the_same_page():
    assert page(analysis()) == page(analysis())


def test_a_large_suite_stays_small():
    """10 methods, 6 comparisons, 5 seeds, 200 epochs, 100 classes."""
    text = page(analysis(noises=tuple("abcdef"), seeds=5, epochs=200, classes=[f"class {at}" for at in range(100)]))
    assert len(METHODS) + 1 == 10
    assert len(text.encode()) < 2_000_000


def test_of_very_many_classes_those_that_differ_most_are_shown():
    text = page(analysis(methods=("A",), noises=("a",), classes=[f"class {at}" for at in range(130)]))
    assert text.count('<tr><th scope="row" data-v="class ') == 2 * 100  # accuracy, and labels called wrong
    assert "30 are left out" in unescape(text)


def test_all_comparisons_stand_side_by_side_by_average_rank(tmp_path):
    made = suite(data=[{"name": "digits"}, {"name": "letters"}])

    def outcome(position):
        gain = {"A": 0.1, "B": 0.1 + (-0.01, 0.0, 0.012)[position.seed]}.get(position.method, 0.0)
        return summary(0.8 + 0.001 * position.seed + gain)

    text = page(analyse(folder(tmp_path, made, outcome)))
    (table,) = re.findall(r'<section id="overall".*?<tbody>(.*?)</tbody>', text, re.DOTALL)
    assert re.findall(r'<th scope="row" data-v="(.*?)"', table) == ["B", "A", CROSS_ENTROPY]
    assert table.count("≈ 90.10") == 2  # A, within noise of B on both
    said = read(text, "overall")
    assert "Average ranks over 2 comparisons" in said
    assert "critical difference of" in said


def test_a_curve_is_there_as_a_table_of_some_epochs(tmp_path):
    def outcome(position):
        return summary(0.8, history=[{"epoch": epoch, "test_accuracy": epoch / 100} for epoch in range(1, 61)])

    text = page(analyse(folder(tmp_path, suite(), outcome)))
    (table,) = re.findall(r"<caption>Test accuracy, % by epoch.*?</table>", text, re.DOTALL)
    head = [int(epoch) for epoch in re.findall(r'class="epoch">(\d+)<', table)]
    assert (head[0], head[-1], len(head)) == (1, 60, 10)
    (row,) = re.findall(r'<th scope="row">A</th>(.*?)</tr>', table)
    assert re.findall(r"<td>(.*?)</td>", row) == [f"{epoch:.1f}" for epoch in head]


def test_claims_and_published_figures_stand_with_what_differs():
    text = page(analysis())
    claims = read(text, "claims")
    for outcome in ("✓ agrees", "✗ disagrees", "≈ within noise", "not measured"):
        assert outcome in claims
    assert "4 claims held against what was measured: agrees 1, disagrees 1, within noise 1" in read(text, "verdict")
    assert "ResNet-34 against a narrow network" in read(text, "published")


def test_what_was_run_is_told():
    said = read(page(analysis()), "run")
    for told in ("noisyrun bench benchmarks/suites/cifar10n.toml", "2 × Intel Xeon", "torch 2.15.0 and 2.15.1"):
        assert told in said
    assert "2026-11-21 04:00" in said


def test_detection_suites_of_one_measure_have_no_curves():
    text = page(analysis(epochs=0, classes=CLASSES, keys=["detection.auroc", "seconds.total"]))
    assert "Curve" not in text
    assert "AUROC" in read(text, "verdict")


def test_without_plain_training_nothing_is_compared_with_it(tmp_path):
    made = suite(task="detect")

    def outcome(position):
        return {"detection": {"auroc": 0.9 + 0.01 * position.seed}, "seconds": {"total": 2.0}, "data": {"train": 10}}

    text = page(analyse(folder(tmp_path, made, outcome)))
    assert "A, B share the best mean, 0.910 ± 0.010" in read(text, "verdict")
    body = text.partition("<body>")[2].partition("<script>")[0]
    assert "Against cross entropy" not in body
    assert "× cross entropy" not in body
    heads = [re.findall(r"<t[hd] ", row) for row in re.findall(r"<tr.*?</tr>", read_table(text), re.DOTALL)]
    assert len({len(cells) for cells in heads[1:]}) == 1


def read_table(text: str) -> str:
    """The table of the first comparison."""
    (found,) = re.findall(r'<section id="comparison-1".*?(<table.*?</table>)', text, re.DOTALL)
    return found.replace("<td>", "<td >")


def test_methods_keep_apart_by_colour_and_shape():
    made = looks([CROSS_ENTROPY, *(f"m{at}" for at in range(50))], CROSS_ENTROPY)
    assert made[CROSS_ENTROPY].colour == 0
    assert len({(look.colour, look.shape) for look in made.values()}) == 51
    assert [look.colour for look in made.values()].count(0) == 1


@given(
    places=st.lists(st.floats(0, 100), max_size=12),
    gap=st.floats(0.5, 20),
)
def test_labels_are_moved_apart_within_bounds_and_in_order(places, gap):
    moved = svg.apart(places, gap, 0.0, 100.0)
    assert all(-1e-6 <= at <= 100 + 1e-6 for at in moved)
    order = sorted(range(len(places)), key=lambda at: places[at])
    room = min(gap, 100 / max(len(places) - 1, 1))
    for one, other in itertools.pairwise(order):
        assert moved[other] - moved[one] >= room - 1e-6


@given(
    values=st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=8),
    log=st.booleans(),
)
def test_scales_hold_their_values_and_have_ticks(values, log):
    scale = svg.around(values, 0.0, 100.0, log=log)
    assert all(-1e-6 <= scale(value) <= 100 + 1e-6 for value in values)
    ticks = scale.ticks(6)
    assert 1 <= len(ticks) <= 8
    assert all(-1e-6 <= scale(tick) <= 100 + 1e-6 for tick in ticks)


def luminance(colour: str) -> float:
    """Of a colour as #rgb or #rrggbb, as WCAG defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The ratio of two colours, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_and_marks_stand_out_from_what_they_stand_on(scheme):
    style = (Path(svg.__file__).parent / "page.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", block))
    for ground in ("page", "tint", "top"):
        for words in ("ink", "soft", "link", "good", "bad", "warn"):
            assert contrast(colours[words], colours[ground]) >= 4.5, (words, ground)
        for method in (name for name in colours if re.fullmatch(r"c\d", name)):
            assert contrast(colours[method], colours[ground]) >= (3.0 if ground == "page" else 2.7), (method, ground)
    for step in (name for name in colours if re.fullmatch(r"h\d", name)):
        assert contrast(colours["ink"], colours[step]) >= 4.5, step
