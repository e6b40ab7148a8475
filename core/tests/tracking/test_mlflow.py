"""The MLflow tracker: one MLflow run for one run, whatever happens to it."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path

import pytest

from noisyrun.api.hooks import EpochResult, LabelPhaseResult, RunInfo, RunResult
from noisyrun.tracking import recorder
from noisyrun.tracking.config import MLflowConfig
from noisyrun.tracking.manager import Observers
from noisyrun.tracking.mlflow import MlflowTracker, TrackingError, sqlite_from_here, tracking_uri

pytest.importorskip("mlflow")


def info(out: Path, **changes) -> RunInfo:
    out.mkdir(parents=True, exist_ok=True)
    fields = {
        "run_id": "run-1",
        "out": out,
        "config": {"settings": {"epochs": 2}},
        "parameters": {"epochs": "2", "strange[0]": "x" * 9000, **{f"p{i}": str(i) for i in range(150)}},
        "tags": {"api": "1.0", "device": "cpu"},
        "dataset": {"name": "digits", "digests": {"labels": "abc"}},
    }
    return RunInfo(**(fields | changes))


def client(uri: str):
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow import MlflowClient

    return MlflowClient(uri, registry_uri=uri)


def only_run(uri: str):
    mlflow = client(uri)
    experiment = mlflow.get_experiment_by_name("noisyrun")
    runs = mlflow.search_runs([experiment.experiment_id])
    assert len(runs) == 1
    return mlflow, runs[0]


def steps(mlflow, run, name: str) -> list[int]:
    return [point.step for point in mlflow.get_metric_history(run.info.run_id, name)]


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    """A store whose tables are made once: making them takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    client(f"sqlite:///{path}")
    return f"sqlite:///{path}"


@pytest.fixture
def fresh(uri, tmp_path) -> str:
    """A copy of that store."""
    copy = tmp_path / "mlflow.db"
    copy.write_bytes(Path(uri.removeprefix("sqlite:///")).read_bytes())
    return f"sqlite:///{copy}"


def test_a_run_killed_and_resumed_is_one_mlflow_run_with_each_epoch_once(fresh, tmp_path):
    out = tmp_path / "run"
    first = MlflowTracker(MLflowConfig(uri=fresh))
    first.noisyrun_run_start(info(out))
    first.noisyrun_label_phase_end(LabelPhaseResult("rounds", 0, 0, {"auroc": 0.9}))
    first.noisyrun_epoch_end(EpochResult("rounds", 1, 10, {"loss": 1.0}))
    first._recorder.stdin.close()  # what the recorder sees when the run is killed

    labels = out / "labels.parquet"
    labels.write_bytes(b"rows")
    second = MlflowTracker()  # the folder knows where the run is recorded
    second.noisyrun_run_start(info(out, resumed=True))
    second.noisyrun_epoch_end(EpochResult("rounds", 1, 10, {"loss": 1.0}))
    second.noisyrun_epoch_end(EpochResult("rounds", 2, 20, {"loss": 0.5}))
    summary = {"accuracy": {"last": 0.75, "oracle": None}, "calibration": {"ece": {"last": 0.1, "oracle": None}}}
    second.noisyrun_run_end(RunResult("finished", summary, (labels, out / "absent.png")))

    mlflow, run = only_run(fresh)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert steps(mlflow, run, "loss") == [1, 2]
    assert run.data.metrics["labels/auroc"] == 0.9
    assert run.data.metrics["final/accuracy.last"] == 0.75
    assert {name for name in run.data.metrics if name.startswith("final/")} == {"final/accuracy.last", "final/ece.last"}
    assert run.data.params["p149"] == "149"
    assert run.data.params["strange_0_"] == "x" * 6000
    assert run.data.tags["api"] == "1.0"
    assert run.inputs.dataset_inputs[0].dataset.name == "digits"
    names = {entry.path for entry in mlflow.list_artifacts(run.info.run_id)}
    assert names == {"config.json", "labels.parquet"}
    assert not (out / "mlflow.log").exists()


