"""WebVision 1.0 (Li et al., 2017): images that Google and Flickr found for 1,000 classes, with words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.layouts.findings import Findings, brings_its_own, labelled, lines, some, whole
from noisyrun.data.raw import Raw, RawData

_CLASSES = {"webvision": 1000, "mini-webvision": 50}
_SIZES = {"webvision": 2_439_574, "mini-webvision": 65_944}
_VAL = {"webvision": 50_000, "mini-webvision": 2_500}
#: Synsets of WebVision 2.0, whose labels are not those of 1.0.
_SECOND = 5000
_VAL_FOLDER = "val_images_256"
_BOTH = "are WebVision 1.0's and 2.0's mixed up?"


def scan(path: Path, settings: DataSettings, found: Findings, format: str) -> RawData:
    """Training is all of the file lists (mini: Google's, classes below 50); the test set is the validation list.

    A sample's source is the query that found it. Titles, descriptions and tags come from JSON files, any of which may
    be absent.
    """
    brings_its_own(settings.test, "WebVision")
    info = path / "info"
    wnids, words = _synsets(info / "synsets.txt", found)
    file, meta, paths, labels = _train_lists(info, format)
    _wrong_variant(labels, len(wnids), file, found)
    if format == "mini-webvision" and len(wnids) == _SECOND:
        found.problem(f"{info / 'synsets.txt'} is WebVision 2.0's, and mini-WebVision is of 1.0; take 1.0's lists")
    queries = [name.rpartition("/")[0] for name in paths]
    _against_queries(info / "queries_synsets_map.txt", queries, labels, file, found)
    metas = _meta_list(meta, len(paths), found)
    classes = min(_CLASSES[format], len(wnids))
    keep = np.flatnonzero(labels < classes) if format == "mini-webvision" else np.arange(len(paths))
    paths, labels, queries = [paths[row] for row in keep], labels[keep], [queries[row] for row in keep]
    metas = None if metas is None else [metas[row] for row in keep]
    found.size(f"training images of {file.name}", len(paths), _SIZES[format])
    columns: dict[str, pa.Array] = {"label": whole(labels), "source": pa.array(queries, pa.large_string())}
    sources = {"label": file.name, "source": "folder"}
    if metas is not None:
        columns |= _side_information(path, metas, found)
        sources |= {role: "JSON" for role in columns if role not in sources}
    train = Raw(str(file), np.arange(len(paths)), columns, sources, images=found.images(path, paths, file))
    names = _unique(wnids, words)
    test = _test(path, format, len(wnids), classes, found)
    return RawData(format, format, train, test, names[:classes], wnids[:classes])


def _synsets(file: Path, found: Findings) -> tuple[tuple[str, ...], list[str]]:
    """WordNet ids and words by class."""
    rows = [line.strip().partition(" ") for line in lines(file)]
    if len(rows) == _SECOND:
        found.warn(f"{file} names the 5,000 classes of WebVision 2.0, whose labels are not those of 1.0")
    elif len(rows) != _CLASSES["webvision"]:
        found.warn(f"{file}: {len(rows):,} classes of the {_CLASSES['webvision']:,} that were published")
    return tuple(row[0] for row in rows), [row[2].strip() for row in rows]


def _unique(wnids: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    """The first word of each synset, all of its words where another begins alike, its id where all are alike."""
    names = [line.split(",")[0].strip() or wnid for line, wnid in zip(words, wnids, strict=True)]
    counts = Counter(names)
    names = [line if counts[name] > 1 and line else name for name, line in zip(names, words, strict=True)]
    counts = Counter(names)
    return tuple(f"{name} ({wnid})" if counts[name] > 1 else name for name, wnid in zip(names, wnids, strict=True))


def _train_lists(info: Path, format: str) -> tuple[Path, list[Path], list[str], np.ndarray]:
    """The first file list, the meta lists parallel to all of them, paths, and labels."""
    parts = ["google"] if format == "mini-webvision" else ["all"]
    if parts == ["all"] and not (info / "train_filelist_all.txt").is_file():
        parts = [part for part in ("google", "flickr") if (info / f"train_filelist_{part}.txt").is_file()] or parts
    files = [info / f"train_filelist_{part}.txt" for part in parts]
    paths, labels = zip(*map(labelled, files), strict=True)
    metas = [info / f"train_meta_list_{part}.txt" for part in parts]
    return files[0], metas, [path for part in paths for path in part], np.concatenate(labels)


def _wrong_variant(labels: np.ndarray, synsets: int, file: Path, found: Findings) -> None:
    """1.0 has 1,000 classes and 2.0 has 5,000; the labels of one mean nothing under the other's names."""
    high = int(labels.max())
    if synsets == _CLASSES["webvision"] and high > synsets:
        found.problem(
            f"{file}: labels run to {high}, but synsets.txt names the 1,000 classes of WebVision 1.0; {_BOTH}"
        )
    elif synsets == _SECOND and high < _CLASSES["webvision"]:
        found.problem(
            f"{file}: labels run to {high}, but synsets.txt names the 5,000 classes of WebVision 2.0; {_BOTH}"
        )
    else:
        found.labels(labels, synsets, file)


def _against_queries(file: Path, queries: list[str], labels: np.ndarray, where: Path, found: Findings) -> None:
    """Hold each label, from 0, against the synset, from 1, of the query that found the image."""
    if not file.is_file():
        found.warn(f"{file} is missing: labels cannot be held against queries")
        return
    numbers, synsets = labelled(file)
    synset_of = {number.strip().lstrip("q"): int(synset) for number, synset in zip(numbers, synsets, strict=True)}
    asked = [query.rpartition("/")[2].lstrip("q").lstrip("0") for query in queries]
    expected = np.array([synset_of.get(number, 0) for number in asked], np.int64)
    known = expected > 0
    if not known.any():
        found.warn(f"{where}: no image lies in the folder of a query of {file.name}")
        return
    if (labels[known] == expected[known]).all():
        found.problem(f"{where}: labels are off by one: each is its query's synset, counted from 1, and must be from 0")
        return
    wrong = np.flatnonzero(known & (labels != expected - 1))
    if len(wrong):
        row = int(wrong[0])
        found.problem(
            f"{where}: {len(wrong):,} labels are not those of their query in {file.name}, e.g. line {row + 1}: "
            f"label {labels[row]}, query {queries[row]}, synset {expected[row]}, from 1"
        )


def _meta_list(files: list[Path], rows: int, found: Findings) -> list[tuple[str, int]] | None:
    """JSON file of each row, and the place in it from 0; None without lists."""
    absent = [str(file) for file in files if not file.is_file()]
    if absent:
        found.warn(f"{some(absent)} is missing: no titles, descriptions and tags")
        return None
    paths: list[str] = []
    places: list[int] = []
    for file in files:
        more, numbers = labelled(file)
        if int(numbers.min()) < 1:
            found.problem(f"{file}: entry {int(numbers.min())}: off by one, entries are counted from 1 in this list")
        paths += more
        places += (numbers - 1).tolist()
    if len(paths) != rows:
        found.problem(f"{files[0]}: {len(paths):,} entries beside {rows:,} images: the lists are not parallel")
        return None
    return list(zip(paths, places, strict=True))


def _side_information(root: Path, metas: list[tuple[str, int]], found: Findings) -> dict[str, pa.Array]:
    """Titles, descriptions and tags; each JSON file is read once."""
    by_file: dict[str, list[tuple[int, int]]] = {}
    for row, (name, place) in enumerate(metas):
        by_file.setdefault(name, []).append((row, place))
    titles: list[str] = [""] * len(metas)
    descriptions: list[str] = [""] * len(metas)
    tags: list[list[str]] = [[] for _ in metas]
    absent, bad, beyond = [], [], []
    top = root.resolve()
    for name, members in by_file.items():
        if not (top / name).resolve().is_relative_to(top):
            raise UserError(f"train_meta_list: {name!r} leads outside {root}")
        try:
            entries = json.loads((root / name).read_bytes())
            if not isinstance(entries, list):
                raise ValueError("no list")
        except FileNotFoundError:
            absent.append(name)
            continue
        except (OSError, ValueError, RecursionError):
            bad.append(name)
            continue
        for row, place in members:
            entry = entries[place] if 0 <= place < len(entries) else None
            if not isinstance(entry, dict):
                beyond.append(f"{name} {place + 1}")
                continue
            titles[row], descriptions[row] = _text(entry.get("title")), _text(entry.get("description"))
            given = entry.get("tags")
            tags[row] = [_text(str(tag)) for tag in given] if isinstance(given, list) else []
    if absent:
        found.warn(f"{len(absent):,} of {len(by_file):,} JSON files of titles and tags are missing: {some(absent)}")
    if bad:
        found.problem(f"{len(bad):,} JSON files cannot be read: {some(bad)}")
    if beyond:
        found.problem(f"{len(beyond):,} entries of the meta list are not in their JSON file: {some(beyond)}")
    columns: dict[str, pa.Array] = {}
    if any(titles):
        columns["title"] = pa.array(titles, pa.large_string())
    if any(descriptions):
        columns["description"] = pa.array(descriptions, pa.large_string())
    if any(tags):
        columns["tags"] = pa.array(tags, pa.list_(pa.string()))
    return columns


def _text(value: Any) -> str:
    """Text, of which half letters, which JSON can hold, become question marks."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def _test(path: Path, format: str, synsets: int, classes: int, found: Findings) -> Raw | None:
    file = path / "info" / "val_filelist.txt"
    if not file.is_file():
        found.warn(f"{file} is missing: no test set")
        return None
    paths, labels = labelled(file)
    _wrong_variant(labels, synsets, file, found)
    if format == "mini-webvision":
        paths, labels = [paths[row] for row in np.flatnonzero(labels < classes)], labels[labels < classes]
    found.size(f"validation images of {file.name}", len(paths), _VAL[format])
    if not paths:
        return None
    images = found.images(path / _VAL_FOLDER, paths, file)
    return Raw(str(file), np.arange(len(paths)), {"label": whole(labels)}, {"label": file.name}, images=images)
