"""noisyrun report: files, the short table, and what it says of folders it cannot read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bench_fakes import folder, suite, summary

from noisyrun.cli import main


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A results folder in which A is ahead, and B lacks a seed."""

    def outcome(position):
        if position.method == "B" and position.seed == 2:
            return "the loss is not finite"
        return summary({"A": 0.9, "B": 0.7}.get(position.method, 0.8) + 0.001 * position.seed**2)

    return folder(tmp_path / "results", suite(), outcome).path


def test_a_report_is_a_page_and_tables_and_a_short_answer(results, capsys):
    assert main(["report", str(results)]) == 0
    out = capsys.readouterr().out
    for name in ("report.html", "report.csv", "report.md", "report.tex"):
        assert str(results / name) in out
        assert (results / name).stat().st_size > 100
    assert "90.17 ± 0.21" in out
    assert "1 of 9 cells have no result" in out
    assert "seed 2 failed: the loss is not finite" in out


def test_the_page_may_lie_elsewhere(results, tmp_path, capsys):
    assert main(["report", str(results), "--out", str(tmp_path / "pages" / "digits.html")]) == 0
    assert (tmp_path / "pages" / "digits.html").is_file()
    assert (tmp_path / "pages" / "report.csv").is_file()
    assert not (results / "report.html").exists()


def test_several_comparisons_are_ranked_on_the_terminal(tmp_path, capsys):
    made = suite(data=[{"name": f"d{at}"} for at in range(6)])
    path = folder(tmp_path / "results", made, lambda position: summary(0.9 if position.method == "A" else 0.8)).path
    assert main(["report", str(path)]) == 0
    out = capsys.readouterr().out
    assert "average rank" in out
    assert "+10.00 (better)" in out
    assert "d5" not in out.partition("bold")[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name the results folder first"),
        (["no/such"], "no folder no/such"),
        (["{empty}"], "holds no results of a suite"),
        (["{results}", "--out", "page.txt"], "must name an .html file"),
        (["{results}", "--ot", "page.html"], "did you mean --out?"),
    ],
)
def test_what_a_user_can_mend_is_one_line(results, tmp_path, capsys, words, message):
    (tmp_path / "empty").mkdir()
    given = [word.format(empty=tmp_path / "empty", results=results) for word in words]
    assert main(["report", *given]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("result.json", '"accuracy.last": NaN', "measures.accuracy.last: Input should be a finite number"),
        ("result.json", '"accuracy.last": 1e308', "measures.accuracy.last: Input should be less than"),
        ("summary.json", '{"data": "many"}', "data: Input should be"),
        ("summary.json", '{"data": {"train": "<b>"}}', "data.train: Input should be a valid integer"),
        ("summary.json", '{"history": [{"loss": 1.0}]}', "history.0.epoch: Field required"),
        ("summary.json", '{"per_class": [{"name": "cat", "accuracy": NaN}]}', "per_class.0.accuracy: Input should be"),
        ("cell.json", '{"versions": ["torch"]}', "versions: Input should be"),
        ("suite.json", '"claim": [{"text": "x", "relation": "rises", "sweep": "C"}]', "claim[0].sweep: no method 'C'"),
    ],
)
def test_a_file_that_holds_something_else_is_named_in_one_line(results, capsys, file, content, said):
    path = next(results.rglob(file))
    if not content.startswith("{"):
        key, text = content.partition(":")[0], path.read_text(encoding="utf-8")
        content = re.sub(rf"{key}: ?(\[\]|[\d.]+)", content, text, count=1)
        assert content != text
    path.write_text(content, encoding="utf-8")
    assert main(["report", str(results)]) == 2
    said_all = capsys.readouterr().err.splitlines()
    assert len(said_all) == 1
    assert said_all[0].startswith(f"{path}: ")
    assert said in said_all[0]


def test_brackets_without_end_are_no_summary(results, capsys):
    next(results.rglob("summary.json")).write_text("[" * 100_000, encoding="utf-8")
    assert main(["report", str(results)]) == 0
