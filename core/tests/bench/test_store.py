"""The results folder: claims, and a table that every process writes alike."""

from __future__ import annotations

import csv
import os
import signal

import pytest
from pydantic import ValidationError

from noisyrun.api import UserError
from noisyrun.bench.store import Place, Result, Results, columns, is_volatile, measures


def place(method: str, seed: int, cell: str, **fields) -> Place:
    return Place(method=method, data="digits", noise="none", seed=seed, cell=cell, **fields)


def table(results: Results) -> list[dict[str, str]]:
    with (results.path / "results.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_claim_keeps_others_out_until_its_process_ends(tmp_path):
    results = Results(tmp_path)
    assert not results.claimed("a")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with results.claim("a") as mine:
            os.write(writer, b"1" if mine else b"0")
            signal.pause()
    assert os.read(reader, 1) == b"1"
    with results.claim("a") as mine:
        taken = not mine
    claimed = results.claimed("a")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert taken
    assert claimed
    assert not results.claimed("a")


def test_the_table_has_a_row_for_every_position_with_what_is_volatile_last(tmp_path):
    results = Results(tmp_path)
    swept = place("B", 0, "b", swept={"prototypes.p": 8})
    results.keep(
        Result(
            cell="a",
            status="finished",
            measures={"seconds.total": 3.0, "accuracy.last": 0.5},
            machine={"host": "one"},
            ended="2026-01-01T00:00:00Z",
        )
    )
    results.keep(Result(cell="b", status="failed", error="no, never"))
    results.write_table([place("A", 0, "a"), place("A", 1, "absent"), swept])
    rows = table(results)
    assert [row["status"] for row in rows] == ["finished", "missing", "failed"]
    assert rows[0]["accuracy.last"] == "0.5"
    assert rows[2]["error"] == "no, never"
    assert rows[2]["sweep.prototypes.p"] == "8"
    names = list(rows[0])
    assert names[-4:] == ["ended", "machine.host", "seconds.total", "started"]
    assert [name for name in names if is_volatile(name)] == names[-4:]


def test_two_positions_may_share_a_cell(tmp_path):
    results = Results(tmp_path)
    results.keep(Result(cell="a", status="finished", measures={"accuracy.last": 0.25}))
    results.write_table([place("A", 0, "a"), place("B", 0, "a")])
    assert [row["accuracy.last"] for row in table(results)] == ["0.25", "0.25"]


def test_columns_stand_in_the_same_order_whichever_cell_ended_first():
    one, other = {"method": "A", "b": 1, "a": 1, "seconds.total": 1}, {"method": "A", "c": 1, "sweep.x": 1}
    assert columns([one, other]) == columns([other, one]) == ["method", "sweep.x", "a", "b", "c", "seconds.total"]


def test_a_forgotten_result_leaves_what_the_run_saved(tmp_path):
    results = Results(tmp_path)
    results.keep(Result(cell="a", status="failed"))
    saved = results.run("a") / "checkpoint.safetensors"
    saved.parent.mkdir()
    saved.touch()
    results.forget("a")
    assert results.result("a") is None
    assert saved.exists()


def test_measures_are_the_numbers_of_a_summary_that_are_numbers():
    summary = {"accuracy": {"last": 0.5, "oracle": None}, "seconds": {"total": float("nan")}, "history": [{"loss": 1}]}
    assert measures(summary) == {"accuracy.last": 0.5}


def test_a_broken_result_names_its_file(tmp_path):
    results = Results(tmp_path)
    results.cell("a").mkdir(parents=True)
    (results.cell("a") / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"cells/a/result\.json: cannot be read"):
        results.result("a")


def test_a_cell_s_name_leads_nowhere_else():
    with pytest.raises(ValidationError):
        place("A", 0, "../../elsewhere")
