"""Open Images V1 (Krasin et al., 2016): nine million images under labels of a model, some of them judged by people.

Nothing here makes a Python object for each image or each of the 79 million labels: images are numbered by their id,
labels are two columns of numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.layouts.findings import Findings, brings_its_own, glued, some
from noisyrun.data.layouts.text import lines
from noisyrun.data.raw import Raw, RawData

_SIZES = {"train": 9_011_219, "validation": 167_057}
_LABELS = ("ImageID", "Source", "LabelName", "Confidence")
#: Lists of the classes that can be trained: that of the published model, and that of later versions.
_TRAINABLE = ("labelmap.txt", "classes-trainable.txt")
#: Value of each letter of a hexadecimal number; 255 for what is none.
_HEX = np.full(256, 255, np.uint8)
_HEX[[*b"0123456789abcdef"]] = range(16)
_HEX[[*b"ABCDEF"]] = range(10, 16)
#: Of four validation images, one is trained on: every fourth id, the last digit of which is 0, 4, 8 or c.
_QUARTER = 4


@dataclass(frozen=True)
class _Images:
    """Images of one part, in the order of their list.

    Attributes
    ----------
    ids
        uint64 [n].
    names
        The same as text, large strings [n].
    titles
        Large strings [n], empty where an image has none.
    """

    ids: np.ndarray
    names: pa.Array
    titles: pa.Array
    where: Path


@dataclass(frozen=True)
class _Pairs:
    """(image, class) pairs: rows and classes, int32 [L] each, and whether they hold, bool [L]."""

    rows: np.ndarray
    classes: np.ndarray
    holds: np.ndarray


def scan(path: Path, settings: DataSettings, found: Findings, format: str) -> RawData:
    """Training is the training images under the labels of a model, and every fourth validation image.

    Of the latter those labels that people judged are trusted, right or wrong; of the others nothing is known. The test
    set is the rest of the validation images, under judged labels alone.
    """
    brings_its_own(settings.test, "Open Images")
    train = _images(path, "train", found)
    validation = _images(path, "validation", found)
    names = _dictionary(path / "dict.csv", found)
    machine = {part: path / "machine_ann_2016_08" / part / "labels.csv" for part in _SIZES}
    human = path / "human_ann_2016_08" / "validation" / "labels.csv"
    classes, listed = _classes(path, [machine["train"], human])
    notes = [f"{len(classes):,} classes: {listed}"]
    observed = _pairs(machine["train"], train, classes, found)
    if machine["validation"].is_file():
        seen = _pairs(machine["validation"], validation, classes, found)
    else:
        found.warn(f"{machine['validation']} is missing: validation images have no labels of the model")
        seen = _Pairs(*(np.zeros(0, np.int32),) * 2, np.zeros(0, bool))
    if human.is_file():
        judged = _pairs(human, validation, classes, found, judged=True)
    else:
        found.problem(f"{human} is missing: without the labels that people judged there is no test set")
        judged = _Pairs(*(np.zeros(0, np.int32),) * 2, np.zeros(0, bool))
    quarter = validation.ids % _QUARTER == 0
    of_any = np.bincount(judged.rows, minlength=len(validation.ids)) > 0
    clean, rest = np.flatnonzero(quarter & of_any), np.flatnonzero(~quarter & of_any)
    notes.append(
        f"{len(clean):,} of {len(validation.ids):,} validation images (every fourth id) are trained on, with trusted "
        f"labels; {len(rest):,} are the test set; {int((~of_any).sum()):,} without a judged label are left out"
    )
    roots = _roots(path, settings.root, {"train": train, "validation": validation}, found)
    labels = tuple(names.get(mid, mid) for mid in classes.to_pylist())
    test = _test(validation, rest, judged, roots["validation"], found) if len(rest) else None
    raw = _train(train, validation, clean, observed, seen, judged, roots, found)
    return RawData("openimages", format, raw, test, _unique(labels, classes), notes=tuple(notes))


def _train(
    train: _Images,
    validation: _Images,
    clean: np.ndarray,
    observed: _Pairs,
    seen: _Pairs,
    judged: _Pairs,
    roots: dict[str, Path],
    found: Findings,
) -> Raw:
    n, total = len(train.ids), len(train.ids) + len(clean)
    seen, judged = _of(seen, clean, len(validation.ids), n), _of(judged, clean, len(validation.ids), n)
    pairs = _Pairs(*(np.concatenate(both) for both in zip(_parts(observed), _parts(seen), strict=True)))
    columns = {"label": _lists(pairs, pairs.holds, total)}
    sources = {"label": "machine_ann_2016_08"}
    if len(clean):
        columns["trusted"] = columns["truth"] = _lists(judged, judged.holds, total)
        columns["trusted_absent"] = columns["truth_absent"] = _lists(judged, ~judged.holds, total)
        sources |= dict.fromkeys(("trusted", "truth", "trusted_absent", "truth_absent"), "human_ann_2016_08")
    columns["title"] = pa.concat_arrays([train.titles, validation.titles.take(pa.array(clean))])
    sources["title"] = "images.csv"
    # Both parts below one root: it is the folder above both, and the parts are the folders in it.
    top = roots["train"].parent
    inside = [_files(train.names, roots["train"].name)]
    if len(clean):
        inside.append(_files(validation.names.take(pa.array(clean)), roots["validation"].name))
    images = found.images(top, pa.concat_arrays(inside), train.where)
    return Raw(str(train.where), np.arange(total), columns, sources, images=images)


def _test(validation: _Images, rest: np.ndarray, judged: _Pairs, root: Path, found: Findings) -> Raw:
    pairs = _of(judged, rest, len(validation.ids), 0)
    columns = {
        "label": _lists(pairs, pairs.holds, len(rest)),
        "absent": _lists(pairs, ~pairs.holds, len(rest)),
    }
    names = dict.fromkeys(columns, "human_ann_2016_08")
    images = found.images(root, _files(validation.names.take(pa.array(rest)), ""), validation.where)
    return Raw(str(validation.where), np.arange(len(rest)), columns, names, images=images)


def _files(names: pa.Array, folder: str) -> pa.Array:
    return glued(f"{folder}/" if folder else "", names, ".jpg")


def _parts(pairs: _Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return pairs.rows, pairs.classes, pairs.holds


def _of(pairs: _Pairs, rows: np.ndarray, n: int, start: int) -> _Pairs:
    """The pairs of some of n images, which are numbered anew from `start`."""
    place = np.full(n, -1, np.int32)
    place[rows] = np.arange(start, start + len(rows), dtype=np.int32)
    where = place[pairs.rows]
    kept = where >= 0
    return _Pairs(where[kept], pairs.classes[kept], pairs.holds[kept])


def _lists(pairs: _Pairs, chosen: np.ndarray, n: int) -> pa.LargeListArray:
    """Classes of each of n images, among some of the pairs, bool [L], which stand in order."""
    rows, classes = pairs.rows[chosen], pairs.classes[chosen]
    ends = np.concatenate([[0], np.bincount(rows, minlength=n).cumsum()])
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pa.array(classes, pa.int32()))


def _table(file: Path, wanted: tuple[str, ...], header: tuple[str, ...] = ()) -> Iterator[pa.RecordBatch]:
    """Some columns of a CSV file with a header, which may have to name others, too; as text, a block at a time."""
    from pyarrow import csv

    if not file.is_file():
        raise UserError(f"{file} is missing")
    try:
        options = csv.ConvertOptions(include_columns=list(wanted), column_types=dict.fromkeys(wanted, pa.string()))
        with csv.open_csv(file, convert_options=options) as reader:
            yield from reader
    except (pa.ArrowException, OSError) as error:
        told = " ".join(str(error).split())
        if "not found" in told or "include_columns" in told:
            told = f"the header must name {', '.join(header or wanted)}"
        raise UserError(f"{file} is no such table: {told}") from None


def _ids(names: pa.Array, file: Path) -> np.ndarray:
    """uint64 [n]: image ids, 16 hexadecimal digits each."""
    names = names.cast(pa.large_string())
    lengths = pc.binary_length(names).fill_null(0).to_numpy(zero_copy_only=False)
    if not (lengths == 16).all():
        raise UserError(f"{file}: image id {names[int((lengths != 16).argmax())]} has not 16 hexadecimal digits")
    if not len(names):
        return np.zeros(0, np.uint64)
    start = np.frombuffer(names.buffers()[1], np.int64)[names.offset]
    letters = np.frombuffer(names.buffers()[2], np.uint8)[start : start + 16 * len(names)]
    digits = _HEX[letters.reshape(-1, 16)]
    if (digits == 255).any():
        row = int((digits == 255).any(1).argmax())
        raise UserError(f"{file}: image id {names[row].as_py()!r} has not 16 hexadecimal digits")
    return (digits[:, ::2] * 16 + digits[:, 1::2]).view(">u8")[:, 0].astype(np.uint64)


def _images(path: Path, part: str, found: Findings) -> _Images:
    file = path / "images_2016_08" / part / "images.csv"
    names, titles = [], []
    for batch in _table(file, ("ImageID", "Title")):
        names.append(batch.column(0).cast(pa.large_string()))
        titles.append(batch.column(1).cast(pa.large_string()))
    if not sum(map(len, names)):
        raise UserError(f"{file} names no image")
    column = pa.concat_arrays(names)
    ids = _ids(column, file)
    found.size(f"{part} images", len(ids), _SIZES[part])
    twice = int((np.diff(np.sort(ids)) == 0).sum())
    if twice:
        found.problem(f"{file}: {twice:,} image ids stand twice")
    return _Images(ids, column, pa.concat_arrays(titles).fill_null(""), file)


def _dictionary(file: Path, found: Findings) -> dict[str, str]:
    """Names of labels by their id (``/m/0pc9``); the file has no header."""
    from pyarrow import csv

    if not file.is_file():
        found.warn(f"{file} is missing: classes are called by their ids")
        return {}
    try:
        table = csv.read_csv(
            file,
            read_options=csv.ReadOptions(column_names=["id", "name"]),
            convert_options=csv.ConvertOptions(column_types={"id": pa.string(), "name": pa.string()}),
        )
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} is no table of two columns ({' '.join(str(error).split())})") from None
    return dict(zip(table.column("id").to_pylist(), table.column("name").to_pylist(), strict=True))


def _classes(path: Path, files: list[Path]) -> tuple[pa.Array, str]:
    """Ids of the classes, and where they come from: a list beside the data, or all labels that are given."""
    listed = next((path / name for name in _TRAINABLE if (path / name).is_file()), None)
    if listed is not None:
        given = list(dict.fromkeys(line.strip() for line in lines(listed)))
        return pa.array(given, pa.string()), f"those of {listed.name}; other labels are left out"
    seen: set[str] = set()
    for file in files:
        if file.is_file() or file == files[0]:
            for batch in _table(file, ("LabelName",), _LABELS):
                seen.update(pc.unique(batch.column(0)).to_pylist())
    why = f"all labels that are given ({_TRAINABLE[0]}, a label a line, leaves others out)"
    return pa.array(sorted(seen - {None, ""}), pa.string()), why


def _pairs(file: Path, images: _Images, classes: pa.Array, found: Findings, judged: bool = False) -> _Pairs:
    """(image, class) pairs of a file of labels; of the model's labels all hold, however sure it was."""
    order = np.argsort(images.ids, kind="stable")
    ids = images.ids[order]
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    strangers, count, example = 0, 0, ""
    sources: set[str] = set()
    for batch in _table(file, _LABELS):
        these = _ids(batch.column(0), file)
        places = np.minimum(np.searchsorted(ids, these), len(ids) - 1)
        known = ids[places] == these
        if not known.all() and not strangers:
            example = batch.column(0)[int(known.argmin())].as_py()
        strangers += int((~known).sum())
        codes = pc.index_in(batch.column(2), classes).fill_null(-1).to_numpy(zero_copy_only=False)
        values = _confidence(batch.column(3), file, judged)
        kept = known & (codes >= 0)
        rows = order[places[kept]].astype(np.int32)
        parts.append((rows, codes[kept].astype(np.int32), values[kept] > 0 if judged else np.ones(len(rows), bool)))
        sources.update(pc.unique(batch.column(1)).to_pylist())
        count += len(known)
    if strangers:
        found.problem(
            f"{file}: {strangers:,} of {count:,} labels are of images that {images.where.parent.name}/"
            f"{images.where.name} does not list, e.g. {example}: is it another part's?"
        )
    _right_source(file, sources, judged, found)
    if not parts:
        raise UserError(f"{file} holds no label")
    pairs = _Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return _once(pairs, len(classes), file, found)


