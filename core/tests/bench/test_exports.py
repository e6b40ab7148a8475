from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import bench_fakes as fakes
import pytest

from noisyrun.bench import exports
from noisyrun.bench.analysis import Analysis, analyse
from noisyrun.bench.positions import Position

ACCURACY = {"cross entropy": (0.7, 0.71, 0.72), "A": (0.9, 0.91, 0.93), "B": (0.92, 0.88, 0.9)}


def outcome(position: Position) -> Any:
    slow = 90.0 if position.method == "A" else 2.0
    return fakes.summary(ACCURACY.get(position.method, (0.5, 0.5, 0.5))[position.seed], seconds={"total": slow})


@pytest.fixture
def analysis(tmp_path: Path) -> Analysis:
    suite = fakes.suite(
        data=[{"name": "d", "noise": ["pair:0.2", "pair:0.4"]}],
        claim=[{"text": "A is better", "source": "P, 1", "better": "A", "worse": "cross entropy"}],
        published=[{"source": "P, 2", "data": "W", "measure": "top-1", "figures": {"A": 71.5}, "differs": "epochs"}],
    )
    return analyse(fakes.folder(tmp_path, suite, outcome))


def records(analysis: Analysis) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(exports.to_csv(analysis))))


def test_csv_has_a_row_for_every_method_comparison_and_measure(analysis: Analysis) -> None:
    found = records(analysis)
    assert len(found) == 2 * 3 * 6
    row = next(one for one in found if one["method"] == "A" and one["measure"] == "accuracy.best_noisy_val")
    assert float(row["mean"]) == pytest.approx(0.91333333)
    assert (row["comparison"], row["data"], row["noise"], row["n"]) == ("d, pair:0.2", "d", "pair:0.2", "3")
    assert (row["outcome"], row["best"], row["rank"], float(row["cost"])) == ("better", "True", "1.0", 45.0)
    assert (row["marks"], row["breaks"]) == ("X", "X")


def test_csv_keeps_a_method_without_a_result(tmp_path: Path) -> None:
    found = analyse(fakes.folder(tmp_path, fakes.suite(), lambda one: "boom" if one.method == "B" else outcome(one)))
    row = next(one for one in records(found) if one["method"] == "B")
    assert (row["measure"], row["mean"], row["n"], row["seeds"], row["breaks"]) == (
        "accuracy.best_noisy_val",
        "",
        "0",
        "3",
        "N",
    )


@pytest.mark.parametrize("export", [exports.to_csv, exports.to_markdown, exports.to_latex])
def test_marks_are_in_every_export(analysis: Analysis, export: Any) -> None:
    signs = {mark.sign for mark in analysis.marks}
    assert signs == {"X"}
    assert all(re.search(rf"\b{sign}\b", export(analysis)) for sign in signs)


def test_markdown_shows_best_noise_marks_cost_and_rank(analysis: Analysis) -> None:
    text = exports.to_markdown(analysis)
    assert "| A | **91.33 ± 1.53** (X) | **91.33 ± 1.53** (X) | 45.0 | 1.00 |" in text
    assert "| B | 90.00 ± 2.00 ≈ | 90.00 ± 2.00 ≈ | 1.0 | 2.00 |" in text
    assert "| cross entropy | 71.00 ± 1.00 | 71.00 ± 1.00 | 1.0 | 3.00 |" in text
    assert "- X: A, d, pair:0.2; d, pair:0.4: takes 45.0 × the time" in text
    assert "| A is better | P, 1 | agrees | +20.33 points" in text
    assert "| P, 2 | W | top-1 | A | 71.5 | 91.33 ± 1.32 |" in text or "| 71.5 | 91.33 ± 1.53 |" in text


def test_markdown_tables_are_whole_whatever_names_hold(tmp_path: Path) -> None:
    suite = fakes.suite(title="a|b <i> *c*", method=[{"name": "x | y `z` [q](u) <b>", "weighter": "a"}])
    text = exports.to_markdown(analyse(fakes.folder(tmp_path, suite, outcome)))
    assert "x \\| y \\`z\\` \\[q\\](u) \\<b\\>" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert not re.search(r"(?<!\\)<", text)


def test_latex_is_balanced_and_escaped_whatever_names_hold(tmp_path: Path) -> None:
    name = r"[2cm] 50% & $x_1$ #2 {a} ~ ^ \input{secret} α ≥ 1"
    suite = fakes.suite(title="t%\n\\input{x}", method=[{"name": name, "weighter": "a"}])
    text = exports.to_latex(analyse(fakes.folder(tmp_path, suite, outcome)))
    commands = [line for line in text.splitlines() if not line.startswith("%")]
    assert r"50\% \& \$x\_1\$ \#2 \{a\} \textasciitilde{} \textasciicircum{} \textbackslash{}input\{secret\}" in text
    assert r"$\alpha$ $\geq$ 1" in text
    assert not any(line.startswith("[") for line in commands)  # which after a row is how far to the next
    assert not any(r"\input" in line for line in commands)
    bare = re.sub(r"\\[{}\\]", "", "\n".join(commands))
    assert bare.count("{") == bare.count("}")
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}") == 1
    head = next(line for line in commands if line.startswith("method &"))
    body = [line for line in commands if line.endswith("\\\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {len(re.findall(r"(?<!\\)&", head))}


def test_latex_shows_what_markdown_shows(analysis: Analysis) -> None:
    text = exports.to_latex(analysis)
    assert r"A & \textbf{91.33 $\pm$ 1.53}$^{\mathrm{X}}$" in text
    assert r"B & 90.00 $\pm$ 2.00 $\approx$" in text
    assert text.count("\\toprule") == 3


def test_one_seed_has_no_spread_and_says_so(tmp_path: Path) -> None:
    text = exports.to_markdown(analyse(fakes.folder(tmp_path, fakes.suite(seeds=1), outcome)))
    assert "one seed: no spread is known" in text
    assert "| **92.00** |" in text


def test_a_method_without_a_result_is_a_dash_with_its_mark(tmp_path: Path) -> None:
    found = analyse(fakes.folder(tmp_path, fakes.suite(), lambda one: None if one.method == "B" else outcome(one)))
    text = exports.to_markdown(found)
    assert "| B | – (N) | – |" in text
    assert "6 of 9 cells have a result." in text


def test_write_leaves_three_files(analysis: Analysis, tmp_path: Path) -> None:
    found = exports.write(analysis, tmp_path)
    assert [path.name for path in found] == ["report.csv", "report.md", "report.tex"]
    assert found[1].read_text(encoding="utf-8") == exports.to_markdown(analysis)
