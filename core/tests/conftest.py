"""Distributions written to a folder on the path, with the metadata by which importlib finds them."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

RECORD = """\
from noisyrun.api import Plugin, hookimpl

@hookimpl
def noisyrun_plugins():
    yield Plugin(kind={kind!r}, name={name!r}, api={api!r}, summary="A fake.", factory={factory!r}, config={config!r})
"""


class Site:
    """A folder in which distributions can be installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, distribution: str, source: str, *, version: str = "1.0", entry: str | None = None) -> None:
        """Install a distribution whose entry module has this source."""
        module = distribution.replace("-", "_")
        self.module(module, source)
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[noisyrun]\n{entry or distribution} = {module}\n")
        importlib.invalidate_caches()

    def module(self, name: str, source: str) -> None:
        """Write a module."""
        (self.folder / f"{name}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()

    def plugin(self, distribution: str, kind: str, name: str, *, api: str = "1.0", fields: str = "pass") -> None:
        """Install a distribution with one plugin, whose configuration has these fields."""
        module = distribution.replace("-", "_")
        self.install(
            distribution,
            RECORD.format(
                kind=kind, name=name, api=api, factory=f"{module}_method:Fake", config=f"{module}_config:Config"
            ),
        )
        lines = ["from typing import Literal", "from pydantic import BaseModel, Field"]
        lines += ["from noisyrun.api import PluginConfig", "class Config(PluginConfig):"]
        fields = textwrap.indent(textwrap.dedent(fields).strip(), "    ")
        (self.folder / f"{module}_config.py").write_text("\n".join([*lines, fields, ""]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A folder on the path for fake distributions; nothing imported from it outlives the test."""
    monkeypatch.delenv("NOISYRUN_DISABLE_PLUGINS", raising=False)
    monkeypatch.delenv("NOISYRUN_ONLY_PLUGINS", raising=False)
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    )
    before = set(sys.modules)
    yield Site(folder)
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(folder):
            del sys.modules[name]
    importlib.invalidate_caches()


def pytest_configure() -> None:
    # A shell starts what runs in the background with Ctrl-C ignored, children inherit that, and noisyrun keeps to it:
    # tests of Ctrl-C would wait for ever.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
