"""What a cell is: the hash of all that can change its result, and of nothing else. Imports no torch.

Two suites that ask for the same thing find the same cell, on whatever machine and from whatever path.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from noisyrun.api.errors import UserError
from noisyrun.api.plugin import KINDS
from noisyrun.config.resolve import RunConfig
from noisyrun.data.sources.detect import beside, locate
from noisyrun.data.sources.files import split_files, test_files

#: Settings that say where a cell runs and who watches it, not what comes of it.
ASIDE = ("out", "lifecycle", "strict", "baseline", "recipe", "data.workers", "train.checkpoint_every")

#: Parts of core that come after the numbers, or never run in a cell: what changes there runs no cell again.
NOT_DIGESTED = (
    *("bench/", "cli/", "scaffold/", "testing/", "tracking/", "catalog.py", "cost.py", "suggest.py"),
    *("report/gallery", "report/drawing.py", "report/charts.py", "report/console.py", "report/table.py"),
    *("report/pictures.py", "report/exhibits.py", "report/numbers.py"),
)

#: Settings that name files, even by a bare word.
PATHS = ("dataset", "test", "root", "classes", "tree", "noise_file", "noise_matrix")

#: Requirements that compute nothing.
NOT_VERSIONED = ("rich", "jinja2")

_NAME = re.compile(r"^[A-Za-z0-9._-]+")


def identity(config: RunConfig, task: str) -> dict[str, Any]:
    """All that can change a cell's result.

    What is left out on purpose: the machine, its device where the settings say ``auto``, and its number of threads
    (they change the last bits of a sum; every result says where it was made); the content of files in folders
    of more than a thousand (their names and sizes count); the code of packages that a plugin requires (their versions
    count); and the parts of core in `NOT_DIGESTED`.

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

    Raises
    ------
    UserError
        When a setting makes it depend on other runs, or its data are not there.
    """
    if config.settings.eval.ensemble:
        raise UserError(f"eval.ensemble: a cell stands alone, and cannot take the network of {_first(config)}")
    values = json.loads(json.dumps(config.as_dict()))
    for name in ASIDE:
        table, _, key = name.rpartition(".")
        (values[table] if table else values).pop(key, None)
    packages = _packages(config)
    return {
        "task": task,
        "data": _files(values) | _data_files(config),
        "config": values,
        "versions": _versions(packages),
        "code": {package: code_digest(*tops) for package, tops in packages.items()},
    }


def cell_id(what: Mapping[str, Any]) -> str:
    """The name of a cell: 16 hexadecimal digits of the hash of its identity."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _first(config: RunConfig) -> Path:
    return config.settings.eval.ensemble[0]


def _files(values: dict[str, Any]) -> dict[str, str]:
    """Digests of the files that settings name, whose paths are put out of the settings: what stands in them counts."""
    found = {}
    for table, key, name in list(_texts(values, "")):
        head, at, text = table[key].rpartition("@")  # 0.05:@classes.txt
        path = Path(text).expanduser()
        # A bare word may be the name of anything; only in these settings is it a file all the same.
        if ("/" in text or "." in text or key in PATHS) and text.strip("./") and path.exists():
            found[name] = file_digest(path)
            table[key] = f"{head}{at}a file"
    return dict(sorted(found.items()))


def _texts(values: Any, prefix: str) -> Iterator[tuple[Any, Any, str]]:
    """Every text among settings: what holds it, under which key, and its dotted name."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in pairs:
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, dict | list):
            yield from _texts(value, name)
        elif isinstance(value, str) and value:
            yield values, key, name


def _data_files(config: RunConfig) -> dict[str, str]:
    """Digests of what is read because it lies beside the data set: the test set, labels, the classes."""
    settings = config.settings
    path = locate(settings).path
    if path is None or path.is_dir():  # a folder is digested as a whole
        return {}
    files = list(test_files(path, None, [path])) if settings.data.test is None else []
    if (classes := beside(settings, "classes.tsv")) is not None and settings.data.classes is None:
        files.append(classes)
    if path.suffix.lower() == ".npy":
        files += [file for file in sorted(path.parent.glob("*.npy")) if file != path]
    files += [file for file in split_files(path.parent, (path.stem,)) if file != path]
    return {f"beside/{file.name}": file_digest(file) for file in files}


def file_digest(path: Path) -> str:
    """Digest of a file, or of all files in a folder: of up to a thousand their content, else their names and sizes."""
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
        content = file_digest(one) if whole else str(one.stat().st_size)
        summed.update(f"{one.relative_to(path)}\0{content}\0".encode())
    return summed.hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


def _packages(config: RunConfig) -> dict[str, tuple[str, ...]]:
    """Distributions of core and of the chosen plugins, each with the top-level modules that its records name."""
    found: dict[str, set[str]] = {"noisyrun": {"noisyrun"}}
    for kind, names in config.sockets.items():
        if kind not in KINDS or kind == "lifecycle":
            continue
        for name in names:
            chosen = config.registry.get(kind, name)
            tops = {path.partition(":")[0].partition(".")[0] for path in (chosen.record.factory, chosen.record.config)}
            found.setdefault(chosen.source.distribution, set()).update(tops)
    return {package: tuple(sorted(tops)) for package, tops in sorted(found.items())}


def _versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python, of distributions and of what these require directly."""
    found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for package in packages:
        for name, of in _required(package):
            found[name] = of
    return dict(sorted(found.items()))


@lru_cache(maxsize=64)
def _required(package: str) -> tuple[tuple[str, str], ...]:
    found = []
    for line in (package, *_requires(package)):
        name = _NAME.match(line)
        if name is None or "extra ==" in line or name[0].lower() in NOT_VERSIONED:
            continue
        try:
            found.append((name[0].lower().replace("_", "-"), version(name[0])))
        except PackageNotFoundError:  # for another system, or another Python
            continue
    return tuple(found)


def _requires(package: str) -> list[str]:
    try:
        return requires(package) or []
    except PackageNotFoundError:
        return []


@lru_cache(maxsize=64)
def code_digest(*modules: str) -> str:
    """Digest of the installed code of top-level modules or packages: their Python and TOML files, by their place."""
    summed = hashlib.sha256()
    for module in modules:
        for place, path in _sources(module):
            if not (module == "noisyrun" and place.startswith(NOT_DIGESTED)):
                summed.update(f"{module}/{place}\0".encode() + path.read_bytes() + b"\0")
    return summed.hexdigest()[:16]


def _sources(module: str) -> list[tuple[str, Path]]:
    spec = find_spec(module)
    if spec is None:
        return []
    if not spec.submodule_search_locations:
        return [(Path(spec.origin).name, Path(spec.origin))] if spec.origin else []
    roots = [Path(root) for root in spec.submodule_search_locations]
    files = [(path.relative_to(root).as_posix(), path) for root in roots for path in root.rglob("*")]
    return sorted((place, path) for place, path in files if path.suffix in (".py", ".toml") and path.is_file())
