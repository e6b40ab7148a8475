"""The process that records a suite in MLflow: one JSON message a line on its standard input, until that closes.

A suite is a parent run and every cell that has ended a run nested in it. Both are found by a tag before they are made,
under a lock, so that shards which record into one store make each of them once; a cell's run is marked as whole last of
all, so that one which a kill left half-written is completed.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from noisyrun.tracking.recorder import TAG_LENGTH, Recorder, database_lock, key, locked, read

#: Carry the suite's and the cell's own names, by which a later process finds their runs.
SUITE_TAG, CELL_TAG = "noisyrun.suite_id", "noisyrun.cell_id"

#: When the result that a cell's run records had ended; there once everything is recorded.
WHOLE_TAG = "noisyrun.recorded"

STATUS = {"finished": "FINISHED"}  # all others failed


class CellRun(Recorder):
    """The run of one cell: `Recorder`, on a run that is there already."""

    def __init__(self, client: Any, run_id: str, resumed: bool) -> None:
        self.client = client
        self.run_id = run_id
        self.resumed = resumed
        self.now = int(1000 * time.time())
        self.steps = {}


class SuiteRecorder:
    """Writes the cells of one suite.

    Parameters
    ----------
    start
        The first message: ``uri``, ``experiment``, ``results`` (the folder), ``suite`` (its own name), ``title``,
        ``cells`` (all there are) and ``tags``.
    """

    def __init__(self, start: Mapping[str, Any]) -> None:
        from mlflow import MlflowClient

        self.results = Path(start["results"])
        self.suite, self.title = str(start["suite"]), str(start["title"])
        self.cells: Sequence[str] = start["cells"]
        uri = str(start["uri"])
        with self.alone():
            with locked(database_lock(uri)):  # two that start at once must not both create the tables
                self.client = MlflowClient(uri, registry_uri=uri)
                self.experiment = Recorder.experiment(CellRun(self.client, "", False), start)
            self.parent = self.find_or_create(SUITE_TAG, self.suite, self.title, dict(start["tags"]))[0]
        self.client.update_run(self.parent, status="RUNNING")
        self.recorded = dict(self.known())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep the other recorders of this results folder waiting."""
        with locked(self.results / ".mlflow.lock"):
            yield

    def find_or_create(self, tag: str, value: str, name: str, tags: Mapping[str, str]) -> tuple[str, Any]:
        """Id of the run that carries a tag, and the run as it was found; None in its place when it was made."""
        found = self.client.search_runs([self.experiment], f"tags.`{tag}` = '{value}'", max_results=1)
        if found:
            return str(found[0].info.run_id), found[0]
        always = {tag: value, "mlflow.source.name": "noisyrun bench", "mlflow.source.type": "LOCAL"}
        shown = {key(one): str(text)[:TAG_LENGTH] for one, text in tags.items()}
        made = self.client.create_run(self.experiment, tags={**always, **shown}, run_name=name[:250])
        return str(made.info.run_id), None

    def known(self) -> Iterator[tuple[str, str]]:
        """Cells whose runs are whole, and what they record."""
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment], f"tags.`mlflow.parentRunId` = '{self.parent}'", max_results=1000, page_token=token
            )
            for run in page:
                tags = run.data.tags
                if CELL_TAG in tags and WHOLE_TAG in tags:
                    yield tags[CELL_TAG], tags[WHOLE_TAG]
            token = page.token
            if not token:
                return

    def cell(self, message: Mapping[str, Any]) -> None:
        """Record what came of a cell, unless that is recorded."""
        folder = self.results / "cells" / message["cell"]
        result, name = _object(folder / "result.json"), f"{self.suite}/{message['cell']}"
        if not result or self.recorded.get(name) == result["ended"]:
            return
        tags = {
            **{f"package.{package}": version for package, version in message["versions"].items()},
            **message["tags"],
            "mlflow.parentRunId": self.parent,
            "suite": self.title,
        }
        with self.alone():
            run_id, found = self.find_or_create(CELL_TAG, name, message["name"], tags)
            if found is None or found.data.tags.get(WHOLE_TAG) != result["ended"]:
                run = CellRun(self.client, run_id, found is not None)
                self.fill(run, folder / "run", message, result, found.data.params if found else {})
        self.recorded[name] = result["ended"]

    def fill(
        self,
        run: CellRun,
        folder: Path,
        message: Mapping[str, Any],
        result: Mapping[str, Any],
        params: Mapping[str, str],
    ) -> None:
        """Write everything into the run of a cell."""
        summary = _object(folder / "summary.json")
        run.parameters({name: text for name, text in message["parameters"].items() if key(name) not in params})
        for phase in summary.get("rounds", []):
            run.metrics(phase.get("epoch", 0), {f"labels/{k}": v for k, v in _numbers(phase).items()})
        for epoch in summary.get("history", []):
            run.metrics(epoch.get("epoch", 0), _numbers(epoch))
        run.metrics(0, {f"final/{name}": value for name, value in result["measures"].items()})
        if summary.get("data") and not run.resumed:
            run.lineage(summary["data"])
        for file in (folder / "summary.json", folder / "curves.svg"):
            if file.is_file():
                self.client.log_artifact(run.run_id, str(file))
        self.client.set_tag(run.run_id, "status", result["status"])
        if result["error"]:
            self.client.set_tag(run.run_id, "error", result["error"][:TAG_LENGTH])
        self.client.set_terminated(run.run_id, STATUS.get(result["status"], "FAILED"))
        self.client.set_tag(run.run_id, WHOLE_TAG, result["ended"])

    def end(self) -> None:
        """Say how the suite stands; called where no other process records it."""
        states = [_object(self.results / "cells" / cell / "result.json").get("status") for cell in self.cells]
        if None in states:
            status = "KILLED"
        else:
            status = "FINISHED" if set(states) <= {"finished"} else "FAILED"
        for name in ("suite.json", "results.csv"):
            if (self.results / name).is_file():
                self.client.log_artifact(self.parent, str(self.results / name))
        self.client.set_terminated(self.parent, status)


def _object(path: Path) -> dict[str, Any]:
    """What a JSON file holds; empty where it is not there."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among the fields of an epoch or a label phase, but for those that say where it stands."""
    aside = ("epoch", "step", "round")
    return {
        name: float(value)
        for name, value in values.items()
        if name not in aside and isinstance(value, int | float) and not isinstance(value, bool)
    }


def main() -> None:
    """Record what stands on standard input."""
    if hasattr(os, "nice"):
        os.nice(5)  # the cells go first
    messages = read(sys.stdin)
    start = next(messages, None)
    if start is None:
        return
    with (Path(start["results"]) / ".mlflow.alive").open("a") as alive:
        fcntl.flock(alive, fcntl.LOCK_SH)
        recorder = SuiteRecorder(start)
        lost = [message for message in messages if not _record(recorder, message)]
        # Where another process is at work on the suite, that one will say how it stands.
        with suppress(BlockingIOError):
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            recorder.end()
    sys.exit(1 if lost else 0)


def _record(recorder: SuiteRecorder, message: Mapping[str, Any]) -> bool:
    """Record a cell; one that cannot be recorded leaves the others."""
    try:
        recorder.cell(message)
    except Exception as error:
        print(f"{message['name']}: {' '.join(str(error).split())}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    main()
