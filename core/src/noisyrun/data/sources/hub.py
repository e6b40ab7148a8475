"""Data sets of the Hugging Face hub, by name, through the `datasets` library."""

from __future__ import annotations

import re
from pathlib import Path

from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings
from noisyrun.data.raw import RawData
from noisyrun.data.sources.arrow import read_splits
from noisyrun.data.sources.detect import PREFIX

_NAME = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<config>[\w.+-]+))?")
#: Names of exceptions, of the library's and of the hub's client, and what to do.
_REMEDIES = {
    "GatedRepoError": "ask for access on its page, then log in: hf auth login",
    "DatasetNotFoundError": "is the name right? A private or gated one needs a log-in: hf auth login",
    "RepositoryNotFoundError": "is the name right? A private or gated one needs a log-in: hf auth login",
    "OfflineModeIsEnabled": "offline mode is on (HF_HUB_OFFLINE)",
    "ConnectionError": "the hub cannot be reached, and the data set is not in the cache",
    "LocalEntryNotFoundError": "the hub cannot be reached, and the data set is not in the cache",
}


def read(name: str, settings: DataSettings) -> RawData:
    """A data set ``hf:OWNER/NAME``, or ``hf:OWNER/NAME:CONFIG``. Code of a data set is never run.

    Raises
    ------
    UserError
        When the library is not installed, or the data set cannot be had.
    """
    match = _NAME.fullmatch(name.removeprefix(PREFIX))
    if match is None or ".." in name:
        raise UserError(f"--dataset: {name!r} is no name on the hub: hf:OWNER/NAME or hf:OWNER/NAME:CONFIG")
    if settings.test is not None:
        raise UserError("--data.test: a data set of the hub brings its own test split")
    try:
        import datasets
    except ImportError:
        raise UserError(f"--dataset {name} needs the datasets library: pip install 'noisyrun[datasets]'") from None
    try:
        found = datasets.load_dataset(match["name"], match["config"])
    except Exception as error:  # whatever the library, the hub's client, a file system or a parser raises
        raise UserError(f"--dataset {name}: {_told(error)}") from error
    splits = {str(split): [Path(file["filename"]) for file in part.cache_files] for split, part in found.items()}
    if not all(splits.values()):
        raise UserError(f"--dataset {name}: the datasets library keeps no files of it on the disk")
    root = Path(datasets.config.HF_CACHE_HOME).expanduser()
    return read_splits(name.removeprefix(PREFIX), "hub", name, splits, settings, root)


def _told(error: Exception) -> str:
    """The first line of an error, and what to do about it."""
    kinds = [kind.__name__ for one in (error, error.__cause__) if one is not None for kind in type(one).__mro__]
    remedy = next((_REMEDIES[kind] for kind in kinds if kind in _REMEDIES), None)
    said = (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
    return said if remedy is None else f"{said}: {remedy}"
