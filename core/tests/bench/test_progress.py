"""What a sweep says while it runs."""

from __future__ import annotations

import io

import pytest

from noisyrun.bench import progress as told
from noisyrun.bench.cost import Costs
from noisyrun.bench.plan import Cell, Plan
from noisyrun.bench.progress import Progress
from noisyrun.bench.store import Place, Result, Results
from noisyrun.bench.suite import Suite


def plan(data: int = 1) -> Plan:
    names = [f"D{number}" for number in range(data)]
    suite = Suite.model_validate(
        {
            "title": "A [suite]",
            "seeds": 1,
            "data": [{"name": name} for name in names],
            "method": [{"name": "plain"}, {"name": "B [b]", "weighter": "b"}],
        }
    )
    places = [
        Place(method=method, data=name, noise="none", seed=0, cell=f"{name}-{method[0]}")
        for name in names
        for method in ("plain", "B [b]")
    ]
    return Plan(suite, tuple(places), {place.cell: Cell(place.cell, place, None, {}) for place in places})


def progress(results: Results, of: Plan, seconds: float = 0.0, out: io.StringIO | None = None) -> Progress:
    known = dict.fromkeys(of.cells, seconds) if seconds else {}
    costs = Costs(known, frozenset(known), frozenset())
    return Progress(results, of, list(of.cells.values()), costs, out=out or io.StringIO())


def said(one: Progress) -> str:
    return one.console.file.getvalue()


def finished(cell: str) -> Result:
    return Result(cell=cell, status="finished", measures={"accuracy.best_noisy_val": 0.5})


def test_the_plan_shows_how_every_method_stands_and_why_a_cell_failed(tmp_path):
    results, of = Results(tmp_path), plan()
    results.keep(finished("D0-p"))
    results.keep(Result(cell="D0-B", status="failed", error="no [memory]"))
    one = progress(results, of, seconds=90.0)
    one.show_plan()
    lines = said(one).splitlines()
    assert lines[0] == "A [suite]"
    assert [line.split() for line in lines[2:4]] == [
        ["plain", "1", "done", "90.0", "s"],
        ["B", "[b]", "1", "failed", "90.0", "s"],
    ]
    assert "failed B [b] · D0 · seed 0: no [memory]" in lines
    assert lines[-1] == "2 cells, 2 ended, 0 left"


def test_what_a_part_of_the_cells_may_take_is_said_where_it_is_known(tmp_path):
    of = plan()
    for known, line in (({}, "here 1 of them"), (dict.fromkeys(of.cells, 90.0), "here 1 of them: about 90.0 s")):
        costs = Costs(known, frozenset(known), frozenset())
        one = Progress(Results(tmp_path), of, list(of.cells.values())[:1], costs, out=io.StringIO())
        one.show_plan()
        assert said(one).splitlines()[-1] == line


def test_many_comparisons_are_counted_together(tmp_path):
    of = plan(data=told.COLUMNS + 1)
    one = progress(Results(tmp_path), of)
    one.show_plan()
    assert f"{told.COLUMNS + 1} comparisons" in said(one)
    assert f"{told.COLUMNS + 1} missing" in said(one)


def test_a_line_for_every_cell_says_what_came_of_it_and_what_is_left(tmp_path):
    of = plan()
    first, second = of.cells.values()
    one = progress(Results(tmp_path), of, seconds=90.0)
    one.started(first)
    one.ended(first, finished(first.id))
    one.started(second)
    one.ended(second, Result(cell=second.id, status="timeout", error="not done after 1 s"))
    lines = said(one).splitlines()
    assert lines[0] == "plain · D0 · seed 0  started, about 90.0 s"
    assert lines[1].startswith("[1/2] plain · D0 · seed 0  done in ")
    assert "accuracy.best_noisy_val 0.5000  about " in lines[1]
    assert lines[3].startswith("[2/2] B [b] · D0 · seed 0  timed out in ")
    assert lines[3].endswith(": not done after 1 s")


def test_on_a_terminal_what_runs_stands_below_the_lines(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    of = plan()
    first = next(iter(of.cells.values()))
    one = progress(Results(tmp_path), of, out=Terminal())
    one.started(first)
    one.close()
    assert "0/2 plain · D0 · seed 0" in said(one)
    assert one._status is None


@pytest.mark.parametrize("count", [1, 2])
def test_waiting_for_another_process_is_said_once(tmp_path, count):
    of = plan()
    one = progress(Results(tmp_path), of)
    for _ in range(count):
        one.waiting(list(of.cells.values()))
    assert said(one).count("waiting for 2 that another process has: plain · D0 · seed 0, B [b] · D0 · seed 0") == 1