def _right_source(file: Path, sources: set[str], judged: bool, found: Findings) -> None:
    """The column of sources tells labels of a model from those of people."""
    wanted = "machine" if not judged else "human"
    others = {source for source in sources if source in ("machine", "human", "verification")} - {wanted}
    if others and not (judged and others == {"verification"}):
        found.problem(
            f"{file}: labels of source {some(sorted(others))}, where {wanted} ones belong: are files mixed up?"
        )


def _confidence(column: pa.Array, file: Path, judged: bool) -> np.ndarray:
    """float64 [n]: in [0, 1]; judged labels hold or do not, 1 or 0."""
    try:
        values = column.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
    except pa.ArrowException:
        raise UserError(f"{file}: column Confidence holds what is no number") from None
    wrong = ~((values >= 0) & (values <= 1)) if not judged else ~np.isin(values, (0.0, 1.0))
    if wrong.any():
        what = "neither 0 nor 1, as labels judged by people are" if judged else "not in 0 to 1"
        raise UserError(f"{file}: confidence {values[int(wrong.argmax())]:g} is {what}")
    return values


def _once(pairs: _Pairs, num_classes: int, file: Path, found: Findings) -> _Pairs:
    """Each pair once, in order; one that is judged both ways is left out."""
    # Whether it holds is the last digit: a pair that is judged both ways stands beside itself.
    keys = (pairs.rows.astype(np.int64) * num_classes + pairs.classes) * 2 + pairs.holds
    keys.sort()  # in place: np.unique would hash them first, at twice the time and the memory
    keys = keys[np.diff(keys, prepend=-1) > 0]
    torn = np.zeros(len(keys), bool)
    torn[:-1] = keys[:-1] // 2 == keys[1:] // 2
    if torn.any():
        found.warn(f"{file}: {int(torn.sum()):,} labels are judged both right and wrong, and left out")
        torn[1:] |= torn[:-1]
        keys = keys[~torn]
    whole, holds = keys // 2, keys % 2 == 1
    return _Pairs((whole // num_classes).astype(np.int32), (whole % num_classes).astype(np.int32), holds)


def _roots(path: Path, given: Path | None, parts: dict[str, _Images], found: Findings) -> dict[str, Path]:
    """Folder of the images of each part: below what the user names, or where most people put them.

    The release lists addresses and holds no image.
    """
    tops = [given] if given is not None else [path, path / "images", path / "images_2016_08"]

    def there(top: Path) -> int:
        few = {part: images.names[:: max(1, len(images.names) // 64)] for part, images in parts.items()}
        return sum((top / part / f"{name}.jpg").is_file() for part, names in few.items() for name in names.to_pylist())

    top = max(tops, key=there)
    return {part: top / part for part in parts}


def _unique(names: tuple[str, ...], ids: pa.Array) -> tuple[str, ...]:
    """Names of classes, those that two labels share with their id."""
    values, counts = np.unique(np.array(names, object), return_counts=True)
    shared = set(values[counts > 1].tolist())
    return tuple(
        f"{name} ({mid})" if name in shared else name for name, mid in zip(names, ids.to_pylist(), strict=True)
    )
