"""Runs in these tests are small: threads would only wait for each other."""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from noisyrun.cli import main

sys.path.insert(0, str(Path(__file__).parent))

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """Loads a script of the folder `scripts` as a module."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"noisyrun_scripts_{name}", SCRIPTS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


class Command:
    """Runs a command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str | Path) -> None:
        """It must succeed."""
        self.capsys.readouterr()
        code = main([str(word) for word in words])
        assert code == 0, self.capsys.readouterr().err

    def line(self, *words: str | Path, code: int = 2) -> str:
        """It must fail with this code; gives the one line that says why."""
        self.capsys.readouterr()
        assert main([str(word) for word in words]) == code
        told = self.capsys.readouterr().err
        assert "Traceback" not in told
        lines = [line for line in told.splitlines() if line.strip() and not line.startswith(("epoch ", "labels "))]
        assert len(lines) == 1, told
        return lines[0]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """What the run comes to when nothing fails."""
    from causing_faults import RUN, result

    folder = tmp_path_factory.mktemp("unbroken") / "run"
    assert main([*RUN, "--out", str(folder)]) == 0
    return result(folder)


def pytest_configure() -> None:
    # A shell starts what runs in the background with Ctrl-C ignored, children inherit that, and noisyrun keeps to it:
    # tests of Ctrl-C would wait for ever.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
