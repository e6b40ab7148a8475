"""The process that writes to MLflow: one JSON message a line on its standard input, until that closes.

Nothing of noisyrun is imported here but what finds this file: the process holds MLflow and no more.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

#: What MLflow's stores accept in one request, and in one value.
BATCH_METRICS, BATCH_PARAMETERS = 1000, 100
KEY_LENGTH, PARAMETER_LENGTH, TAG_LENGTH = 250, 6000, 8000

#: Carries the run's own id, by which a resumed run finds the MLflow run that it continues.
RUN_TAG = "noisyrun.run_id"

STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class Recorder:
    """Writes the messages of one run."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        from mlflow import MlflowClient

        uri = str(start["uri"])
        with locked(database_lock(uri)):  # two runs that start at once must not both create the tables
            self.client = MlflowClient(uri, registry_uri=uri)
            experiment = self.experiment(start)
        self.run_id, known = self.find_or_create(experiment, start)
        self.resumed = bool(known)
        self.last: dict[str, int] = {}
        self.parameters({k: v for k, v in start["parameters"].items() if key(k) not in known})
        if not self.resumed:
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

    def find_or_create(self, experiment: str, start: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
        """Id of the MLflow run, and the parameters it has already."""
        found = self.client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{start['run']}'", max_results=1)
        if found:
            run_id = str(found[0].info.run_id)
            self.client.update_run(run_id, status="RUNNING")
            return run_id, found[0].data.params or {"": ""}
        tags = {RUN_TAG: start["run"], "mlflow.source.name": "noisyrun", "mlflow.source.type": "LOCAL"}
        tags |= {key(name): str(value)[:TAG_LENGTH] for name, value in start["tags"].items()}
        made = self.client.create_run(experiment, tags=tags, run_name=start["name"])
        return str(made.info.run_id), {}

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
        """Log numbers of one step. What the run had logged before it was stopped is not logged again."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        named = {key(name): value for name, value in values.items()}
        fresh = [Metric(name, value, now, step) for name, value in named.items() if step > self.last_step(name)]
        for i in range(0, len(fresh), BATCH_METRICS):
            self.client.log_batch(self.run_id, metrics=fresh[i : i + BATCH_METRICS], synchronous=True)

    def last_step(self, name: str) -> int:
        """The last step of a metric that an earlier start of this run logged; −1 where there is none."""
        if not self.resumed:
            return -1
        if name not in self.last:
            history = self.client.get_metric_history(self.run_id, name)
            self.last[name] = max((point.step for point in history), default=-1)
        return self.last[name]

    def end(self, message: Mapping[str, Any] | None) -> None:
        """Log what came of the run; without a message it was killed."""
        if message is None:
            self.client.set_terminated(self.run_id, "KILLED")
            return
        self.metrics(0, message["metrics"])
        for path in message["files"]:
            self.client.log_artifact(self.run_id, path)
        self.client.set_terminated(self.run_id, STATUS.get(message["status"], "FAILED"))


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
        if message["what"] == "end":
            recorder.end(message)
            return
        recorder.metrics(message["step"], message["metrics"])
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
