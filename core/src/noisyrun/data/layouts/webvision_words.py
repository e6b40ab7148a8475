"""Titles, descriptions and tags of WebVision's images, from the JSON files of its queries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from noisyrun.data.layouts.findings import Findings, below, some
from noisyrun.data.layouts.json_lists import MAX_WHOLE, load_json
from noisyrun.data.tars import TarRefs, index_shards

_TAGS = pa.large_list(pa.large_string())


def words_of(root: Path, files: pa.Array, places: np.ndarray, found: Findings) -> dict[str, pa.Array]:
    """Columns of titles, descriptions and tags, as far as there are any; each JSON file is read once.

    Parameters
    ----------
    files
        JSON file of each image, [n].
    places
        int64 [n]: place of its entry in that file, from 0.
    """
    coded = below(root, files, "train_meta_list").dictionary_encode()
    names = coded.dictionary.to_pylist()
    codes = coded.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(len(names) + 1))
    read = _reader(root)
    absent, bad, beyond = [], [], []
    titles, descriptions, tags = [], [], []
    for code, name in enumerate(names):
        mine = places[order[ends[code] : ends[code + 1]]].tolist()
        entries: list[Any] = []
        try:
            held = read(name)
            if not isinstance(held, list):
                raise ValueError("no list")
            entries = held
        except FileNotFoundError:
            absent.append(name)
        except (OSError, ValueError, RecursionError):
            bad.append(name)
        else:
            beyond += [f"{name} {place + 1}" for place in mine if not _is_entry(entries, place)]
        chosen = [entries[place] if _is_entry(entries, place) else {} for place in mine]
        titles.append(pa.array([_text(entry.get("title")) for entry in chosen], pa.large_string()))
        descriptions.append(pa.array([_text(entry.get("description")) for entry in chosen], pa.large_string()))
        tags.append(pa.array([_tags(entry.get("tags")) for entry in chosen], _TAGS))
    if absent:
        found.warn(f"{len(absent):,} of {len(names):,} JSON files of titles and tags are missing: {some(absent)}")
    if bad:
        found.problem(f"{len(bad):,} JSON files cannot be read (without one, its images have no words): {some(bad)}")
    if beyond:
        found.problem(f"{len(beyond):,} entries of the meta list are not in their JSON file: {some(beyond)}")
    back = pa.array(np.argsort(order, kind="stable"))
    columns = {"title": titles, "description": descriptions, "tags": tags}
    joined = {role: pa.concat_arrays(parts) for role, parts in columns.items()}
    return {role: column.take(back) for role, column in joined.items() if _says_anything(column)}


def _says_anything(column: pa.Array) -> bool:
    values = column.flatten() if column.type == _TAGS else column
    buffers = values.buffers()
    return bool(len(values)) and buffers[2] is not None and buffers[2].size > 0


def _reader(root: Path) -> Callable[[str], Any]:
    """What a JSON file holds, by its name: of the folder, or of the archives of JSON files of 2.0."""
    archives = [file for file in (root / "google.tar", root / "flickr.tar") if file.is_file()]
    if not archives:
        return lambda name: load_json(root / name)
    members = index_shards(archives, wanted=lambda name: name.endswith(".json"))
    packed = TarRefs(members)

    def read(name: str) -> Any:
        if (root / name).is_file():
            return load_json(root / name)
        row = int(members.find(pa.array([name]))[0])
        if row < 0:
            raise FileNotFoundError(name)
        if members.size[row] > MAX_WHOLE:
            raise ValueError("too large")
        with packed.open(row) as stream:
            return json.loads(stream.read())

    return read


def _is_entry(entries: list[Any], place: int) -> bool:
    return 0 <= place < len(entries) and isinstance(entries[place], dict)


def _tags(given: Any) -> list[str]:
    return [_text(str(tag)) for tag in given] if isinstance(given, list) else []


def _text(value: Any) -> str:
    """Text, of which half letters, which JSON can hold, become question marks."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""
