"""The MLflow tracker: tells a process of its own what to record.

Importing MLflow and opening its database take seconds of pure Python, which in a thread would hold up every step of
the loop. The recorder runs beside the run instead, and a hook costs one line written to a pipe.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from noisyrun.api.errors import NoisyrunError, UserError
from noisyrun.api.hooks import EpochResult, LabelPhaseResult, RunInfo, RunResult
from noisyrun.api.plugin import hookimpl
from noisyrun.files import take_lock, write_text
from noisyrun.tracking import journal
from noisyrun.tracking.config import MLflowConfig

#: In the run's folder: where the run is recorded, so that a resume from anywhere continues the same MLflow run.
RECORD = "mlflow.json"

#: Keeps MLflow silent and off the network, and its libraries off the cores that train.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "GIT_PYTHON_REFRESH": "quiet",
    "PYTHONWARNINGS": "ignore",
    "OMP_NUM_THREADS": "1",
}

#: Bounds on how long a server may keep the recorder waiting; the user's own count.
BOUNDS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}


class TrackingError(NoisyrunError):
    """The tracker cannot go on."""


class MlflowTracker:
    """Records a run with MLflow: parameters, tags, data lineage, numbers by epoch, and files.

    Parameters
    ----------
    now
        Tells the time of an event, in seconds since 1970.
    """

    def __init__(self, config: MLflowConfig | None = None, now: Callable[[], float] = time.time) -> None:
        self.config = config or MLflowConfig()
        self.now = now
        self._recorder: subprocess.Popen[str] | None = None
        self._log: Path | None = None
        self._uri = ""
        self._folder = Path()

    def record(self) -> dict[str, str]:
        """Where the run is recorded, and the command that opens it."""
        command = "mlflow ui" if "://" not in self._uri or self._uri.startswith("sqlite") else ""
        shown = sqlite_from_here(self._uri)
        runner = "uv run " if os.environ.get("UV") else ""
        opened = f"{runner}{command} --backend-store-uri {shown}" if command else shown
        return {"uri": self._uri, "experiment": self.config.experiment, "open": opened}

    @hookimpl
    def noisyrun_run_start(self, run: RunInfo) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise UserError("not installed: pip install 'noisyrun[mlflow]', or --tracking none")
        self._uri = recorded_uri(run.out) or tracking_uri(self.config.uri)
        write_text(run.out / RECORD, json.dumps({"uri": self._uri, "run": run.run_id}) + "\n")
        self._folder = run.out
        self._log = run.out / "mlflow.log"
        # The lock is taken here and inherited: recorders of one run then work in the order in which they were started,
        # even where the run was killed and resumed within the seconds that MLflow takes to start.
        with self._log.open("w") as log, (run.out / ".mlflow.lock").open("w") as lock:
            held = () if take_lock(lock.fileno()) is None else (lock.fileno(),)
            self._recorder = subprocess.Popen(
                [sys.executable, "-P", "-m", "noisyrun.tracking.recorder", *map(str, held)],
                pass_fds=held,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=BOUNDS | os.environ | ENVIRONMENT,
                start_new_session=True,  # Ctrl-C is for the run, which then tells the recorder how it ended
            )
        self._send(
            "start",
            uri=self._uri,
            experiment=self.config.experiment,
            name=self.config.run_name or run.out.name,
            run=run.run_id,
            parameters=dict(run.parameters),
            tags=dict(run.tags),
            dataset=dict(run.dataset),
            config=dict(run.config),
        )
        if run.resumed:  # what an earlier start of the run could not record
            with contextlib.suppress(UserError):
                for event in journal.read(run.out):
                    self.tell_again(event)

    def tell_again(self, event: Mapping[str, Any]) -> None:
        """Record what came of a label phase or an epoch, as the run's journal keeps it; unless it is recorded."""
        with contextlib.suppress(KeyError):
            if event["what"] in ("label_phase", "epoch"):
                metrics = event["metrics"] if event["what"] == "epoch" else of_labels(event["metrics"])
                self._send("metrics", step=event["epoch"], metrics=numbers(metrics), time=event["time"])

    @hookimpl
    def noisyrun_label_phase_end(self, result: LabelPhaseResult) -> None:
        self._send("metrics", step=result.epoch, metrics=numbers(of_labels(result.metrics)))

    @hookimpl
    def noisyrun_epoch_end(self, result: EpochResult) -> None:
        self._send("metrics", step=result.epoch, metrics=numbers(result.metrics))

    @hookimpl
    def noisyrun_run_end(self, result: RunResult) -> None:
        if self._recorder is None:
            return
        files = [str(path.resolve()) for path in result.artifacts if path.is_file()]
        self._send("end", status=result.status, metrics=final_numbers(result.summary), files=files)
        self.close()

    def close(self) -> None:
        """Wait for the recorder to end; a run that did not say how it ended was killed."""
        if self._recorder is None or self._recorder.stdin is None:
            return
        self._recorder.stdin.close()
        try:
            code = self._recorder.wait(self.config.patience)
        except subprocess.TimeoutExpired:
            raise TrackingError(
                f"not done {self.config.patience:g} s after the run ended, and left to end by itself ({self._later()})"
            ) from None
        if code != 0:
            raise TrackingError(self._last_words())
        if self._log is not None:
            self._log.unlink(missing_ok=True)

    def _send(self, what: str, **fields: Any) -> None:
        if self._recorder is None or self._recorder.stdin is None:
            raise TrackingError("the run was never started")
        if self._recorder.poll() is not None:
            raise TrackingError(self._last_words())
        try:
            line = json.dumps({"what": what, "time": self.now(), **fields}, default=str)
            self._recorder.stdin.write(line + "\n")
            self._recorder.stdin.flush()
        except BrokenPipeError:
            self._recorder.wait(5)
            raise TrackingError(self._last_words()) from None

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log and self._log.exists() else []
        # What an error says may go on for lines, of which the last need not say anything.
        errors = [line for line in lines if re.match(r"(\w+\.)*\w*(Error|Exception)\b", line)]
        why = f"{(errors or lines)[-1][:200]}; " if lines else ""
        return f"stopped recording ({why}{self._later()})"

    def _later(self) -> str:
        return f"to record the rest later: noisyrun track {shlex.quote(str(self._folder))}"


