"""The process that writes to MLflow: one JSON message a line on its standard input, until that closes.

Nothing of noisyrun is imported here but what finds this file: the process holds MLflow and no more.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

#: What MLflow's stores accept in one request, and in one value.
BATCH_METRICS, BATCH_PARAMETERS = 1000, 100
KEY_LENGTH, PARAMETER_LENGTH, TAG_LENGTH = 250, 6000, 8000

#: Carries the run's own id, by which a resumed run finds the MLflow run that it continues.
RUN_TAG = "noisyrun.run_id"

#: Seconds to wait for a SQLite file that another process has locked.
LOCKED = 5.0

STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class Recorder:
    """Writes the messages of one run."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        uri = str(start["uri"])
        self.store = Store(uri)
        self.store.check()
        from mlflow import MlflowClient

        with locked(database_lock(uri)):  # two runs that start at once must not both create the tables
            self.client = MlflowClient(uri, registry_uri=uri)
            experiment = self.experiment(start)
        self.store.check()  # from now on it is this file and no other
        self.now = int(1000 * start.get("time", time.time()))
        self.run_id, found = self.find_or_create(experiment, start)
        self.resumed = found is not None
        self.steps: dict[str, set[int]] = {}
        known = found.data.params if found is not None else {}
        self.parameters({k: v for k, v in start["parameters"].items() if key(k) not in known})
        if found is None or not (found.inputs and found.inputs.dataset_inputs):
            self.lineage(start["dataset"])
        self.client.log_dict(self.run_id, dict(start["config"]), "config.json")

    def experiment(self, start: Mapping[str, Any]) -> str:
        """Id of the experiment; made where it does not exist."""
        found = self.client.get_experiment_by_name(start["experiment"])
        if found is not None:
            return str(found.experiment_id)
        path = sqlite_path(start["uri"])
        # Without a place of its own, files of a SQLite store would land in whatever folder the run was started from.
        place = (path.parent / "mlartifacts").as_uri() if path is not None else None
        return str(self.client.create_experiment(start["experiment"], artifact_location=place))

    def find_or_create(self, experiment: str, start: Mapping[str, Any]) -> tuple[str, Any]:
        """Id of the MLflow run, and the run as it was found; None in its place when it was made."""
        found = self.client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{start['run']}'", max_results=1)
        if found:
            run_id = str(found[0].info.run_id)
            self.client.update_run(run_id, status="RUNNING")
            # A clock that was set back since then must not let a run end before it began.
            self.now = max(self.now, int(found[0].info.start_time or 0))
            return run_id, self.client.get_run(run_id)
        tags = {RUN_TAG: start["run"], "mlflow.source.name": "noisyrun", "mlflow.source.type": "LOCAL"}
        tags |= {key(name): str(value)[:TAG_LENGTH] for name, value in start["tags"].items()}
        made = self.client.create_run(experiment, start_time=self.now, tags=tags, run_name=start["name"])
        return str(made.info.run_id), None

    def parameters(self, values: Mapping[str, str]) -> None:
        """Log parameters, as many at once as a store accepts."""
        from mlflow.entities import Param

        params = [Param(key(name), str(value)[:PARAMETER_LENGTH]) for name, value in values.items()]
        for i in range(0, len(params), BATCH_PARAMETERS):
            self.client.log_batch(self.run_id, params=params[i : i + BATCH_PARAMETERS], synchronous=True)

    def lineage(self, dataset: Mapping[str, Any]) -> None:
        """Log what was trained on: its name, and one digest of labels, noise and images."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        described = json.dumps(dataset, sort_keys=True)
        digest = hashlib.sha256(described.encode()).hexdigest()[:32]
        name = str(dataset.get("name", "data"))[:500]
        one = Dataset(name, digest, "local", described[:60_000], None, described[:1_000_000])
        self.client.log_inputs(self.run_id, [DatasetInput(one, [InputTag("mlflow.data.context", "training")])])

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers of one step, but for those that are logged: a run that was stopped tells some twice."""
        from mlflow.entities import Metric

        named = {key(name): value for name, value in values.items() if step not in self.logged(key(name))}
        fresh = [Metric(name, value, self.now, step) for name, value in named.items()]
        for i in range(0, len(fresh), BATCH_METRICS):
            self.client.log_batch(self.run_id, metrics=fresh[i : i + BATCH_METRICS], synchronous=True)
        for name in named:
            self.steps[name].add(step)

    def logged(self, name: str) -> set[int]:
        """The steps of a metric that are logged, by an earlier start of this run or by this one."""
        if name not in self.steps:
            history = self.client.get_metric_history(self.run_id, name) if self.resumed else []
            self.steps[name] = {point.step for point in history}
        return self.steps[name]

    def tell(self, message: Mapping[str, Any]) -> None:
        """Log one message: numbers, or how the run ended."""
        self.store.check()
        self.now = max(self.now, int(1000 * message.get("time", 0)))  # the clock may have been set back
        if message["what"] == "end":
            self.end(message)
        else:
            self.metrics(message["step"], message["metrics"])

    def end(self, message: Mapping[str, Any] | None) -> None:
        """Log what came of the run; without a message it was killed."""
        if message is None:
            self.client.set_terminated(self.run_id, "KILLED", self.now)
            return
        self.metrics(0, message["metrics"])
        for path in message["files"]:
            self.client.log_artifact(self.run_id, path)
        self.client.set_terminated(self.run_id, STATUS.get(message["status"], "FAILED"), self.now)
        self.store.check()


