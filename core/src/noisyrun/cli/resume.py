"""``noisyrun resume``: go on with a run that was stopped."""

from __future__ import annotations

from pathlib import Path

from noisyrun.api.errors import UserError
from noisyrun.cli.common import wants_help

USAGE = """\
noisyrun resume DIR

Go on with the run in DIR from its last checkpoint, with the configuration it was started with.
On the CPU the result is that of an unbroken run, bit for bit."""


def main(words: list[str]) -> int:
    """Resume the run in a folder."""
    if wants_help(words):
        print(USAGE)
        return 0
    if len(words) != 1 or words[0].startswith("-"):
        raise UserError("resume: give the folder of the run, and nothing else: noisyrun resume runs/NAME")
    folder = Path(words[0])
    if not folder.is_dir():
        raise UserError(f"resume: no folder {folder}")
    from noisyrun.runner import resume

    resume(folder)
    return 0
