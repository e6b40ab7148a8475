"""Recording a suite in MLflow, by a process of its own that is told which cells have ended. Imports no mlflow.

A cell has a run there only once it has ended, so that a kill leaves none behind; one that ended unrecorded is recorded
by the next sweep. What goes wrong here is said once and never stops a sweep.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from noisyrun.bench.plan import Cell, Plan
from noisyrun.bench.store import Result, Results, locked
from noisyrun.bench.work import Listener
from noisyrun.files import write_text
from noisyrun.tracking.mlflow import ENVIRONMENT, tracking_uri

#: Where a results folder is recorded, and its own name there.
RECORD, NAME = "mlflow.json", ".name"

#: Seconds to wait at the end: in all, and for each cell that is still to be recorded.
PATIENCE, EACH = 60.0, 2.0

_SQLITE = "sqlite:///"

MISSING = "MLflow is not installed, so this suite is not tracked: pip install 'noisyrun[mlflow]'"


class Tracker(Listener):
    """Tells MLflow's process what has ended.

    Parameters
    ----------
    results
        The results folder.
    plan
        The suite and its cells.
    warn
        Says one line to the user.
    uri
        Tracking URI; by default MLFLOW_TRACKING_URI where it is set, else SQLite in the results folder.
    experiment
        Experiment of the runs.
    """

    def __init__(
        self,
        results: Results,
        plan: Plan,
        warn: Callable[[str], None],
        uri: str | None = None,
        experiment: str = "noisyrun",
    ) -> None:
        self.results, self.plan, self.warn = results, plan, warn
        given = uri or os.environ.get("MLFLOW_TRACKING_URI")
        self.uri = tracking_uri(given or f"{_SQLITE}{(results.path / 'mlflow.db').resolve()}")
        self.experiment = experiment
        self._told: set[str] = set()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start recording; cells that have ended already are recorded where they are not."""
        if find_spec("mlflow") is None:
            self.warn(MISSING)
            return
        path = self.results.path
        write_text(path / RECORD, json.dumps({"uri": self.uri, "experiment": self.experiment}) + "\n")
        with (path / "mlflow.log").open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "noisyrun.tracking.suites"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=os.environ | ENVIRONMENT,
                start_new_session=True,  # Ctrl-C is for the sweep
            )
        self._send(
            uri=self.uri,
            experiment=self.experiment,
            results=str(path.resolve()),
            suite=_own_name(path, self.plan.suite.title),
            title=self.plan.suite.title,
            cells=list(self.plan.cells),
            tags={"suite": self.plan.suite.title, "task": self.plan.suite.task, "results": str(path.resolve())},
        )
        self._ended()

    def ended(self, cell: Cell, result: Result) -> None:
        """Record a cell that has ended."""
        if cell.id in self._told:
            return
        self._told.add(cell.id)
        place = cell.place
        self._send(
            cell=cell.id,
            name=str(cell),
            versions=dict(cell.what["versions"]),
            parameters=cell.config.flat(),
            tags={
                "cell": cell.id,
                "method": place.method,
                "data": place.data,
                "noise": place.noise,
                "seed": str(place.seed),
                **{f"code.{package}": digest for package, digest in cell.what["code"].items()},
            },
        )

    def close(self, wait: bool = True) -> None:
        """Record what other processes have ended, and let the recorder come to its end.

        Parameters
        ----------
        wait
            Whether to wait for it; it comes to its end without that, too.
        """
        if self._process is None or self._process.stdin is None:
            return
        self._ended()
        process = self._process
        if process is None or process.stdin is None:
            return
        self._process = None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        if not wait:
            return
        try:
            code = process.wait(PATIENCE + EACH * len(self._told))
        except subprocess.TimeoutExpired:
            self.warn("MLflow: still writing; it goes on by itself")
            return
        if code:
            self.warn(self._last_words())
        else:
            (self.results.path / "mlflow.log").unlink(missing_ok=True)

    def _ended(self) -> None:
        for cell in self.plan.cells.values():
            if (result := self.results.result(cell.id)) is not None:
                self.ended(cell, result)

    def _send(self, **message: object) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            if self._process.poll() is not None:
                raise BrokenPipeError
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._process = None
            self.warn(self._last_words())

    def _last_words(self) -> str:
        log = self.results.path / "mlflow.log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        why = f" ({lines[-1][:300]})" if lines else ""
        return f"MLflow: not everything is recorded{why}; the next sweep records what is missing"


def _own_name(folder: Path, title: str) -> str:
    """What no other suite is called, in a store that results folders may share."""
    file = folder / NAME
    with locked(folder / ".mlflow.lock"):
        if not file.exists():
            write_text(file, secrets.token_hex(8) + "\n")
        own = file.read_text(encoding="utf-8").strip()
    return f"{own}-{hashlib.sha256(title.encode()).hexdigest()[:8]}"


def recorded(folder: Path) -> str | None:
    """The tracking URI that a results folder is recorded under; that of its own store where only this is there.

    A folder that was moved names a file which is there no more: MLflow would make an empty one in its place.
    """
    own = folder / "mlflow.db"
    try:
        uri = str(json.loads((folder / RECORD).read_text(encoding="utf-8"))["uri"])
    except (OSError, ValueError, KeyError, TypeError):
        uri = ""
    if uri and (not uri.startswith(_SQLITE) or Path(uri.removeprefix(_SQLITE)).is_file()):
        return uri
    return f"{_SQLITE}{own.resolve()}" if own.is_file() else None
