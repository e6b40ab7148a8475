"""Exports of a finished run: a cleaned data set, or its network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from noisyrun.api.errors import UserError
from noisyrun.exports.formats import FORMATS


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    path
        Where.
    lines
        What, for people.
    """

    path: Path
    lines: tuple[str, ...]


def export(
    run: Path | str, format: str, to: Path | str, options: Mapping[str, str | bool | float] | None = None
) -> Exported:
    """Export a finished run.

    Parameters
    ----------
    run
        Its folder.
    format
        A cleaned data set as ``manifest``, ``folder``, ``parquet``, ``shards`` or, of features, ``npz``; the model as
        ``safetensors`` or ``onnx``.
    to
        What to write: a new folder for a data set, a new file for a model.
    options
        Those of the command line by name: ``{"drop": "wrong", "min-weight": 0.2}``.

    Raises
    ------
    UserError
        In one line, when the run has not finished, its data set has changed since, or something is in the way.

    Examples
    --------
    >>> import noisyrun
    >>> noisyrun.export("runs/NAME", "parquet", "photos-clean", {"drop": "wrong"})  # doctest: +SKIP
    """
    if format not in FORMATS:
        from noisyrun.suggest import did_you_mean

        raise UserError(f"export: no format {format!r}{did_you_mean(format, FORMATS)}; formats: {', '.join(FORMATS)}")
    module, _, name = FORMATS[format].target.partition(":")
    given = {
        key.replace("_", "-"): value if isinstance(value, str | bool) else str(value)
        for key, value in (options or {}).items()
    }
    lines = getattr(import_module(module), name)(Path(run), Path(to), given)
    return Exported(Path(to), tuple(lines))
