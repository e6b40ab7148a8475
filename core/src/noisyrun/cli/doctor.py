"""``noisyrun doctor``: is this installation sound?"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from noisyrun.api.errors import UserError
from noisyrun.api.plugin import API_VERSION
from noisyrun.cli.common import nothing_left, open_registry, wants_help
from noisyrun.config import flags
from noisyrun.registry import Registry, one_line

USAGE = """\
noisyrun doctor [--disable-plugins A,B] [--only-plugins A,B]

Check this installation: versions, devices, plugins (each is imported), MLflow, WordNet, disk space.
Exit code 1 when something is broken; a warning is no failure."""

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pyarrow", "pydantic", "pluggy", "safetensors", "scikit-learn")
LEAST_DISK = 2 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    state: Literal["ok", "warning", "broken"]
    what: str
    text: str


def main(words: list[str]) -> int:
    """Look at everything."""
    if wants_help(words):
        print(USAGE)
        return 0
    given = flags.parse(words)
    registry = open_registry(given)
    nothing_left(given, ["disable-plugins", "only-plugins"])
    findings = [*_versions(), *_device(), *_plugins(registry), *_mlflow(), *_wordnet(), *_disk()]
    _show(findings)
    return 1 if any(finding.state == "broken" for finding in findings) else 0


def _show(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    marks = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "broken": "[red]✗[/]"}
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(marks[finding.state], finding.what, finding.text.replace("[", "\\["))
    Console(highlight=False).print(table)


def _versions() -> Iterator[Finding]:
    yield Finding("ok", "noisyrun", f"{version('noisyrun')}, plugin API {API_VERSION}")
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.platform()}, {sys.executable}")
    for package in PACKAGES:
        try:
            yield Finding("ok", package, version(package))
        except PackageNotFoundError:
            yield Finding("broken", package, "is not installed; noisyrun cannot run without it")


def _device() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:
        yield Finding("broken", "device", f"torch cannot be imported ({one_line(error)})")
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    state: Literal["ok", "warning"] = "warning" if threads > cores else "ok"
    yield Finding(state, "cpu", f"{threads} torch threads on {cores} cores")
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        yield Finding("ok", f"cuda:{number}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.is_available():
        yield Finding("ok", "gpu", "none that torch can use; runs take the CPU")


def _plugins(registry: Registry) -> Iterator[Finding]:
    """Everything that discovery refused, whether what it took can be imported, and whether recipes resolve."""
    from noisyrun.config.resolve import resolve

    limit = registry.limit()
    if limit is not None:
        yield Finding("ok", "plugins", limit)
    for line in registry.complaints():
        yield Finding("broken", "plugin", line.removeprefix("warning: "))
    for found in registry.plugins.values():
        try:
            registry.config_class(found.record.kind, found.record.name)
            registry.factory(found.record.kind, found.record.name)
        except Exception as error:
            cause = error.__cause__ or error
            yield Finding("broken", found.key, f"{found.source}: {one_line(cause)}")
        else:
            yield Finding("ok", found.key, str(found.source))
    for name, recipe in registry.recipes.items():
        try:
            resolve({"recipe": name}, registry=registry)
        except UserError as error:
            yield Finding("warning", f"recipe {name}", f"{recipe.source}: {str(error).splitlines()[0]}")
        except Exception as error:
            yield Finding("broken", f"recipe {name}", f"{recipe.source}: {one_line(error)}")
        else:
            yield Finding("ok", f"recipe {name}", str(recipe.source))


def _mlflow() -> Iterator[Finding]:
    if find_spec("mlflow") is None:
        yield Finding("warning", "mlflow", "is not installed: runs are not tracked unless another tracker is chosen")
    else:
        where = os.environ.get("MLFLOW_TRACKING_URI", "SQLite in runs/mlflow.db")
        yield Finding("ok", "mlflow", f"{version('mlflow')}, records to {where}")


#: Folders beside the user's and the environment's own in which such data is commonly kept.
_SHARED_DATA = ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib")


def _wordnet() -> Iterator[Finding]:
    """WordNet's data, which class relations use, where NLTK looks for it."""
    if find_spec("nltk") is None:
        yield Finding("warning", "wordnet", "nltk is not installed; class relations from WordNet need it")
        return
    named = [Path(folder) for folder in os.environ.get("NLTK_DATA", "").split(os.pathsep) if folder]
    own = [Path.home() / "nltk_data", *(Path(sys.prefix, *where, "nltk_data") for where in ((), ("share",), ("lib",)))]
    shared = [Path(root, "nltk_data") for root in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib")]
    for folder in (*named, *own, *shared):
        for name in ("wordnet", "wordnet.zip"):
            if (folder / "corpora" / name).exists():
                yield Finding("ok", "wordnet", str(folder / "corpora" / name))
                return
    yield Finding("warning", "wordnet", "no WordNet data: python -m nltk.downloader wordnet, or set NLTK_DATA")


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    state: Literal["ok", "warning"] = "ok" if free >= LEAST_DISK else "warning"
    yield Finding(state, "disk", f"{free / 2**30:.1f} GiB free here, where runs/ goes")
