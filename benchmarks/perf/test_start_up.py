"""How long the command line takes to answer, beside an interpreter that does nothing: the difference is what counts."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

HEAVY = ("torch", "mlflow", "pandas", "sklearn", "transformers")


def run(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.mark.parametrize("words", [("--help",), ("plugins",)], ids=["help", "plugins"])
def test_start_up(measured: Any, words: tuple[str, ...]) -> None:
    bare = ("-c", "pass")
    printed = measured(
        f"noisyrun {' '.join(words)}", lambda: run("-m", "noisyrun", *words), bare=lambda: run(*bare), rounds=7
    )
    assert "noisyrun" in printed or "backbone" in printed


@pytest.mark.parametrize("words", [("--help",), ("plugins",)], ids=["help", "plugins"])
def test_start_up_imports_nothing_heavy(benchmark: Any, words: tuple[str, ...]) -> None:
    code = (
        f"import sys, runpy; sys.argv = ['noisyrun', *{words!r}]\n"
        "try: runpy.run_module('noisyrun', run_name='__main__')\n"
        "except SystemExit: pass\n"
        f"print('heavy:', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    printed = benchmark.pedantic(run, args=("-c", code), rounds=1)
    assert printed.splitlines()[-1] == "heavy: []"
