"""Where the splits of a data set stand, by the usual names."""

from __future__ import annotations

from pathlib import Path

from noisyrun.api import UserError
from noisyrun.data.hints import did_you_mean

_SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".npz")
TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation", "eval")
#: Names of a file that is a whole training set.
_WHOLE = ("manifest", "data", "features", "metadata")


def split_files(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """Files of the first split name that has any: one file, or the shards of a Parquet data set."""
    for name in names:
        for suffix in _SUFFIXES:
            if (folder / f"{name}{suffix}").is_file():
                return [folder / f"{name}{suffix}"]
        for pattern in (f"{name}-*.parquet", f"data/{name}-*.parquet", f"{name}/*.parquet", f"data/{name}/*.parquet"):
            if shards := sorted(folder.glob(pattern)):
                return shards
    return []


def _configured(folder: Path) -> Path:
    """The folder itself, or the one folder in it that holds training shards, as a repository with a configuration does.

    Raises
    ------
    UserError
        When several do.
    """
    if split_files(folder, TRAIN) or not folder.is_dir():
        return folder
    found = [
        entry
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and entry.name not in ("data", *TRAIN, *TEST) and _has_shards(entry)
    ]
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found)
        raise UserError(f"{folder} holds {len(found)} configurations ({names}): give one of these folders")
    return found[0] if found else folder


def _has_shards(folder: Path) -> bool:
    return any(file.suffix == ".parquet" for file in split_files(folder, TRAIN))


def training_file(folder: Path) -> Path | None:
    """The training file of a folder (the first of its shards), or None."""
    found = _training_files(folder)
    return found[0] if found else None


def _training_files(folder: Path) -> list[Path]:
    folder = _configured(folder)
    found = split_files(folder, TRAIN) or split_files(folder, _WHOLE)
    if not found and (folder / "features.npy").is_file():
        return [folder / "features.npy"]
    return found or sorted(path for path in folder.glob("*.parquet") if path.stem not in TEST)


def training_files(path: Path, flag: str = "--dataset") -> list[Path]:
    """The training file that a path names, or the training files in the folder it names."""
    if path.is_file():
        return [path]
    found = _training_files(path)
    if not found:
        raise UserError(f"{flag}: {path} holds no train file (.parquet, .csv, .tsv, .jsonl, .npz)")
    return found


def test_files(path: Path, given: str | None, trained_on: list[Path]) -> list[Path]:
    """The test files: those the user names, else those beside the training set, else none."""
    if given is not None:
        return training_files(existing(Path(given).expanduser(), "--data.test"), "--data.test")
    folder = _configured(path) if path.is_dir() else path.parent
    return [file for file in split_files(folder, TEST) if file not in trained_on]


def test_folder(folder: Path) -> Path | None:
    """The folder of the test split, or None."""
    return next((folder / name for name in TEST if (folder / name).is_dir()), None)


def train_folder(folder: Path) -> Path | None:
    """The folder of the training split, or None."""
    return next((folder / name for name in TRAIN if (folder / name).is_dir()), None)


def existing(path: Path, flag: str) -> Path:
    """A path that must be there.

    Raises
    ------
    UserError
        With the nearest name beside it.
    """
    if path.exists():
        return path
    near = did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()]) if path.parent.is_dir() else ""
    raise UserError(f"{flag}: no file or folder {path}{near}")
