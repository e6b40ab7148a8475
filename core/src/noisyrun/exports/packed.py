"""Export as Hugging Face Parquet or as tar shards: the same as a pack of any data set, with the run's labels."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Literal

from noisyrun.api.errors import UserError
from noisyrun.exports.cleaned import LINEAGE, cleaned
from noisyrun.exports.options import Choice, Given, text


def export_parquet(run: Path, to: Path, options: Given) -> list[str]:
    """Write Parquet."""
    return _export(run, to, options, "parquet")


def export_shards(run: Path, to: Path, options: Given) -> list[str]:
    """Write tar shards."""
    return _export(run, to, options, "shards")


def _export(run: Path, to: Path, options: Given, form: Literal["parquet", "shards"]) -> list[str]:
    from noisyrun.cli.pack import parse_bytes, watching
    from noisyrun.data.pack.encode import Encoding
    from noisyrun.data.pack.write import Content, Options, write_pack

    choice = Choice.of(options, ("shard-size", "samples"))
    size, samples = text(options, "shard-size"), text(options, "samples")
    if samples is not None and (not samples.isdecimal() or int(samples) < 1):
        raise UserError(f"--samples: must be a whole number from 1 on (got {samples!r})")
    found = cleaned(run, choice, form)
    if form == "shards" and found.splits["train"].raw.images is None:
        raise UserError("export shards: this run has features and no images; use parquet or npz")
    how = Options(
        form,
        Options.shard_bytes if size is None else parse_bytes(size),
        None if samples is None else int(samples),
        Encoding(check="header"),
        found.settings.data.on_bad_image == "skip",
    )
    contents = {split: Content(part.raw, part.columns) for split, part in found.splits.items()}
    with watching() as watch:
        _, made = write_pack(found.name, contents, found.classes, to, how, {LINEAGE: found.lineage_text}, watch)
    wrote = "wrote" if made else "nothing to do: this very export is in"
    return [*found.lines, f"{wrote} {to}  (noisyrun --dataset {quote(str(to))})"]
