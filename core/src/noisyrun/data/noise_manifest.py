"""The record of injected noise: which label was flipped to which, hashed, so that it can be shared and used again."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import torch
from torch import Tensor

from noisyrun.api import PAD, UserError
from noisyrun.api.labels import widen
from noisyrun.data.arrow import read_parquet
from noisyrun.data.hashing import digest
from noisyrun.data.pairs import padded, sorted_sets
from noisyrun.files import write_bytes

_KEY = b"noisyrun.noise"
_VERSION = 1


@dataclass(frozen=True)
class NoiseManifest:
    """Labels before and after noise, one row a sample, with a header that says how it was made.

    On disk: one Parquet file with columns ``index``, ``before``, ``after`` and the header as JSON in its metadata.
    Of data with several labels a sample, ``before`` and ``after`` are lists of classes, ascending.

    Attributes
    ----------
    header
        ``version``, ``noise`` (what was asked for), ``seed``, ``classes``, ``flipped`` (share of the samples),
        ``labels`` (digest of index and labels before) and ``digest`` (of all of it).
    index
        int64 [N].
    before, after
        int64 [N]; [N, k], `PAD` beyond them, where samples have several labels.
    """

    header: Mapping[str, Any]
    index: Tensor
    before: Tensor
    after: Tensor

    @classmethod
    def of(
        cls, noise: str, seed: int, classes: tuple[str, ...], index: Tensor, before: Tensor, after: Tensor
    ) -> NoiseManifest:
        """The record of some flips: of labels int64 [N], or of padded sets of them [N, k]."""
        before, after = (sorted_sets(labels) if labels.ndim == 2 else labels for labels in (before, after))
        header = {
            "version": _VERSION,
            "noise": noise,
            "seed": seed,
            "classes": list(classes),
            "flipped": float(_differ(before, after).double().mean()),
            "labels": digest(index, before),
        }
        header["digest"] = _digest(header, index, before, after)
        return cls(header, index, before, after)

    @property
    def digest(self) -> str:
        """SHA-256 of header and rows."""
        return str(self.header["digest"])

    def save(self, path: Path) -> None:
        """Write the file, atomically."""
        columns = {"index": pa.array(self.index.numpy()), "before": _array(self.before), "after": _array(self.after)}
        table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(dict(self.header))})
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> NoiseManifest:
        """Read a file that `save` wrote.

        Raises
        ------
        UserError
            When it is missing, no noise manifest, or changed since it was written.
        """
        if not path.is_file():
            raise UserError(f"--data.noise-file: no file {path}")
        try:
            table = read_parquet(path)
            header = json.loads((table.schema.metadata or {})[_KEY])
            index, before, after = (_tensor(table[name]) for name in ("index", "before", "after"))
        except (UserError, pa.ArrowException, KeyError, ValueError, RecursionError):
            raise UserError(f"--data.noise-file: {path} is no noise manifest that noisyrun wrote") from None
        if header.get("version") != _VERSION:
            raise UserError(f"--data.noise-file: {path} has version {header.get('version')}, this noisyrun reads 1")
        given = header.get("digest")
        if given != _digest({k: v for k, v in header.items() if k != "digest"}, index, before, after):
            raise UserError(f"--data.noise-file: {path} was changed since it was written (its digest does not match)")
        return cls(header, index, before, after)

    def apply(self, index: Tensor, labels: Tensor, classes: tuple[str, ...], where: str) -> Tensor:
        """The labels after noise of some samples, which the manifest must cover.

        Parameters
        ----------
        index
            int64 [n]: stable index of each.
        labels
            int64 [n] or [n, k]: clean label, or labels, of each.

        Raises
        ------
        UserError
            When it was made for other classes, other samples or other labels.
        """
        if labels.ndim != self.before.ndim:
            several, one = "several labels a sample", "one label a sample"
            there, here = (several, one) if self.before.ndim == 2 else (one, several)
            raise UserError(f"--data.noise-file: {where} was made for data with {there}; this data has {here}")
        if list(classes) != self.header["classes"]:
            raise UserError(
                f"--data.noise-file: {where} was made for other classes: "
                f"{_first(self.header['classes'])} there, {_first(classes)} here"
            )
        at = torch.searchsorted(self.index, index).clamp(max=len(self.index) - 1)
        absent = self.index[at] != index
        if bool(absent.any()):
            row = int(index[absent][0])
            raise UserError(f"--data.noise-file: {where} does not hold sample {row}: it was made for other data")
        differ = _differ(self.before[at], sorted_sets(labels) if labels.ndim == 2 else labels)
        if bool(differ.any()):
            row = int(differ.nonzero()[0])
            raise UserError(
                f"--data.noise-file: {where} was made for other labels: sample {int(index[row])} was "
                f"{_named(self.before[at][row], classes)} there and is {_named(labels[row], classes)} here "
                f"({int(differ.sum())} differ)"
            )
        return self.after[at]


def _differ(a: Tensor, b: Tensor) -> Tensor:
    """bool [N]: whose labels, or sorted sets of labels, differ."""
    if a.ndim == 1:
        return a != b
    width = max(a.shape[1], b.shape[1])
    return (widen(a, width, PAD) != widen(b, width, PAD)).any(1)


def _array(labels: Tensor) -> pa.Array:
    if labels.ndim == 1:
        return pa.array(labels.numpy())
    present = labels != PAD
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), present.sum(1).cumsum(0)]).int()
    return pa.ListArray.from_arrays(pa.array(offsets.numpy()), pa.array(labels[present].numpy()))


def _tensor(column: pa.ChunkedArray) -> Tensor:
    array = column.combine_chunks()
    if not pa.types.is_list(array.type):
        return torch.from_numpy(array.to_numpy().copy())
    lengths = torch.from_numpy(pa.compute.list_value_length(array).to_numpy().astype("int64"))
    rows = torch.repeat_interleave(torch.arange(len(array)), lengths)
    return padded(rows, torch.from_numpy(array.flatten().to_numpy().copy()), len(array))


def _named(labels: Tensor, classes: tuple[str, ...]) -> str:
    return " and ".join(repr(classes[c]) for c in labels.reshape(-1).tolist() if c != PAD) or "without label"


def _first(names: Any) -> str:
    return f"{len(names)} classes from {names[0]!r}"


def _digest(header: Mapping[str, Any], index: Tensor, before: Tensor, after: Tensor) -> str:
    return digest(json.dumps(header, sort_keys=True), index, before, after)