def of_labels(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers of a label phase under the names that they are recorded by."""
    return {f"labels/{name}": value for name, value in metrics.items()}


def tracking_uri(given: str | None) -> str:
    """The URI to record under; a relative SQLite path is taken from where the run was started."""
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///runs/mlflow.db"
    head, found, path = uri.partition("sqlite:///")
    return f"sqlite:///{Path(path).resolve()}" if found and not head else uri


def recorded_uri(folder: Path) -> str | None:
    """The URI that an earlier start of this run recorded under, or None."""
    try:
        return str(json.loads((folder / RECORD).read_text(encoding="utf-8"))["uri"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def sqlite_from_here(uri: str) -> str:
    """A SQLite URI with its path as seen from where the run was started; others as they are."""
    head, found, path = uri.partition("sqlite:///")
    if not found or head:
        return uri
    try:
        return f"sqlite:///{Path(path).relative_to(Path.cwd())}"
    except ValueError:
        return uri


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that are numbers."""
    return {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}


def final_numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    """The measures of a summary, flat."""
    found: dict[str, float] = {}
    for group in ("accuracy", "top5", "label_accuracy", "detection", "seconds", "peak_memory", "energy"):
        found |= numbers({f"final/{group}.{name}": value for name, value in (summary.get(group) or {}).items()})
    for measure, at in (summary.get("calibration") or {}).items():
        found |= numbers({f"final/{measure}.{name}": value for name, value in at.items()})
    found |= numbers({"final/samples_per_second": summary.get("samples_per_second")})
    evaluation = (summary.get("evaluation") or {}).get("test") or {}
    found |= numbers({f"final/evaluation.{name}": value for name, value in evaluation.items()})
    baseline = (summary.get("baseline") or {}).get("accuracy") or {}
    return found | numbers({f"final/baseline.{name}": value for name, value in baseline.items()})
