"""How long the command line takes to answer, beside an interpreter that does nothing.

The ratio in the table is that interpreter's time over noisyrun's; the difference is the figure that counts.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest


def run(*words: str) -> str:
    done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.mark.parametrize("words", [("--help",), ("plugins",)], ids=["help", "plugins"])
@pytest.mark.parametrize("side", ["noisyrun", "base"])
def test_start_up(benchmark: Any, words: tuple[str, ...], side: str) -> None:
    benchmark.group = f"noisyrun {' '.join(words)} / python -c pass"
    benchmark.extra_info["side"] = side
    command = ("-m", "noisyrun", *words) if side == "noisyrun" else ("-c", "pass")
    printed = benchmark.pedantic(run, args=command, rounds=7, warmup_rounds=1)
    assert bool(printed) == (side == "noisyrun")


@pytest.mark.parametrize("words", [("--help",), ("plugins",)], ids=["help", "plugins"])
def test_start_up_imports_nothing_heavy(benchmark: Any, words: tuple[str, ...]) -> None:
    code = (
        f"import sys, runpy; sys.argv = ['noisyrun', *{words!r}]\n"
        "try: runpy.run_module('noisyrun', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print('heavy:', sorted({'torch', 'mlflow', 'pandas', 'sklearn', 'transformers'} & set(sys.modules)))"
    )
    printed = benchmark.pedantic(run, args=("-c", code), rounds=1)
    assert printed.splitlines()[-1] == "heavy: []"
