"""A suite in MLflow: one parent, one run for each cell that has ended, whoever records and whatever is killed."""

from __future__ import annotations

import io
import json
import threading
from typing import ClassVar

import pytest

from noisyrun.bench.store import Expanded, Place, Result, Results
from noisyrun.bench.suite import Suite
from noisyrun.bench.track import Tracker, recorded
from noisyrun.tracking import suites
from noisyrun.tracking.suites import CELL_TAG, SUITE_TAG, WHOLE_TAG, SuiteRecorder

pytest.importorskip("mlflow")

PLACES = tuple(Place(method=m, data="digits", noise="none", seed=0, cell=m.lower()) for m in ("A", "B"))
SUITE = Suite.model_validate({"title": "A 'suite'", "data": [{"name": "digits"}], "method": [{"name": "A"}]})


def client(uri: str):
    from mlflow import MlflowClient

    return MlflowClient(uri, registry_uri=uri)


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> bytes:
    """A store whose tables are made once: making them takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    client(f"sqlite:///{path}")
    return path.read_bytes()


@pytest.fixture
def results(tables, tmp_path, monkeypatch) -> Results:
    """A results folder of two cells, neither of which has ended."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(tables)
    made = Results(tmp_path)
    made.save_suite(Expanded(suite=SUITE, places=PLACES))
    return made


def recorder(results: Results) -> SuiteRecorder:
    return SuiteRecorder(
        {
            "uri": f"sqlite:///{results.path / 'mlflow.db'}",
            "experiment": "noisyrun",
            "results": str(results.path),
            "suite": "name",
            "title": SUITE.title,
            "cells": [place.cell for place in PLACES],
            "tags": {"task": "train"},
        }
    )


def message(cell: str) -> dict:
    tags = {"method": cell.upper(), "cell": cell}
    return {
        "cell": cell,
        "name": f"{cell} · digits",
        "versions": {"torch": "2"},
        "parameters": {"epochs": "2"},
        "tags": tags,
    }


def end(results: Results, cell: str, status: str = "finished", ended: str = "2026-01-01T00:00:00Z", **fields) -> None:
    """A cell has ended."""
    history = [{"epoch": 1, "step": 5, "loss": 2.0}, {"epoch": 2, "step": 10, "loss": 1.0}]
    rounds = [{"epoch": 1, "round": 0, "auroc": 0.75}]
    results.run(cell).mkdir(parents=True, exist_ok=True)
    summary = {"history": history, "rounds": rounds, "data": {"name": "digits", "digests": {"labels": "abc"}}}
    (results.run(cell) / "summary.json").write_text(json.dumps(summary))
    measured = {"accuracy.last": 0.5} if status == "finished" else {}
    results.keep(Result(cell=cell, status=status, measures=measured, ended=ended, **fields))


def runs(results: Results) -> tuple[list, dict]:
    """The parents, and the cells' runs by cell."""
    mlflow = client(f"sqlite:///{results.path / 'mlflow.db'}")
    experiment = mlflow.get_experiment_by_name("noisyrun")
    found = mlflow.search_runs([experiment.experiment_id])
    nested = [run for run in found if CELL_TAG in run.data.tags]
    assert len({run.data.tags[CELL_TAG] for run in nested}) == len(nested)
    parents = [run for run in found if SUITE_TAG in run.data.tags]
    assert len(found) == len(nested) + len(parents)
    return parents, {run.data.tags["cell"]: run for run in nested}


def steps(results: Results, run, name: str) -> list[int]:
    mlflow = client(f"sqlite:///{results.path / 'mlflow.db'}")
    return [point.step for point in mlflow.get_metric_history(run.info.run_id, name)]


def test_a_cell_that_ended_is_a_run_within_the_suite_s(results):
    end(results, "a")
    one = recorder(results)
    one.cell(message("a"))
    one.cell(message("b"))  # has not ended: has no run
    one.end()
    (parent,), nested = runs(results)
    assert set(nested) == {"a"}
    run = nested["a"]
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (run.info.status, run.info.run_name) == ("FINISHED", "a · digits")
    assert run.data.params == {"epochs": "2"}
    assert run.data.metrics == {"loss": 1.0, "labels/auroc": 0.75, "final/accuracy.last": 0.5}
    assert steps(results, run, "loss") == [1, 2]
    assert run.data.tags["package.torch"] == "2"
    assert run.inputs.dataset_inputs[0].dataset.name == "digits"
    assert (parent.info.run_name, parent.info.status) == ("A 'suite'", "KILLED")  # b is missing and nobody runs it


