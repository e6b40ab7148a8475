"""README.md of a pack: what it is, and the splits in a form that the Hugging Face hub and `datasets` read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisyrun.printable import printable

if TYPE_CHECKING:
    from noisyrun.data.pack.read import Pack


def text(pack: Pack) -> str:
    """The card: YAML that names the files of each split, then a few lines for people."""
    pattern = "{}-*.tar" if pack.form == "shards" else "data/{}-*.parquet"
    files = "".join(f"      - split: {split}\n        path: {pattern.format(split)}\n" for split in pack.splits)
    head = f"---\nconfigs:\n  - config_name: default\n    data_files:\n{files}---\n"
    counts = ", ".join(f"{split} {part.samples:,}" for split, part in pack.splits.items())
    return (
        f"{head}\n# {_plain(pack.name)}\n\n"
        f"{counts} samples in {len(pack.classes):,} classes, packed by noisyrun {pack.noisyrun}. "
        "`pack.json` names the classes and the shards with their SHA-256.\n\n"
        "    noisyrun --dataset THIS_FOLDER\n"
    )


def _plain(name: str) -> str:
    """A name in which no letter means anything to Markdown or HTML."""
    return "".join(letter if letter.isalnum() or letter in " -." else "_" for letter in printable(name)) or "data"
