"""Arrow files of the `datasets` library: a folder of `save_to_disk`, or what it keeps of a data set of the hub.

They are mapped into memory, not read: a data set may be larger than the memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.arrow import checked_table
from noisyrun.data.layouts.json_lists import is_text, load_json
from noisyrun.data.raw import RawData
from noisyrun.data.sources.files import TEST, TRAIN, existing
from noisyrun.data.sources.parquet import split_of

SPLITS, STATE = "dataset_dict.json", "state.json"


def is_saved(folder: Path) -> bool:
    """Whether a folder is one that ``save_to_disk`` wrote."""
    return (folder / SPLITS).is_file() or ((folder / STATE).is_file() and (folder / "dataset_info.json").is_file())


def read(path: Path, settings: DataSettings) -> RawData:
    """A folder of ``save_to_disk``, with its test split."""
    splits = _saved(path)
    test = None
    if settings.test is not None:
        other = existing(Path(settings.test).expanduser(), "--data.test")
        if not is_saved(other):
            raise UserError(f"--data.test: {other} is no folder that save_to_disk of the datasets library wrote")
        found = _saved(other)
        test = next((found[name] for name in (*TEST, *TRAIN, *found) if name in found), None)
    return read_splits(path.resolve().name, "arrow", str(path), splits, settings, path, test)


def read_splits(
    name: str,
    format: str,
    where: str,
    splits: Mapping[str, Sequence[Path]],
    settings: DataSettings,
    root: Path,
    test: Sequence[Path] | None = None,
) -> RawData:
    """A data set from the Arrow files of its splits.

    Parameters
    ----------
    where
        What messages call it.
    root
        Folder that paths of images, where there are no bytes, must not leave.
    test
        Files of the test split; by default that of a usual name.

    Raises
    ------
    UserError
        When no split is for training, or a file is no Arrow file.
    """
    training = next((split for split in TRAIN if split in splits), None)
    if training is None and len(splits) == 1:
        training = next(iter(splits))
    if training is None:
        raise UserError(f"{where} has no split 'train' (it has {', '.join(splits)})")
    if test is None:
        test = next((splits[split] for split in TEST if split in splits and split != training), None)
    train, classes = split_of(_mapped(splits[training]), f"{where}", root, settings, test=False)
    tested = None
    if test:
        tested, others = split_of(_mapped(test), f"{where} (test)", root, settings, test=True)
        if None not in (classes, others) and classes != others:
            raise UserError(
                f"{where}: the test split names other classes, or in another order, than the training split"
            )
    return RawData(name, format, train, tested, classes)


def _saved(folder: Path) -> dict[str, list[Path]]:
    """Files of each split."""
    if not (folder / SPLITS).is_file():
        return {"train": _files(folder)}
    names = _object(folder / SPLITS).get("splits")
    if not isinstance(names, list) or not names or not all(map(_plain, names)):
        raise UserError(f"{folder / SPLITS} does not list splits")
    return {name: _files(folder / name) for name in names}


def _files(folder: Path) -> list[Path]:
    state = _object(folder / STATE)
    entries = state.get("_data_files")
    names = [entry.get("filename") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    if not names or not all(map(_plain, names)):
        raise UserError(f"{folder / STATE} does not list data files in its folder")
    if state.get("_indices_files"):
        raise UserError(
            f"{folder} holds a selection of rows; write it again: dataset.flatten_indices().save_to_disk(…)"
        )
    return [folder / str(name) for name in names]


def _object(file: Path) -> dict[str, Any]:
    try:
        held = load_json(file)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {file}: {' '.join(str(error).split())}") from None
    if not isinstance(held, dict):
        raise UserError(f"{file} holds no JSON object")
    return held


def _plain(name: Any) -> bool:
    """Whether a name is that of something directly in a folder."""
    return isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name and is_text(name)


def _mapped(files: Sequence[Path]) -> pa.Table:
    """The rows of Arrow files, in either form, mapped into memory."""

    def read(path: Path) -> pa.Table:
        mapped = pa.memory_map(str(path))
        try:
            return pa.ipc.open_stream(mapped).read_all()
        except pa.ArrowInvalid:
            return pa.ipc.open_file(mapped).read_all()

    # Of bytes, as images are, only where each begins is looked at.
    tables = [checked_table(lambda path=path: read(path), str(path)) for path in files]  # type: ignore[misc]
    try:
        return pa.concat_tables(tables)
    except pa.ArrowException:
        raise UserError(f"the files of {files[0].parent} differ in their columns") from None
