"""What a cell is: the hash of all that can change its result, and of nothing else. Imports no torch.

Two suites that ask for the same thing find the same cell, on whatever machine and from whatever path.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from noisyrun.api.errors import UserError
from noisyrun.api.plugin import KINDS
from noisyrun.config.resolve import RunConfig

#: Settings that change where or how a cell runs, not what comes of it.
ASIDE = ("out", "lifecycle", "strict", "baseline", "recipe")

#: Parts of core that come after the numbers, or never run in a cell.
NOT_DIGESTED = ("bench", "cli", "scaffold", "testing", "tracking", "report/gallery", "report/drawing", "report/charts")

#: Settings that name files: what counts is what stands in them.
FILES = ("dataset", "verify", "clean")
DATA_FILES = ("test", "root", "classes", "tree", "noise_file", "noise_matrix")

_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def identity(config: RunConfig, task: str) -> dict[str, Any]:
    """All that can change a cell's result.

    Parameters
    ----------
    config
        Its resolved configuration.
    task
        train or detect.

    Returns
    -------
    dict
        ``task``, ``config``, ``data`` (digests of the files it names), ``versions`` and ``code``; JSON values. Noise
        that is injected is a function of the labels, the settings and the code; a noise manifest is among the files.
    """
    values = json.loads(json.dumps(config.as_dict()))
    for name in ASIDE:
        values.pop(name, None)
    values["data"].pop("workers", None)
    packages = _packages(config)
    return {
        "task": task,
        "data": _files(values),
        "config": values,
        "versions": _versions(packages),
        "code": {package: code_digest(package) for package in packages},
    }


def cell_id(what: Mapping[str, Any]) -> str:
    """The name of a cell: 16 hexadecimal digits of the hash of its identity."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _files(values: dict[str, Any]) -> dict[str, str]:
    """Digests of the files that a configuration names, whose paths are taken out of it."""
    found = {}
    for table, names in ((values, FILES), (values["data"], DATA_FILES)):
        for name in names:
            text = table.get(name)
            if isinstance(text, str) and text and (path := Path(text).expanduser()).exists():
                found[name] = file_digest(path)
                table[name] = "a file"
    for member in values["eval"]["ensemble"]:
        raise UserError(f"eval.ensemble: a cell stands alone, and cannot take the network of {member}")
    return dict(sorted(found.items()))


def file_digest(path: Path) -> str:
    """Digest of a file, or of all files in a folder: of small ones their content, else name and size as well."""
    return _digest(path.resolve(), _stamp(path))


@lru_cache(maxsize=256)
def _digest(path: Path, stamp: tuple[int, int]) -> str:
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    files = sorted(one for one in path.rglob("*") if one.is_file() and not one.name.startswith("."))
    whole = len(files) <= 1000
    summed = hashlib.sha256()
    for one in files:
        # Of a folder of a million images the names and sizes are read, and not every byte each time.
        content = file_digest(one) if whole else str(one.stat().st_size)
        summed.update(f"{one.relative_to(path)}\0{content}\0".encode())
    return summed.hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


def _packages(config: RunConfig) -> list[str]:
    """Distributions of core and of the chosen plugins."""
    chosen = {
        config.registry.get(kind, name).source.distribution
        for kind, names in config.sockets.items()
        if kind in KINDS and kind != "lifecycle"
        for name in names
    }
    return sorted({"noisyrun", *chosen})


def _versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python, of distributions and of what these require directly."""
    found = {"python": platform.python_version()}
    for package in packages:
        for line in (package, *(requires(package) or ())):
            name = _NAME.match(line)
            if name is None or "extra ==" in line:
                continue
            try:
                found[name[0].lower()] = version(name[0])
            except PackageNotFoundError:
                continue
    return dict(sorted(found.items()))


@lru_cache(maxsize=64)
def code_digest(package: str) -> str:
    """Digest of a distribution's installed code: its Python and TOML files, by their place in the package."""
    spec = find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return ""
    summed = hashlib.sha256()
    root = Path(next(iter(spec.submodule_search_locations)))
    for path in sorted((*root.rglob("*.py"), *root.rglob("*.toml"))):
        place = path.relative_to(root).as_posix()
        if package == "noisyrun" and place.startswith(NOT_DIGESTED):
            continue
        summed.update(f"{place}\0".encode() + path.read_bytes() + b"\0")
    return summed.hexdigest()[:16]
