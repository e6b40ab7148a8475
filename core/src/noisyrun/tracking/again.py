"""Recording a run with MLflow after the fact, from what its folder keeps. Imports neither torch nor mlflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from noisyrun.api.errors import UserError
from noisyrun.api.hooks import RunInfo, RunResult
from noisyrun.files import write_text
from noisyrun.run_folder import SUMMARY, RunFolder
from noisyrun.tracking import journal
from noisyrun.tracking.config import MLflowConfig
from noisyrun.tracking.mlflow import RECORD, MlflowTracker, TrackingError, tracking_uri


def record(folder: Path, changes: Mapping[str, Any], patience: float) -> dict[str, str]:
    """Tell MLflow all that a run told its observers; what is recorded already stays as it is.

    Parameters
    ----------
    folder
        The run's.
    changes
        Fields of `MLflowConfig` in place of those the run was started with.
    patience
        Seconds that MLflow may take.

    Returns
    -------
    dict
        Where it is recorded: ``uri``, ``experiment``, and ``open``, the command that shows it.

    Raises
    ------
    UserError
        When the folder holds no run that has ended, or MLflow cannot record it.
    """
    run = RunFolder.open(folder)
    with run.locked():
        events = list(journal.read(folder))
        config = run.config()
        tracker = MlflowTracker(_settings(config, {**changes, "patience": patience}))
        try:
            start = next(event for event in events if event["what"] == "start")
            info = RunInfo(
                run_id=start["run"],
                out=folder,
                config=config,
                parameters=start["parameters"],
                tags=start["tags"],
                dataset=start["dataset"],
            )
        except (StopIteration, KeyError):
            raise UserError(f"{folder / journal.EVENTS}: does not say how the run began") from None
        if changes.get("uri"):
            write_text(folder / RECORD, json.dumps({"uri": tracking_uri(changes["uri"]), "run": info.run_id}) + "\n")
        try:
            _tell(tracker, info, start, events, folder)
        except TrackingError as error:
            raise UserError(f"track: {error}") from None
    return tracker.record()


def _tell(
    tracker: MlflowTracker, info: RunInfo, start: Mapping[str, Any], events: list[dict[str, Any]], folder: Path
) -> None:
    now = float(start.get("time", 0))
    tracker.now = lambda: now
    tracker.noisyrun_run_start(info)
    for event in events:
        tracker.tell_again(event)
    last = events[-1]
    now = float(last.get("time", now))
    if last["what"] == "end":
        files = tuple(folder / Path(name).name for name in last.get("files", []))
        summary = _summary(folder) if last.get("status") == "finished" else {}
        tracker.noisyrun_run_end(RunResult(str(last.get("status")), summary, files))
    else:
        tracker.close()


def _settings(config: Mapping[str, Any], changes: Mapping[str, Any]) -> MLflowConfig:
    given = (config.get("lifecycle") or {}).get("mlflow") or {}
    try:
        return MLflowConfig(**{**given, **changes})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"track: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _summary(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / SUMMARY}: cannot be read ({error})") from None
    return content if isinstance(content, dict) else {}
