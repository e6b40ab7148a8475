"""``noisyrun track``: record a run with MLflow after the fact."""

from __future__ import annotations

from pathlib import Path

from noisyrun.api.errors import UserError
from noisyrun.cli.common import nothing_left, wants_help
from noisyrun.config import flags

USAGE = """\
noisyrun track DIR [--uri URI] [--experiment NAME]

Record the run in DIR with MLflow: all of it, or what is not recorded yet because the database was locked or gone, the
server did not answer, or tracking was off. Parameters, tags, numbers by epoch and files are those of a run recorded
while it ran; doing it twice changes nothing.

  --uri         tracking URI; by default that of the run, else MLFLOW_TRACKING_URI, else SQLite in runs/mlflow.db
  --experiment  experiment the run belongs to; by default that of the run"""

#: Seconds that MLflow may take: nobody waits for anything else.
PATIENCE = 3600.0


def main(words: list[str]) -> int:
    """Record a run."""
    if wants_help(words) or not words:
        print(USAGE)
        return 0
    if words[0].startswith("-"):
        raise UserError("track: name the run's folder first: noisyrun track runs/NAME")
    folder = Path(words[0])
    given = flags.parse(words[1:])
    uri, experiment = flags.take(given, "uri"), flags.take(given, "experiment")
    nothing_left(given, ["uri", "experiment"])
    if (folder / "suite.json").is_file():
        raise UserError(f"track: {folder} holds a suite's results; noisyrun bench SUITE --out {folder} records them")
    from noisyrun.tracking.again import record

    changes = {"uri": uri, "experiment": experiment}
    shown = record(folder, {name: value for name, value in changes.items() if value}, PATIENCE)
    print(f"{folder} is recorded in {shown['uri']}, experiment {shown['experiment']}; open it with: {shown['open']}")
    return 0
