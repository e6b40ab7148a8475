"""Packing: any data set noisyrun reads as WebDataset tar shards or Hugging Face Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noisyrun.config.settings import RunSettings
    from noisyrun.data.pack.read import Pack
    from noisyrun.data.pack.write import Options, Watch


@dataclass(frozen=True)
class Packed:
    """What packing came to.

    Attributes
    ----------
    pack
        The content of ``pack.json``.
    made
        False when the folder held this very pack already.
    notes
        Lines a user should read.
    """

    pack: Pack
    made: bool
    notes: tuple[str, ...] = ()


def pack(settings: RunSettings, to: Path, options: Options, watch: Watch | None = None) -> Packed:
    """Pack the data set that settings name, all rows of it, as they are on disk: no noise, no splits of a run.

    Raises
    ------
    UserError
        For anything wrong with the data, as in a run, or with the folder.
    """
    from noisyrun.data import sources
    from noisyrun.data.classes import find_classes
    from noisyrun.data.pack.columns import columns_of
    from noisyrun.data.pack.write import Content, write_pack

    raw = sources.read(settings)
    classes = find_classes(raw, settings.data.classes or sources.beside(settings, "classes.tsv"), settings.data.tree)
    parts = {"train": raw.train} if raw.test is None else {"train": raw.train, "test": raw.test}
    contents = {split: Content(part, columns_of(part, classes)) for split, part in parts.items()}
    made, new = write_pack(raw.name, contents, classes, to, options, watch=watch)
    return Packed(made, new, raw.notes)