def test_a_killed_run_is_recorded_as_killed(fresh, tmp_path, monkeypatch):
    start = {"what": "start", "uri": fresh, "experiment": "noisyrun", "name": "run", "run": "run-1"}
    start |= {"parameters": {"epochs": "2"}, "tags": {}, "dataset": {}, "config": {}}
    half = '{"what": "metrics", "st'  # killed in the middle of a message
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(start) + "\n" + half))
    monkeypatch.setattr("os.nice", lambda increment: None)
    recorder.main()
    _, run = only_run(fresh)
    assert run.info.status == "KILLED"
    assert run.data.params == {"epochs": "2"}


def test_a_store_that_cannot_be_opened_warns_once_and_never_ends_the_run(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    tracker = MlflowTracker(MLflowConfig(uri=f"sqlite:///{blocked}/mlflow.db"))
    heard = []
    observers = Observers({"mlflow": tracker}, heard.append)
    observers.run_start(info(tmp_path / "run"))
    tracker._recorder.wait(60)
    observers.epoch_end(EpochResult("rounds", 1, 10, {"loss": 1.0}))
    observers.epoch_end(EpochResult("rounds", 2, 20, {"loss": 1.0}))
    observers.run_end(RunResult("finished"))
    assert len(heard) == 1
    assert heard[0].startswith("mlflow: stopped recording (")
    assert observers.names == ()


def test_of_an_error_of_many_lines_the_one_that_names_it_is_told(fresh, tmp_path):
    tracker = MlflowTracker(MLflowConfig(uri=fresh))
    tracker._log, tracker._folder = tmp_path / "mlflow.log", tmp_path
    tracker._log.write_text(
        "Traceback (most recent call last):\n  raise\nsqlalchemy.exc.OperationalError: (sqlite3.OperationalError) no "
        "such table: runs\n[SQL: SELECT]\n(Background on this error at: https://sqlalche.me/e/20/e3q8)\n"
    )
    assert "OperationalError: (sqlite3.OperationalError) no such table: runs; " in tracker._last_words()


def test_a_hook_does_not_wait_for_mlflow_to_start(fresh, tmp_path):
    tracker = MlflowTracker(MLflowConfig(uri=fresh))
    started = time.perf_counter()
    tracker.noisyrun_run_start(info(tmp_path / "run"))
    for epoch in range(200):  # more than a pipe holds unread
        tracker.noisyrun_epoch_end(EpochResult("rounds", epoch, epoch, {f"m{i}": 1.0 for i in range(40)}))
    spent = time.perf_counter() - started
    tracker._recorder.kill()
    tracker._recorder.wait()
    assert spent < 1.0


def test_without_mlflow_the_warning_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    heard = []
    observers = Observers({"mlflow": MlflowTracker()}, heard.append)
    observers.run_start(info(tmp_path / "run"))
    assert heard == [
        "mlflow: not installed: pip install 'noisyrun[mlflow]', or --tracking none; the run goes on without it"
    ]


def test_the_store_is_sqlite_under_runs_unless_the_user_or_mlflow_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(None) == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert sqlite_from_here(tracking_uri(None)) == "sqlite:///runs/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    assert tracking_uri(None) == "http://tracker:5000"
    assert tracking_uri("sqlite:///mine.db") == f"sqlite:///{tmp_path}/mine.db"


def test_a_resume_records_where_the_run_began_even_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mlflow.json").write_text(json.dumps({"uri": "sqlite:////elsewhere/mlflow.db", "run": "run-1"}))
    monkeypatch.setattr("subprocess.Popen", lambda *args, **kwargs: None)
    tracker = MlflowTracker()
    with pytest.raises(TrackingError):
        tracker.noisyrun_run_start(info(tmp_path / "run", resumed=True))
    assert tracker.record()["uri"] == "sqlite:////elsewhere/mlflow.db"


def test_hooks_before_a_start_raise():
    with pytest.raises(TrackingError, match="never started"):
        MlflowTracker().noisyrun_epoch_end(EpochResult("rounds", 1, 1, {}))
