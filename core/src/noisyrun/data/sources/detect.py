"""Which reader a path asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from noisyrun.api import UserError
from noisyrun.config.settings import RunSettings
from noisyrun.data.hints import did_you_mean
from noisyrun.data.sources.shards import has_shards, is_pattern

#: Begins the name of a data set of the Hugging Face hub.
PREFIX = "hf:"
#: Tables in text files.
TEXT = (".csv", ".tsv", ".jsonl")
#: Tar archives that are compressed, which the reader of shards refuses with a remedy.
_PACKED = (".tgz", ".tar.gz", ".tar.zst", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True)
class Found:
    """A format, and the path it was found at (None for digits, and for names on the hub)."""

    format: str
    path: Path | None


def locate(settings: RunSettings) -> Found:
    """The format of the data set a run names.

    Raises
    ------
    UserError
        When the path does not exist, or holds nothing a reader knows.
    """
    given = settings.data.format
    if settings.dataset is None or (settings.dataset == "digits" and not Path("digits").exists()):
        if given not in ("auto", "digits"):
            raise UserError(f"--data.format {given} needs --dataset PATH")
        return Found("digits", None)
    if settings.dataset.startswith(PREFIX):
        return Found("hub", None)
    path = Path(settings.dataset).expanduser()
    if given == "digits":
        raise UserError(f"--data.format digits takes no path (got --dataset {path})")
    if is_pattern(path) and not path.exists():
        return Found("webdataset", path)
    if not path.exists():
        raise UserError(f"--dataset: no file or folder {path}{_near(path)}")
    if not path.is_file() and not path.is_dir():
        raise UserError(f"--dataset: {path} is neither a file nor a folder, but a pipe or a device")
    return Found(_format(path) if given == "auto" else given, path)


def _near(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return ""
    return did_you_mean(path.name, [entry.name for entry in parent.iterdir()] + ["digits"])


def _format(path: Path) -> str:
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix in (".npz", ".npy"):
            return "features"
        if suffix in TEXT:
            return "manifest"
        if suffix == ".parquet":
            return _parquet_format(path)
        if suffix == ".tar" or path.name.lower().endswith(_PACKED):
            return "webdataset"
        raise UserError(
            f"--dataset: {path} is neither .npz, .npy, .csv, .tsv, .jsonl, .parquet nor .tar, nor a folder"
            + ("; noisyrun loads no pickles" if suffix in (".pkl", ".pickle", ".pt", ".pth") else "")
        )
    from noisyrun.data import layouts
    from noisyrun.data.pack.read import read_pack
    from noisyrun.data.sources.arrow import is_saved
    from noisyrun.data.sources.files import training_file

    pack = read_pack(path)
    if pack is not None and pack.form == "shards":
        return "pack"
    layout = layouts.detect(path)
    if layout is not None:
        return layout
    if is_saved(path):
        return "arrow"
    if has_shards(path):
        return "webdataset"
    file = training_file(path)
    if file is not None:
        return _format(file)
    if any(entry.is_dir() and not entry.name.startswith(".") for entry in path.iterdir()):
        return "folder"
    raise UserError(
        f"--dataset: {path} holds neither a folder for each class nor a train file (.parquet, .csv, .tsv, .jsonl, "
        ".npz), nor tar shards"
    )


def _parquet_format(path: Path) -> str:
    """Parquet holds images, features, or paths of images."""
    import pyarrow.parquet as pq

    from noisyrun.data.sources.parquet import FEATURES, image_column

    try:
        schema = pq.read_schema(path)
    except Exception as error:
        raise UserError(f"--dataset: {path} is no Parquet file ({' '.join(str(error).split())})") from None
    if image_column(schema) is not None:
        return "parquet"
    return "features" if set(schema.names) & set(FEATURES) else "manifest"


def beside(settings: RunSettings, name: str) -> Path | None:
    """A file that lies in the folder of the data set, or None."""
    path = locate(settings).path
    if path is None:
        return None
    file = (path if path.is_dir() else path.parent) / name
    return file if file.is_file() else None
