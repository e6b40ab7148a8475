"""The record of injected noise: which label was flipped to which, hashed, so that it can be shared and used again."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from noisyrun.api import UserError
from noisyrun.data.files import write_atomic
from noisyrun.data.hashing import digest

_KEY = b"noisyrun.noise"
_VERSION = 1


@dataclass(frozen=True)
class NoiseManifest:
    """Labels before and after noise, one row a sample, with a header that says how it was made.

    On disk: one Parquet file with columns ``index``, ``before``, ``after`` and the header as JSON in its metadata.

    Attributes
    ----------
    header
        ``version``, ``noise`` (what was asked for), ``seed``, ``classes``, ``flipped`` (share), ``labels`` (digest of
        index and labels before) and ``digest`` (of all of it).
    index, before, after
        int64 [N].
    """

    header: Mapping[str, Any]
    index: Tensor
    before: Tensor
    after: Tensor

    @classmethod
    def of(
        cls, noise: str, seed: int, classes: tuple[str, ...], index: Tensor, before: Tensor, after: Tensor
    ) -> NoiseManifest:
        """The record of some flips."""
        header = {
            "version": _VERSION,
            "noise": noise,
            "seed": seed,
            "classes": list(classes),
            "flipped": float((before != after).double().mean()),
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
        columns = {"index": self.index.numpy(), "before": self.before.numpy(), "after": self.after.numpy()}
        table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(dict(self.header))})
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        write_atomic(path, buffer.getvalue())

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
            table = pq.read_table(path)
            header = json.loads((table.schema.metadata or {})[_KEY])
            index, before, after = (
                torch.from_numpy(table[name].to_numpy().copy()) for name in ("index", "before", "after")
            )
        except (pa.ArrowException, KeyError, ValueError):
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
        index, labels
            int64 [n]: stable index and clean label of each.

        Raises
        ------
        UserError
            When it was made for other classes, other samples or other labels.
        """
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
        differ = self.before[at] != labels
        if bool(differ.any()):
            row = int(differ.nonzero()[0])
            raise UserError(
                f"--data.noise-file: {where} was made for other labels: sample {int(index[row])} was "
                f"{classes[int(self.before[at][row])]!r} there and is {classes[int(labels[row])]!r} here "
                f"({int(differ.sum())} differ)"
            )
        return self.after[at]


def _first(names: Any) -> str:
    return f"{len(names)} classes from {names[0]!r}"


def _digest(header: Mapping[str, Any], index: Tensor, before: Tensor, after: Tensor) -> str:
    return digest(json.dumps(header, sort_keys=True), index, before, after)
