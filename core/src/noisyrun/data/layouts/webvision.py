"""WebVision 1.0 and 2.0 (Li et al., 2017): what Google and Flickr found for 1,000 or 5,000 classes, with words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.layouts.findings import NAMED, Findings, below, brings_its_own, glued, some, whole
from noisyrun.data.layouts.text import labelled, lines
from noisyrun.data.layouts.webvision_words import words_of
from noisyrun.data.raw import Raw, RawData
from noisyrun.data.refs import ImageRefs
from noisyrun.data.tars import TarRefs, index_shards


@dataclass(frozen=True)
class _Version:
    """What a version publishes; None where no exact count was."""

    title: str
    synsets: int
    classes: int
    train: int | None
    val: int | None
    shards: int = 0


_VERSIONS = {
    "webvision": _Version("WebVision 1.0", 1000, 1000, 2_439_574, 50_000),
    "mini-webvision": _Version("mini-WebVision", 1000, 50, 65_944, 2_500),
    "webvision-2": _Version("WebVision 2.0", 5000, 5000, None, None, shards=33),
}
_FIRST, _SECOND = 1000, 5000
_SHARDS = "webvision_train_*.tar"
#: Folders of validation images, which may also be a tar archive of that name.
_VAL_FOLDERS = ("val_images_256", "val_images_resized", "val_images")
_BOTH = "lists of 1.0 and 2.0 are mixed up, take all of them from one version"


def is_second(path: Path) -> bool:
    """Whether a folder holds WebVision 2.0: its shards, or lists beside the names of more classes than 1.0 has."""
    if next(path.glob(_SHARDS), None) is not None:
        return True
    try:
        with open(path / "info" / "synsets.txt", "rb") as file:
            return sum(bool(line.strip()) for line in file) == _SECOND
    except OSError:
        return False


def scan(path: Path, settings: DataSettings, found: Findings, format: str) -> RawData:
    """Training is all of the file lists (mini: Google's, classes below 50); the test set is the validation list.

    A sample's source is the engine that found it, its rank its place among what its query found. Titles, descriptions
    and tags come from JSON files, any of which may be absent. Images of 2.0 are read from its tar shards as they are,
    or from the folders these were unpacked to.
    """
    version = _VERSIONS[format]
    brings_its_own(settings.test, "WebVision")
    info = path / "info"
    wnids, words = _synsets(info / "synsets.txt", version, found)
    file, meta, paths, labels = _train_lists(info, format)
    mixed = _wrong_variant(labels, len(wnids), file, found)
    paths = below(path, paths, file)
    queries = pc.replace_substring_regex(paths, r"/[^/]*\z", "").dictionary_encode()
    if not mixed:
        _against_queries(info / "queries_synsets_map.txt", queries, labels, file, found)
    metas = _meta_list(meta, len(paths), found)
    classes = min(version.classes, len(wnids))
    if format == "mini-webvision":
        keep = np.flatnonzero(labels < classes)
        paths, labels, queries = paths.take(pa.array(keep)), labels[keep], queries.take(pa.array(keep))
        metas = None if metas is None else (metas[0].take(pa.array(keep)), metas[1][keep])
    if version.train is not None:
        found.size(f"images of {file.name}", len(paths), version.train)
    engines = pc.replace_substring_regex(queries.dictionary.cast(pa.large_string()), "/.*", "")
    columns: dict[str, pa.Array] = {"label": whole(labels), "source": engines.take(queries.indices)}
    sources = {"label": file.name, "source": "folder"}
    if metas is not None:
        columns |= {"rank": pa.array(np.maximum(metas[1], 0) + 1)} | words_of(path, *metas, found)
        sources |= {"rank": meta[0].name} | dict.fromkeys(("title", "description", "tags"), "JSON")
    train = Raw(str(file), np.arange(len(paths)), columns, sources)
    shards = sorted(path.glob(_SHARDS))
    if shards:
        train = _from_shards(train, shards, paths, version, found)
    else:
        train = _with(train, found.images(path, paths, file))
    names = _unique(wnids, words)
    test = _test(path, version, len(wnids), classes, found)
    return RawData(format, format, train, test, names[:classes], wnids[:classes])


def _synsets(file: Path, version: _Version, found: Findings) -> tuple[tuple[str, ...], list[str]]:
    """WordNet ids and words by class."""
    rows = [line.strip().partition(" ") for line in lines(file)]
    other = {_SECOND: "webvision-2", _FIRST: "webvision"}.get(len(rows))
    if len(rows) != version.synsets and other is not None:
        found.problem(
            f"{file} names the {len(rows):,} classes of {_VERSIONS[other].title}, and this is read as {version.title}, "
            f"whose labels are others: take that version's info folder, or --data.format {other}"
        )
    else:
        found.size(f"classes of {file.name}", len(rows), version.synsets)
    return tuple(row[0] for row in rows), [row[2].strip() for row in rows]


def _unique(wnids: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    """The first word of each synset, all of its words where another begins alike, its id where all are alike."""
    names = [line.split(",")[0].strip() or wnid for line, wnid in zip(words, wnids, strict=True)]
    counts = Counter(names)
    names = [line if counts[name] > 1 and line else name for name, line in zip(names, words, strict=True)]
    counts = Counter(names)
    return tuple(f"{name} ({wnid})" if counts[name] > 1 else name for name, wnid in zip(names, wnids, strict=True))


def _train_lists(info: Path, format: str) -> tuple[Path, list[Path], pa.Array, np.ndarray]:
    """The first file list, the meta lists parallel to all of them, paths, and labels."""
    parts = ["google"] if format == "mini-webvision" else ["all"]
    if parts == ["all"] and not (info / "train_filelist_all.txt").is_file():
        parts = [part for part in ("google", "flickr") if (info / f"train_filelist_{part}.txt").is_file()] or parts
    files = [info / f"train_filelist_{part}.txt" for part in parts]
    paths, labels = zip(*map(labelled, files), strict=True)
    metas = [info / f"train_meta_list_{part}.txt" for part in parts]
    return files[0], metas, pa.concat_arrays(paths), np.concatenate(labels)


def _wrong_variant(labels: np.ndarray, synsets: int, file: Path, found: Findings) -> bool:
    """Whether labels are those of the other version: they mean nothing under the names of this one."""
    high = int(labels.max())
    if synsets == _FIRST and high > synsets:
        found.problem(
            f"{file}: labels run to {high}, but synsets.txt names the 1,000 classes of WebVision 1.0; {_BOTH}"
        )
    elif synsets == _SECOND and high < _FIRST:
        found.problem(
            f"{file}: labels run to {high}, but synsets.txt names the 5,000 classes of WebVision 2.0; {_BOTH}"
        )
    else:
        found.labels(labels, synsets, file)
        return False
    return True


def _against_queries(file: Path, queries: pa.DictionaryArray, labels: np.ndarray, where: Path, found: Findings) -> None:
    """Hold each label, from 0, against the synset, from 1, of the query that found the image."""
    if not file.is_file():
        found.warn(f"{file} is missing: labels cannot be held against queries")
        return
    numbers, synsets = labelled(file)
    stripped = (number.strip().lstrip("q").lstrip("0") for number in numbers.to_pylist())
    synset_of = dict(zip(stripped, synsets.tolist(), strict=True))
    folders = queries.dictionary.to_pylist()
    asked = [folder.rpartition("/")[2].lstrip("q").lstrip("0") for folder in folders]
    codes = queries.indices.to_numpy(zero_copy_only=False)
    expected = np.array([synset_of.get(number, 0) for number in asked], np.int64)[codes]
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
            f"label {labels[row]}, query {folders[codes[row]]}, synset {expected[row]}, from 1"
        )


def _meta_list(files: list[Path], rows: int, found: Findings) -> tuple[pa.Array, np.ndarray] | None:
    """JSON file of each row, and the place in it from 0, int64; None without lists."""
    absent = [str(file) for file in files if not file.is_file()]
    if absent:
        found.warn(f"{some(absent)} is missing: no titles, descriptions and tags, and no ranks")
        return None
    paths, places = [], []
    for file in files:
        more, numbers = labelled(file)
        if int(numbers.min()) < 1:
            found.problem(f"{file}: entry {int(numbers.min())}: off by one, entries are counted from 1 in this list")
        paths.append(more)
        places.append(numbers - 1)
    whole_list = pa.concat_arrays(paths)
    if len(whole_list) != rows:
        found.problem(f"{files[0]}: {len(whole_list):,} entries beside {rows:,} images: the lists are not parallel")
        return None
    return whole_list, np.concatenate(places)


def _with(raw: Raw, images: ImageRefs) -> Raw:
    return Raw(raw.where, raw.index, raw.columns, raw.names, images=images)


def _from_shards(raw: Raw, shards: list[Path], paths: pa.Array, version: _Version, found: Findings) -> Raw:
    """Training samples whose images are members of tar shards; those that are in none are told, or left out."""
    numbers = {int(digits) for shard in shards if (digits := shard.stem.rpartition("_")[2]).isdigit()}
    gone = [f"webvision_train_{number:02d}.tar" for number in sorted(set(range(version.shards)) - numbers)]
    if version.shards:
        found.size("shards", version.shards - len(gone), version.shards)
    members = index_shards(shards)
    if members.skipped:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in members.skipped.items())
        found.warn(f"{shards[0].parent}/{_SHARDS}: members that are no files are passed over: {kinds}")
    rows = members.find(paths)
    absent = np.flatnonzero(rows < 0)
    if len(absent):
        named = some(paths.take(pa.array(absent[:NAMED])).to_pylist(), len(absent))
        line = f"{raw.where}: {len(absent):,} of {len(paths):,} images are in none of the {len(shards)} shards: {named}"
        line += f"; of the published shards these are not here: {some(gone)}" if gone else ""
        if found.skip_missing and len(absent) < len(paths):
            found.warn(f"{line}; they are left out")
            kept = np.flatnonzero(rows >= 0)
            return _with(raw.take(kept), TarRefs(members.take(rows[kept])))
        found.problem(f"{line} (--data.on-bad-image skip trains without them)")
        rows = np.maximum(rows, 0)
        if not len(members):
            raise UserError(f"{shards[0].parent}: the shards hold no file")
    return _with(raw, TarRefs(members.take(rows)))


def _test(path: Path, version: _Version, synsets: int, classes: int, found: Findings) -> Raw | None:
    # That of 2.0 is a download of its own, which may lie beside its folder of lists.
    file = next((one for one in (path / "info" / "val_filelist.txt", path / "val_filelist.txt") if one.is_file()), None)
    if file is None:
        found.warn(f"{path / 'info' / 'val_filelist.txt'} is missing: no test set")
        return None
    paths, labels = labelled(file)
    _wrong_variant(labels, synsets, file, found)
    if classes < version.synsets:
        keep = np.flatnonzero(labels < classes)
        paths, labels = paths.take(pa.array(keep)), labels[keep]
    if version.val is not None:
        found.size(f"images of {file.name}", len(paths), version.val)
    if not len(paths):
        return None
    raw = Raw(str(file), np.arange(len(paths)), {"label": whole(labels)}, {"label": file.name})
    folder = next((name for name in _VAL_FOLDERS if (path / name).is_dir()), None)
    packed = next((path / f"{name}.tar" for name in _VAL_FOLDERS if (path / f"{name}.tar").is_file()), None)
    if folder is None and packed is not None:
        inside = glued(f"{packed.stem}/", paths)
        return _from_shards(raw, [packed], inside, _VERSIONS["webvision"], found)
    return _with(raw, found.images(path / (folder or _VAL_FOLDERS[0]), paths, file))