def test_told_again_by_another_process_it_records_nothing_twice(results):
    end(results, "a")
    end(results, "b")
    for _ in range(2):
        one = recorder(results)
        for cell in ("a", "b", "a"):
            one.cell(message(cell))
    one.end()
    (parent,), nested = runs(results)
    assert set(nested) == {"a", "b"}
    assert steps(results, nested["a"], "loss") == [1, 2]
    assert parent.info.status == "FINISHED"


def test_what_a_kill_left_half_written_is_completed(results):
    end(results, "a")
    one = recorder(results)
    mlflow = one.client
    half, _ = one.find_or_create(CELL_TAG, "name/a", "a · digits", {"mlflow.parentRunId": one.parent, "cell": "a"})
    mlflow.log_metric(half, "loss", 2.0, step=1)
    mlflow.log_param(half, "epochs", "2")
    recorder(results).cell(message("a"))
    _, nested = runs(results)
    assert nested["a"].info.run_id == half
    assert steps(results, nested["a"], "loss") == [1, 2]
    assert nested["a"].info.status == "FINISHED"
    assert nested["a"].data.tags[WHOLE_TAG]


def test_a_cell_that_failed_and_ran_again_stays_one_run(results):
    end(results, "a", "failed", error="no memory")
    one = recorder(results)
    one.cell(message("a"))
    assert runs(results)[1]["a"].info.status == "FAILED"
    assert runs(results)[1]["a"].data.tags["error"] == "no memory"
    end(results, "a", ended="2026-01-02T00:00:00Z")
    one.cell(message("a"))
    _, nested = runs(results)
    assert nested["a"].info.status == "FINISHED"
    assert nested["a"].data.metrics["final/accuracy.last"] == 0.5


def test_recorders_at_the_same_time_make_one_parent_and_one_run_a_cell(results):
    end(results, "a")
    end(results, "b")
    wrong: list[Exception] = []

    def record() -> None:
        try:
            one = recorder(results)
            for cell in ("a", "b"):
                one.cell(message(cell))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=record) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    parents, nested = runs(results)
    assert (len(parents), set(nested)) == (1, {"a", "b"})


class Plan:
    """As much of a plan as a tracker looks at."""

    suite = SUITE
    cells: ClassVar[dict] = {}


def test_a_store_that_cannot_be_opened_is_said_once_and_ends_no_sweep(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    heard: list[str] = []
    tracker = Tracker(Results(tmp_path), Plan(), heard.append, uri=f"sqlite:///{blocked}/mlflow.db")
    tracker.start()
    tracker.close()
    tracker.close()
    assert len(heard) == 1
    assert heard[0].startswith("MLflow: not everything is recorded (")
    assert heard[0].endswith("; the next sweep records what is missing")


def test_a_cell_that_cannot_be_recorded_leaves_the_others(results, monkeypatch, capsys):
    start = {"uri": f"sqlite:///{results.path / 'mlflow.db'}", "experiment": "noisyrun", "results": str(results.path)}
    start |= {"suite": "name", "title": "A suite", "cells": ["a", "b"], "tags": {}}
    end(results, "a")
    end(results, "b")
    broken = {**message("a"), "parameters": {"epochs": "2", "": "no name"}}
    told = [start, broken, message("b")]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(json.dumps(one) + "\n" for one in told)))
    monkeypatch.setattr("os.nice", lambda increment: None)
    with pytest.raises(SystemExit) as code:
        suites.main()
    assert code.value.code == 1
    assert capsys.readouterr().err.startswith("a · digits: ")
    _, nested = runs(results)
    assert nested["b"].info.status == "FINISHED"
    assert WHOLE_TAG not in nested["a"].data.tags  # the next sweep tries again


def test_without_mlflow_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("noisyrun.bench.track.find_spec", lambda name: None)
    heard: list[str] = []
    Tracker(Results(tmp_path), Plan(), heard.append).start()
    assert heard == ["MLflow is not installed, so this suite is not tracked: pip install 'noisyrun[mlflow]'"]


def test_a_results_folder_knows_its_store(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert recorded(tmp_path) is None
    (tmp_path / "mlflow.db").touch()
    own = f"sqlite:///{tmp_path}/mlflow.db"
    assert recorded(tmp_path) == Tracker(Results(tmp_path), Plan(), print).uri == own
    (tmp_path / "mlflow.json").write_text('{"uri": "http://tracker:5000"}')
    assert recorded(tmp_path) == "http://tracker:5000"
    (tmp_path / "mlflow.json").write_text('{"uri": "sqlite:////where/the/folder/was/mlflow.db"}')
    assert recorded(tmp_path) == own
