"""Readers of data sets, by format."""

from __future__ import annotations

from pathlib import Path

from noisyrun.config.settings import RunSettings
from noisyrun.data.raw import RawData
from noisyrun.data.sources.detect import Found, beside, locate

__all__ = ["beside", "locate", "read"]


def read(settings: RunSettings) -> RawData:
    """Read the data set a run names, in the format it says or the one its path tells."""
    found = locate(settings)
    if found.format == "hub":
        from noisyrun.data.sources import hub

        assert settings.dataset is not None
        return hub.read(settings.dataset, settings.data)
    if found.path is None:
        from noisyrun.data.sources import digits

        return digits.read()
    from noisyrun.data.pack.read import completed

    return completed(_read(found, found.path, settings), found.path)


def _read(found: Found, path: Path, settings: RunSettings) -> RawData:
    from noisyrun.data import layouts

    if found.format == "pack":
        from noisyrun.data.sources import packed

        return packed.read(path, settings.data)
    if found.format in layouts.LAYOUTS:
        return layouts.read(path, settings.data, found.format)
    if found.format == "folder":
        from noisyrun.data.sources import folder

        return folder.read(path, settings.data)
    if found.format == "manifest":
        from noisyrun.data.sources import manifest

        return manifest.read(path, settings.data)
    if found.format == "parquet":
        from noisyrun.data.sources import parquet

        return parquet.read(path, settings.data)
    if found.format == "arrow":
        from noisyrun.data.sources import arrow

        return arrow.read(path, settings.data)
    if found.format == "webdataset":
        from noisyrun.data.sources import webdataset

        return webdataset.read(path, settings.data)
    from noisyrun.data.sources import features

    return features.read(path, settings.data)
