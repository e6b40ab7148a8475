"""``noisyrun export``: what came of a finished run, for others to use."""

from __future__ import annotations

from pathlib import Path

from noisyrun.api.errors import UserError
from noisyrun.cli.common import entries, wants_help
from noisyrun.config import flags
from noisyrun.engine.interrupt import stopped_at_once
from noisyrun.exports.formats import FORMATS
from noisyrun.printable import printable

USAGE = """\
noisyrun export RUN FORMAT --to PATH [OPTIONS]

Write what came of the finished run in RUN. A data set has the labels that the run arrived at as `label`, and beside
them what was observed, its weight and quality, and whether it is called wrong; samples of noisy validation and of the
test set, which no run judges, keep their labels and are marked. Nothing is written unless the data is what it was.
A model is one file: the network as it stood after the last epoch, and how images are to be shown to it; the data is not
read. `noisyrun predict` takes it.

"""
USAGE += "\n".join(f"  {name:<13}{format.summary}" for name, format in FORMATS.items())
USAGE += "\n\nOptions of one: noisyrun export RUN FORMAT --help"


@stopped_at_once()  # what is half-written is removed, as after any error
def main(words: list[str]) -> int:
    """Export a run."""
    if wants_help(words):
        asked = next((word for word in words if word in FORMATS), None)
        if asked is None:
            print(USAGE)
        else:
            print(f"noisyrun export RUN {asked} --to PATH: {FORMATS[asked].summary}\n")
            print(entries(list(FORMATS[asked].options)) or "It has no options.")
        return 0
    if len(words) < 2 or words[0].startswith("-") or words[1].startswith("-"):
        raise UserError(
            f"export: name the run, then the format: noisyrun export runs/NAME FORMAT --to PATH, with one of "
            f"{', '.join(FORMATS)}"
        )
    if not Path(words[0]).is_dir():
        raise UserError(f"export: no folder {words[0]}")
    given = flags.parse(words[2:])
    to = flags.take(given, "to")
    if to is None:
        raise UserError("export: say where to: --to PATH")
    from noisyrun.exports import export

    for line in export(words[0], words[1], to, {flag.name: flag.value for flag in given}).lines:
        print(printable(line))
    return 0
