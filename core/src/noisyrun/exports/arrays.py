"""Export of a run on features as one archive of arrays."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import numpy as np
import pyarrow as pa

from noisyrun.api.errors import UserError
from noisyrun.data.pack.columns import Column
from noisyrun.exports.cleaned import LINEAGE, Split, cleaned
from noisyrun.exports.options import Choice, Given
from noisyrun.exports.place import new_folder
from noisyrun.files import write_text


def export_npz(run: Path, to: Path, options: Given) -> list[str]:
    """Write ``train.npz``: features, logits, an array a column; those of the test set with ``test_`` before them."""
    found = cleaned(run, Choice.of(options), "npz")
    if found.splits["train"].raw.features is None:
        raise UserError("export npz: this run has images; use manifest, folder, parquet or shards")
    if found.several:
        raise UserError("export npz: several labels a sample do not fit an array; use parquet")
    arrays = {"classes": np.array(found.classes.names)}
    arrays |= _arrays(found.splits["train"], "")
    if "test" in found.splits:
        arrays |= _arrays(found.splits["test"], "test_")
    with new_folder(to) as folder:
        np.savez(folder / "train.npz", **arrays)  # type: ignore[arg-type]
        write_text(folder / LINEAGE, found.lineage_text)
    return [*found.lines, f"wrote {to}  (noisyrun --dataset {quote(str(to / 'train.npz'))} --backbone features)"]


def _arrays(part: Split, prefix: str) -> dict[str, np.ndarray]:
    raw = part.raw
    found = {"features": raw.features, "logits": raw.logits}
    arrays = {prefix + name: values for name, values in found.items() if values is not None}
    return arrays | {prefix + name: _array(column) for name, column in part.columns.items()}


def _array(column: Column) -> np.ndarray:
    """Text, or numbers: as floats with NaN where a value is missing."""
    values = column.values
    if pa.types.is_list(values.type):
        values = pa.array(["|".join(map(str, one or ())) for one in values.to_pylist()], pa.string())
    if pa.types.is_string(values.type):
        return np.array([one or "" for one in values.to_pylist()], np.str_)
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    return np.asarray(values.to_numpy(zero_copy_only=False))
