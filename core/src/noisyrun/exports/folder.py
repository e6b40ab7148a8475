"""Export as an image folder: one folder a class, under names that any file system takes."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path
from shlex import quote

import numpy as np
import pyarrow as pa

from noisyrun.api.errors import UserError
from noisyrun.data.pack.columns import INDEX, Column
from noisyrun.exports.cleaned import LINEAGE, Split, cleaned
from noisyrun.exports.options import Choice, Given, one_of
from noisyrun.exports.place import LINKS, Images, image_name, new_folder
from noisyrun.exports.tables import by_name, write_classes, write_table
from noisyrun.files import write_text

#: Names that Windows keeps for devices, whatever the ending.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_FORBIDDEN = set('<>:"/\\|?*')
_LONGEST = 100


def export_folder(run: Path, to: Path, options: Given) -> list[str]:
    """Write ``train/CLASS/INDEX.jpg`` and ``test/CLASS/INDEX.jpg``, and in each split a table ``metadata.parquet``."""
    choice, link = Choice.of(options, ("link",)), one_of(options, "link", LINKS) or "hard"
    found = cleaned(run, choice, "folder")
    if found.splits["train"].raw.images is None:
        raise UserError("export folder: this run has features and no images; use parquet or npz")
    if found.several:
        raise UserError("export folder: an image folder holds one label a sample; use manifest, parquet or shards")
    folders = safe_names(found.classes.names)
    lines = list(found.lines)
    with new_folder(to) as place:
        for split, part in found.uniform().items():
            lines += _write(part, place / split, folders, found.classes.names, link)
        same = folders == found.classes.names
        if not write_classes(found.classes, place, folders) and not same:
            lines.append("the names of the classes do not fit a table: folders stand for them, see metadata.parquet")
        write_text(place / LINEAGE, found.lineage_text)
    return [*lines, f"wrote {to}  (noisyrun --dataset {quote(str(to))})"]


def _write(part: Split, place: Path, folders: tuple[str, ...], names: tuple[str, ...], link: str) -> list[str]:
    labels = part.columns["label"].values.fill_null(-1).to_numpy()
    for c in sorted(set(labels.tolist()) - {-1}):
        (place / folders[c]).mkdir(parents=True)
    images, files = Images(part.raw, link), []
    for row, ending, image in images.placed():
        if labels[row] < 0:
            continue
        name = f"{folders[labels[row]]}/{image_name(int(part.raw.index[row]), ending)}"
        image.put(place / name)
        files.append(name)
    rows = np.flatnonzero(labels >= 0)
    columns = {name: replace(column, values=column.take(rows)) for name, column in part.columns.items()}
    columns = by_name(columns, names)
    head = {"file_name": Column(pa.array(files, pa.string())), INDEX: columns.pop(INDEX)}
    write_table({**head, **columns}, place, "metadata", "parquet")
    lines = []
    if len(rows) < len(labels):
        lines.append(f"left out: {len(labels) - len(rows):,} samples without a label")
    if images.copied:
        lines.append(f"{images.copied:,} images could not be linked and were copied")
    return lines


def safe_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """A folder name for each class name: readable, none twice whatever the case, none that leads elsewhere.

    Examples
    --------
    >>> safe_names(("cat", "Cat", "../../etc", "con", "", "a.", ".b"))
    ('cat', 'Cat-2', '.._.._etc', 'con_', '_', 'a_', '_b')
    """
    taken: set[str] = set()
    out = []
    for name in names:
        safe = _safe(name)
        chosen, number = safe, 1
        while chosen.casefold() in taken:
            number += 1
            chosen = f"{safe}-{number}"
        taken.add(chosen.casefold())
        out.append(chosen)
    return tuple(out)


def _safe(name: str) -> str:
    """One name that Linux, macOS and Windows take, and that a reader of folders does not skip as hidden."""
    text = unicodedata.normalize("NFC", name)
    text = "".join("_" if letter in _FORBIDDEN or not letter.isprintable() else letter for letter in text)
    text = text.encode()[:_LONGEST].decode(errors="ignore").strip()
    if text.startswith("."):
        text = "_" + text[1:]
    if text.endswith("."):
        text = text[:-1] + "_"
    if text.partition(".")[0].rstrip().casefold() in _DEVICES:
        text += "_"
    return text or "_"
