"""What ``torchrun`` tells a command that it started in several processes, and what it wants to be told. No torch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from noisyrun.api.errors import NoisyrunError, UserError
from noisyrun.run_folder import CONFIG, RunFolder

#: Verbs that several processes can share.
SHARED = ("run", "resume")

RESTARTS_NEED_OUT = (
    "torchrun --max-restarts: a run that starts again can only be found by its folder; name it with --out DIR"
)

#: What a process says of its end when another one is gone and nobody knows why.
GONE = "another process of the run is gone: torchrun says which, and how it ended"
#: Seconds by which an end that follows from another is dated later: torchrun takes the earliest for the root cause.
_FOLLOWS = 5


class ToldElsewhere(NoisyrunError):
    """The run ended, and another of its processes has said why: the message is what that one said.

    Attributes
    ----------
    code
        Exit code of the process.
    """

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


def several() -> bool:
    """Whether ``torchrun`` started this process, beside others."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def together(verb: str, main: Callable[[list[str]], int], words: list[str]) -> int:
    """Run a verb in this process, together with the others.

    Raises
    ------
    UserError
        When the verb is not one for several processes.
    ToldElsewhere
        When the run ended for a reason that another process has told.
    """
    # Else every process says at its first step that all parameters are in use, whatever the next stage may do.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from noisyrun.engine.world import World

    world = World.of_environment()
    with world.joined():
        if verb not in SHARED:
            raise UserError(f"torchrun: {verb} is for one process; several can share a run, and noisyrun resume")
        if {"--help", "-h"} & set(words) and not world.first:
            return 0
        return main(words)


def may_restart() -> bool:
    """Whether ``torchrun`` starts the processes again when one fails."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def restarts_left() -> bool:
    """Whether ``torchrun`` would start the processes again if one failed now."""
    done = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    return done < int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))


def launcher(size: int, local_size: int) -> str:
    """What starts a command in as many processes again; on several machines only the user knows how they meet."""
    if size == 1:
        return ""
    return f"torchrun --nproc-per-node {size} -m " if size == local_size else "torchrun … -m "


def leave_reason(reason: str) -> None:
    """Write why this process fails where ``torchrun`` looks for it, so that its summary has the reason in one line."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file is None:
        return
    when = int(time.time()) + (_FOLLOWS if reason.startswith(GONE) else 0)
    told = {"message": reason, "extraInfo": {"timestamp": str(when)}}
    with suppress(OSError):
        Path(file).write_text(json.dumps({"message": told}), encoding="utf-8")


def folder_of_restart(out: Path | None, same: Callable[[Mapping[str, Any]], bool]) -> RunFolder | None:
    """The folder in which a restarted command goes on; None where there is nothing yet to go on with.

    Parameters
    ----------
    out
        What ``--out`` names.
    same
        Whether a configuration is the one that is to be run: another run is not gone on with.

    Raises
    ------
    UserError
        When there is no ``--out``.
    """
    if out is None:
        raise UserError(RESTARTS_NEED_OUT)
    if not (out / CONFIG).is_file():
        return None
    folder = RunFolder.open(out)
    return folder if same(folder.config()) else None
