"""``noisyrun ui``: the runs that MLflow has recorded."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from noisyrun.api.errors import UserError
from noisyrun.cli.common import wants_help

USAGE = """\
noisyrun ui [DIR] [OPTIONS OF mlflow ui]

Open MLflow's pages on what is recorded in DIR: the folder of a suite's results, or of runs (runs/ by default).

  noisyrun ui results --port 5001"""


def main(words: list[str]) -> int:
    """Serve MLflow's pages; ends with Ctrl-C."""
    if wants_help(words):
        print(USAGE)
        return 0
    words = list(words)
    folder = Path(words.pop(0) if words and not words[0].startswith("-") else "runs")
    from noisyrun.bench.track import recorded

    uri = recorded(folder)
    if uri is None:
        raise UserError(
            f"ui: {folder} holds nothing that MLflow recorded; name the folder of a suite's results or of runs"
        )
    if find_spec("mlflow") is None:
        raise UserError("ui: MLflow is not installed: pip install 'noisyrun[mlflow]'")
    from noisyrun.tracking.mlflow import ENVIRONMENT

    quiet = {name: value for name, value in ENVIRONMENT.items() if name != "MLFLOW_LOGGING_LEVEL"}
    os.environ.update(quiet)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, *words]
    sys.stdout.flush()
    os.execv(sys.executable, command)
    return 0
