"""The command line: words to configuration, errors to one line and an exit code. Each verb is a module of its own.

Exit codes: 0 done, 1 failed, 2 something for the user to mend, 130 interrupted (143 by SIGTERM, 129 by SIGHUP).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TextIO

from noisyrun.api.errors import UserError
from noisyrun.files import fault
from noisyrun.printable import printable
from noisyrun.torchrun import ToldElsewhere, leave_reason, several, together

#: Verbs by name, with what they do. Each is a module of this package with a function ``main(words) -> int``.
VERBS = {
    "plan": "show what a run would do, and whether it can, without doing it",
    "detect": "find wrong labels on given features, training no backbone",
    "report": "compare the results of a suite: a page, and tables as CSV, Markdown and LaTeX",
    "resume": "go on with a run that was stopped",
    "evaluate": "a finished run on its test set, with crops, sizes or an ensemble, without training",
    "predict": "the classes of images, by a finished run or an exported model",
    "export": "a finished run as a cleaned data set, or its model as safetensors or ONNX",
    "bench": "run a suite: methods × data × noise × seeds, each once, and go on where it was stopped",
    "track": "record a run with MLflow after the fact: what its tracker missed, or all of it",
    "ui": "open MLflow's pages on the runs of a suite's results, or of runs/",
    "new-plugin": "write a package for a plugin of your own to start from",
    "plugins": "list the plugins that are installed, or could be",
    "data": "check a data set: what it holds, and what is wrong with it; or pack it into tar shards or Parquet",
    "schema": "print the JSON schema of a run's configuration",
    "doctor": "check this installation: versions, devices, plugins, data",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv
        Words after the program's name; those of the process by default.

    Returns
    -------
    int
        Exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # Read when torch loads OpenMP. Its threads otherwise spin so long for each other that, on cores which other work
    # shares, an epoch takes many times as long; on idle cores this short a spin costs nothing.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        code = _dispatch(words)
        sys.stdout.flush()  # here, where it can still be told that there is no room for it
        return code
    except UserError as error:
        # What a message quotes may come from data.
        return _told(printable(str(error), keep="\n\t"), 2)
    except KeyboardInterrupt as stop:
        return _told(str(stop) or "interrupted", 128 + getattr(stop, "signal", signal.SIGINT))
    except BrokenPipeError:
        # Whoever read the output has stopped; nothing more can be said, and Python must not try at exit.
        _silence(sys.stdout)
        return 0
    except ToldElsewhere as error:
        leave_reason(printable(str(error)))
        return error.code
    except Exception as error:
        if (line := fault(error)) is not None:
            return _told(printable(line), 2)
        leave_reason(printable(f"{type(error).__name__}: {error}"))
        return _crashed(error)


def _told(line: str, code: int) -> int:
    """Say why a command ended; the exit code says it where nobody hears, as in a terminal that was closed."""
    leave_reason(line)
    try:
        sys.stdout.flush()
    except OSError:
        _silence(sys.stdout)
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        _silence(sys.stderr)
    return code


def _silence(stream: TextIO) -> None:
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _dispatch(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        from noisyrun.cli.common import version

        print(f"noisyrun {version()}")
        return 0
    verb = "run"
    if words and not words[0].startswith("-"):
        verb = words.pop(0)
        if verb not in VERBS:
            from noisyrun.suggest import did_you_mean

            raise UserError(f"no verb {verb!r}{did_you_mean(verb, VERBS)}; verbs: {', '.join(VERBS)}; a run needs none")
    run = import_module(f"noisyrun.cli.{verb.replace('-', '_')}").main
    code: int = together(verb, run, words) if several() else run(words)
    return code


def _crashed(error: Exception) -> int:
    """Show an error nobody foresaw, with where to look."""
    import traceback

    from noisyrun.registry import BrokenPluginError

    traceback.print_exception(error)
    if isinstance(error, BrokenPluginError):
        hint = "the plugin's own error stands above; choose another plugin, or mend its installation"
    else:
        hint = "this is a fault of noisyrun or of a plugin: the last lines of the traceback name the file"
    print(f"\n{hint}. `noisyrun doctor` shows versions and the state of every plugin.", file=sys.stderr)
    return 1