class Store:
    """Where runs are recorded; a SQLite file is looked at before each use, since what MLflow does of itself takes long.

    It waits twenty seconds for a locked file at every turn, tries fifteen times where it cannot be opened, and goes on
    writing into one that was deleted.
    """

    def __init__(self, uri: str) -> None:
        self.path = sqlite_path(uri)
        self.file: tuple[int, int] | None = None

    def check(self) -> None:
        """See that the file is there, still the same, and not locked for long.

        Raises
        ------
        OSError, sqlite3.Error
        """
        if self.path is None:
            return
        if not self.path.exists():
            if self.file is not None:
                raise FileNotFoundError(f"{self.path} was deleted")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return
        state = self.path.stat()
        if self.file not in (None, (state.st_dev, state.st_ino)):
            raise FileNotFoundError(f"{self.path} was replaced by another file")
        self.file = state.st_dev, state.st_ino
        with closing(sqlite3.connect(self.path, timeout=LOCKED, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")


def main(lock: str | None = None) -> None:
    """Record what stands on standard input.

    Parameters
    ----------
    lock
        File descriptor of the run's lock: the recorder of a killed run may still be at work.
    """
    if hasattr(os, "nice"):
        os.nice(5)  # the training goes first
    messages = read(sys.stdin)
    if lock is not None:
        import fcntl

        fcntl.flock(int(lock), fcntl.LOCK_EX)
    start = next(messages, None)
    if start is None:
        return
    recorder = Recorder(start)
    for message in messages:
        recorder.tell(message)
        if message["what"] == "end":
            return
    recorder.end(None)


def read(source: IO[str]) -> Iterator[dict[str, Any]]:
    """Messages in order. A thread takes them off the pipe, so that the run never waits for MLflow to start."""
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def drain() -> None:
        for line in source:
            waiting.put(line)
        waiting.put(None)

    threading.Thread(target=drain, daemon=True).start()
    while (line := waiting.get()) is not None:
        if line.endswith("\n"):  # a run killed while it wrote leaves half a line
            yield json.loads(line)


@contextmanager
def locked(path: Path | None) -> Iterator[None]:
    """Hold a lock that ends with the process, whatever ends it. Where the system has none, do without."""
    try:
        import fcntl
    except ImportError:
        path = None
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        with suppress(OSError):  # a network drive without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def database_lock(uri: str) -> Path | None:
    """The file that guards the tables of a SQLite store; other stores look after themselves."""
    path = sqlite_path(uri)
    return None if path is None else path.with_name(path.name + ".lock")


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite URI, or None."""
    head, found, path = uri.partition("sqlite:///")
    return Path(path) if found and not head else None


def key(name: str) -> str:
    """A name that MLflow accepts."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:KEY_LENGTH]


if __name__ == "__main__":
    main(*sys.argv[1:])
