"""Export as a manifest: a table of paths, labels and all that is known beside them."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote

import pyarrow as pa

from noisyrun.api.errors import UserError
from noisyrun.data.pack.columns import INDEX, Column
from noisyrun.data.raw import Raw
from noisyrun.data.refs import FileRefs
from noisyrun.exports.cleaned import LINEAGE, Cleaned, Split, cleaned
from noisyrun.exports.options import Choice, Given, one_of
from noisyrun.exports.place import LINKS, Images, image_name, new_folder
from noisyrun.exports.tables import FORMS, by_name, write_classes, write_table
from noisyrun.files import write_text


def export_manifest(run: Path, to: Path, options: Given) -> list[str]:
    """Write ``train.parquet`` and ``test.parquet`` (or JSON lines, or CSV), with ``classes.tsv`` and ``export.json``.

    Paths lead to the images where they are, relative to their common folder. Images that are in no files of their own
    are written to ``images/``, and with ``--link`` files are brought there as well.
    """
    choice, form = Choice.of(options, ("table", "link")), one_of(options, "table", FORMS) or "parquet"
    link = one_of(options, "link", LINKS)
    found = cleaned(run, choice, "manifest")
    root = _common_root(found) if link is None else None
    if form == "csv":
        _refuse_numbers(found)
    lines = list(found.lines)
    with new_folder(to) as folder:
        copied = 0
        for split, part in (found.uniform() if form == "parquet" else found.splits).items():
            paths, more = _paths(part.raw, folder, split, root, link or "copy")
            copied += more
            columns = by_name(part.columns, found.classes.names)
            if paths is not None:
                head = {INDEX: columns.pop(INDEX), "path": Column(pa.array(paths, pa.string()))}
                columns = {**head, **columns}
            write_table(columns, folder, split, form)
        if not write_classes(found.classes, folder):
            lines.append("the names of the classes do not fit a table: classes.tsv is not written")
        write_text(folder / LINEAGE, found.lineage_text)
    if copied:
        lines.append(f"{copied:,} images could not be linked and were copied")
    where = "" if root is None else f" --data.root {quote(str(root))}"
    file = to / f"train.{form}"
    if found.splits["train"].raw.images is None:
        lines.append("features are not in a manifest: export as parquet or npz to train on them")
        lines.append(f"wrote {to}")
    else:
        lines.append(f"wrote {to}  (noisyrun --dataset {quote(str(file))}{where})")
    return lines


def _common_root(found: Cleaned) -> Path | None:
    """The folder that holds the files of all splits; None where images are in no files."""
    roots = [part.raw.images.root for part in found.splits.values() if isinstance(part.raw.images, FileRefs)]
    if len(roots) < len(found.splits):
        return None
    return Path(os.path.commonpath([os.path.abspath(root) for root in roots]))


def _paths(raw: Raw, folder: Path, split: str, root: Path | None, link: str) -> tuple[list[str] | None, int]:
    """The path of each image; and how many could not be linked."""
    if raw.images is None:
        return None, 0
    if root is not None:
        assert isinstance(raw.images, FileRefs)
        top = os.path.relpath(os.path.abspath(raw.images.root), root)
        return [os.path.normpath(os.path.join(top, path.as_py())) for path in raw.images.paths], 0
    (folder / "images" / split).mkdir(parents=True)
    images, paths = Images(raw, link), []
    for row, ending, place in images.placed():
        path = f"images/{split}/{image_name(int(raw.index[row]), ending)}"
        place.put(folder / path)
        paths.append(path)
    return paths, images.copied


def _refuse_numbers(found: Cleaned) -> None:
    """A CSV file does not tell a class called 3 from class 3."""
    wrong = next((name for c, name in enumerate(found.classes.names) if name.isdigit() and name != str(c)), None)
    if wrong is not None:
        raise UserError(f"--table csv: class {wrong!r} would be read as a number; use --table parquet or jsonl")


__all__ = ["Split", "export_manifest"]
