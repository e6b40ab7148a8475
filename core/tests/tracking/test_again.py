"""Recording a run after the fact gives what recording it while it ran gives."""

from __future__ import annotations

import io
import json
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from noisyrun.api import UserError
from noisyrun.api.hooks import EpochResult, LabelPhaseResult, RunInfo, RunResult
from noisyrun.run_folder import RunFolder
from noisyrun.tracking import journal, recorder
from noisyrun.tracking import mlflow as trackers
from noisyrun.tracking.again import record
from noisyrun.tracking.config import MLflowConfig
from noisyrun.tracking.journal import Journal
from noisyrun.tracking.manager import Observers
from noisyrun.tracking.mlflow import MlflowTracker

pytest.importorskip("mlflow")


class Here:
    """A recorder in this process, which spares the seconds that MLflow takes to start."""

    def __init__(self, *args, **kwargs) -> None:
        self.stdin = self
        self.heard: list[str] = []
        self.code: int | None = None

    def write(self, line: str) -> None:
        self.heard.append(line)

    def flush(self) -> None: ...

    def close(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", io.StringIO("".join(self.heard)))
            patch.setattr("os.nice", lambda increment: None)
            recorder.main()
        self.code = 0

    def poll(self) -> int | None:
        return self.code

    def wait(self, patience: float) -> int | None:
        return self.code


class Dead(Here):
    """A recorder that never came to life."""

    def poll(self) -> int | None:
        return 1


@pytest.fixture(autouse=True)
def here(monkeypatch) -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    monkeypatch.setattr(trackers.subprocess, "Popen", Here)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def stores(made, tmp_path) -> tuple[str, str]:
    """Two empty stores."""
    for name in ("one.db", "two.db"):
        (tmp_path / name).write_bytes(made.read_bytes())
    return f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/two.db"


SUMMARY = {"accuracy": {"last": 0.5}, "seconds": {"total": 3.0}}


def info(out: Path) -> RunInfo:
    folder = RunFolder(out)
    run_id = folder.run_id() if folder.file("config.json").exists() else folder.begin({"settings": {"epochs": 3}})
    tags = {"plugin.weighter.sinet": "noisyrun-sinet 0.1", "device": "cpu"}
    dataset = {"name": "digits", "digests": {"labels": "abc"}}
    return RunInfo(run_id, out, folder.config(), {"epochs": "3", "seed": "0"}, tags, dataset)


def epochs(observers: Observers, numbers: range) -> None:
    for epoch in numbers:
        observers.label_phase_end(LabelPhaseResult("rounds", epoch, epoch, {"auroc": 0.5 + 0.1 * epoch}))
        observers.epoch_end(EpochResult("rounds", epoch + 1, 10 * (epoch + 1), {"loss": 1 / (epoch + 1)}))


def live(out: Path, uri: str) -> None:
    """A run of three epochs that was interrupted after two, resumed from the first, and finished."""
    out.mkdir()
    before = Observers({"journal": Journal(), "mlflow": MlflowTracker(MLflowConfig(uri=uri))}, pytest.fail)
    before.run_start(info(out))
    epochs(before, range(2))
    before.run_end(RunResult("interrupted"))
    after = Observers({"journal": Journal(), "mlflow": MlflowTracker()}, pytest.fail)
    after.run_start(replace(info(out), resumed=True))
    epochs(after, range(1, 3))
    (out / "summary.json").write_text(json.dumps(SUMMARY))
    (out / "labels.parquet").write_bytes(b"rows")
    after.run_end(RunResult("finished", SUMMARY, (out / "summary.json", out / "labels.parquet")))


def recorded(uri: str) -> dict:
    """All that MLflow knows of its only run, but for its own ids."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("noisyrun").experiment_id])
    history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    own = ("mlflow.user", "mlflow.source.git.commit")
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "began": run.info.start_time,
        "ended": run.info.end_time,
        "params": run.data.params,
        "tags": {name: value for name, value in run.data.tags.items() if name not in own},
        "metrics": {n: sorted((p.step, p.value, p.timestamp) for p in points) for n, points in history.items()},
        "files": sorted(entry.path for entry in client.list_artifacts(run.info.run_id)),
        "data": [one.dataset.digest for one in run.inputs.dataset_inputs],
    }


def test_a_run_recorded_afterwards_is_the_run_recorded_live_and_twice_changes_nothing(stores, tmp_path):
    one, two = stores
    live(tmp_path / "run", one)
    shown = record(tmp_path / "run", {"uri": two}, 60)
    assert shown["uri"] == two
    want, got = recorded(one), recorded(two)
    times = ("began", "ended")  # the journal and the tracker look at the clock one after the other
    assert [point[:2] for point in got["metrics"]["loss"]] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert all(abs(want[name] - got[name]) < 1000 for name in times)
    for found in (want, got):
        found["metrics"] = {name: [point[:2] for point in points] for name, points in found["metrics"].items()}
    assert {k: v for k, v in got.items() if k not in times} == {k: v for k, v in want.items() if k not in times}
    assert got["files"] == ["config.json", "labels.parquet", "summary.json"]
    record(tmp_path / "run", {}, 60)
    again = recorded(two)
    assert {n: [p[:2] for p in points] for n, points in again.pop("metrics").items()} == got.pop("metrics")
    assert again == got


def test_a_resume_records_what_the_start_could_not(stores, tmp_path, monkeypatch):
    out, heard = tmp_path / "run", []
    out.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(trackers.subprocess, "Popen", Dead)
        before = Observers({"journal": Journal(), "mlflow": MlflowTracker(MLflowConfig(uri=stores[0]))}, heard.append)
        before.run_start(info(out))
        epochs(before, range(2))
    assert len(heard) == 1
    assert f"noisyrun track {out}" in heard[0]
    after = Observers({"journal": Journal(), "mlflow": MlflowTracker()}, pytest.fail)
    after.run_start(replace(info(out), resumed=True))
    epochs(after, range(2, 3))
    after.run_end(RunResult("finished", SUMMARY))
    assert [point[0] for point in recorded(stores[0])["metrics"]["loss"]] == [1, 2, 3]


def test_a_run_that_was_killed_is_recorded_as_killed(stores, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    observers = Observers({"journal": Journal()}, pytest.fail)
    observers.run_start(info(out))
    epochs(observers, range(2))
    with (out / journal.EVENTS).open("a") as file:
        file.write('\n{"what": "epoch", "ep')  # in the middle of a line
    record(out, {"uri": stores[0]}, 60)
    found = recorded(stores[0])
    assert found["status"] == "KILLED"
    assert [point[0] for point in found["metrics"]["labels/auroc"]] == [0, 1]


def test_a_clock_that_jumps_neither_ends_a_run_before_its_begin_nor_moves_a_step(stores, tmp_path, monkeypatch):
    out = tmp_path / "run"
    out.mkdir()
    jumps = iter([1_800_000_000.0, 1_900_000_000.0, *[1_000_000_000.0] * 20])
    monkeypatch.setattr(journal.time, "time", lambda: next(jumps))
    observers = Observers({"journal": Journal()}, pytest.fail)
    observers.run_start(info(out))
    epochs(observers, range(3))
    observers.run_end(RunResult("failed"))
    monkeypatch.undo()
    monkeypatch.setattr(trackers.subprocess, "Popen", Here)
    record(out, {"uri": stores[0]}, 60)
    found = recorded(stores[0])
    assert found["began"] == 1_800_000_000_000
    assert found["ended"] == 1_900_000_000_000
    assert [point[:2] for point in found["metrics"]["loss"]] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_locked_store_is_given_up_after_seconds_and_a_deleted_one_is_noticed(made, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "LOCKED", 0.05)
    path = tmp_path / "mlflow.db"
    path.write_bytes(made.read_bytes())
    store = recorder.Store(f"sqlite:///{path}")
    store.check()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        store.check()
    other.close()
    store.check()
    path.unlink()
    with pytest.raises(FileNotFoundError, match="was deleted"):
        store.check()
    path.write_bytes(made.read_bytes() + b"\n")
    recorder.Store("http://elsewhere").check()


def test_a_folder_without_events_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds no events.jsonl"):
        record(tmp_path, {}, 60)
    (tmp_path / journal.EVENTS).write_text('{"what": "epoch"}\n[]\nnonsense')
    with pytest.raises(UserError, match="does not say how the run began"):
        record(tmp_path, {}, 60)


def test_events_that_find_no_room_wait_for_the_next(tmp_path):
    kept = Journal()
    (tmp_path / journal.EVENTS).mkdir()  # cannot be appended to
    kept.noisyrun_run_start(RunInfo("r", tmp_path, {}, {}, {}, {}))
    (tmp_path / journal.EVENTS).rmdir()
    kept.noisyrun_epoch_end(EpochResult("rounds", 1, 1, {"loss": 1.0}))
    assert [event["what"] for event in journal.read(tmp_path)] == ["start", "epoch"]
