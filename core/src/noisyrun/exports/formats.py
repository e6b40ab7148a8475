"""What a finished run can be exported as: name, what it is, and the function that writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes
    ----------
    target
        ``module:function`` of a function ``(run: Path, to: Path, options: Mapping[str, str | bool]) -> list[str]``: it
        refuses options it does not know, writes all or nothing, and returns lines that say what it wrote.
    summary
        What it is, for help.
    options
        Its options and what they do, for help.
    """

    target: str
    summary: str
    options: tuple[tuple[str, str], ...] = ()


_SHARED = (
    ("--labels corrected|observed", "the labels to train on; corrected by default"),
    ("--drop wrong", "leave out what the run calls wrong and did not correct"),
    ("--min-weight T", "leave out uncorrected labels of a smaller weight"),
    ("--dataset, --data.root, --data.test", "where the data is now, if it was moved"),
)
_PACKED = (
    ("--shard-size SIZE", "a file is closed before it grows larger (default 512MB)"),
    ("--samples N", "or when it has so many samples"),
)
_LINK = ("--link hard|symlink|copy", "bring image files into the folder in this way")

FORMATS: Mapping[str, Format] = {
    "manifest": Format(
        "noisyrun.exports.manifest:export_manifest",
        "a table of paths, labels, weights and all that is known beside them",
        (("--table parquet|jsonl|csv", "its form; parquet by default"), _LINK, *_SHARED),
    ),
    "folder": Format("noisyrun.exports.folder:export_folder", "an image folder, one folder a class", (_LINK, *_SHARED)),
    "parquet": Format(
        "noisyrun.exports.packed:export_parquet", "Parquet in the Hugging Face layout", (*_PACKED, *_SHARED)
    ),
    "shards": Format(
        "noisyrun.exports.packed:export_shards", "WebDataset tar shards with an index", (*_PACKED, *_SHARED)
    ),
    "npz": Format("noisyrun.exports.arrays:export_npz", "arrays, for a run on features", _SHARED),
    "safetensors": Format(
        "noisyrun.exports.model:export_safetensors", "the model: its weights, and how it is to be shown images"
    ),
    "onnx": Format(
        "noisyrun.exports.onnx:export_onnx",
        "the model as an ONNX graph of any batch size",
        (
            ("--raw", "normalise in the graph: pixels uint8 [N, H, W, C] of 0 to 255 → probabilities"),
            ("--opset N", "operator set of the graph; 18 by default, the lowest"),
        ),
    ),
}
