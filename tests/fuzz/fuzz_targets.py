"""Readers of what strangers write, each with files that are whole: what a fuzzer changes, and what must come of it.

Whatever the bytes, a reader gives what it reads or refuses it with a `UserError` of a line's length, whose control
characters the command line makes harmless; anything else that escapes is a bug.
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from fuzz_layouts import READERS
from PIL import Image

from noisyrun import data
from noisyrun.api import UserError
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data.decode import BadImage, decode, probe
from noisyrun.data.layouts.pickles import load_arrays
from noisyrun.data.tars import TarRefs, index_shards
from noisyrun.engine import checkpoint


@dataclass(frozen=True)
class Target:
    """A reader under attack.

    Attributes
    ----------
    seeds
        Files that it reads without a complaint.
    read
        Reads a file of some bytes in an empty folder.
    tokens
        Words of the format, for a fuzzer to put in.
    examples
        Changed files that the tests try: fewer where a whole data set is read for each.
    """

    seeds: Callable[[], list[bytes]]
    read: Callable[[bytes, Path], object]
    tokens: tuple[bytes, ...] = ()
    examples: int = 400


def attempt(target: Target, content: bytes) -> str | None:
    """Read some bytes: None when they were read, else the line that refused them.

    Raises
    ------
    AssertionError
        When the refusal is longer than a line, or something was left in the folder above.
    """
    with tempfile.TemporaryDirectory() as above:
        folder = Path(above) / "data"
        folder.mkdir()
        said = None
        try:
            target.read(content, folder)
        except UserError as error:
            said = str(error)
        assert [entry.name for entry in Path(above).iterdir()] == ["data"], "something was written outside"
    assert said is None or len(said) < 1000, f"no line but a page: {said!r}"
    return said


def image(kind: str = "PNG", mode: str = "RGB") -> bytes:
    """A small image."""
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind)
    return out.getvalue()


def archive(members: Iterable[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _shards() -> list[bytes]:
    members = [
        part
        for key, label in (("a/000", 0), ("a/001", 1), ("b/" + "x" * 120, 0), ("ü", 1))
        for part in ((f"{key}.png", image()), (f"{key}.cls", b"%d" % label), (f"{key}.json", b'{"title": "a \\u00fc"}'))
    ]
    return [archive(members, kind) for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)]


def _read_tar(content: bytes, folder: Path) -> None:
    (folder / "train-000.tar").write_bytes(content)
    members = index_shards([folder / "train-000.tar"])
    assert not any(name.startswith("/") or ".." in name.split("/") for name in members.names.to_pylist())
    refs = TarRefs(members)
    for position in range(min(4, len(refs))):
        with contextlib.suppress(BadImage, OSError), refs.open(position) as stream:
            decode(stream, 3, (8, 8))


def _loads(name: str, **settings: str) -> Callable[[bytes, Path], object]:
    """Reading a file of some name as a data set, with images beside it."""

    def read(content: bytes, folder: Path) -> object:
        (folder / name).write_bytes(content)
        for other in ("a.png", "b.png"):
            (folder / other).write_bytes(image())
        given = DataSettings(val=0.0, on_bad_image="skip", **settings)
        return data.load(RunSettings(dataset=str(folder / name), data=given))

    return read


def _rows() -> list[dict[str, object]]:
    return [
        {"path": f"{'ab'[i % 2]}.png", "label": ("cat", "dog")[i % 2], "title": "a, \"b\"\n'c'", "verified": i % 2}
        for i in range(4)
    ]


def _csv(delimiter: str) -> list[bytes]:
    lines = [delimiter.join(("path", "label", "title"))]
    lines += [delimiter.join((str(row["path"]), str(row["label"]), '"x ""y"" ü"')) for row in _rows()]
    return ["\n".join(lines).encode()]


def _parquet() -> list[bytes]:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(_rows()), out)
    return [out.getvalue()]


def _arrays(**more: np.ndarray) -> list[bytes]:
    out = io.BytesIO()
    features = np.arange(24, dtype=np.float32).reshape(8, 3)
    np.savez(out, features=features, labels=np.arange(8) % 2, **more)
    return [out.getvalue()]


def _checkpoint() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.safetensors"
        checkpoint.save(path, {"classes": ["a", "b"], "network": {"w": torch.arange(6.0)}, "n": [1, None, 2.5]})
        return [path.read_bytes()]


def _read_checkpoint(content: bytes, folder: Path) -> object:
    (folder / "c.safetensors").write_bytes(content)
    return checkpoint.load(folder / "c.safetensors")


def _pickles() -> list[bytes]:
    arrays = {"clean_label": np.arange(20), "worse_label": np.arange(20) % 3}
    return [pickle.dumps(arrays, protocol=protocol) for protocol in (2, 4)]


def _read_pickle(content: bytes, folder: Path) -> object:
    (folder / "human.pt").write_bytes(content)
    return load_arrays(folder / "human.pt")


def _read_image(content: bytes, folder: Path) -> None:
    with contextlib.suppress(BadImage):
        probe(io.BytesIO(content))
    with contextlib.suppress(BadImage):
        decode(io.BytesIO(content), 3, (8, 8))


def _read_verdicts(content: bytes, folder: Path) -> object:
    (folder / "verdicts.csv").write_bytes(content)
    (folder / "train.npz").write_bytes(_arrays()[0])
    given = RunSettings(
        dataset=str(folder / "train.npz"), verify=str(folder / "verdicts.csv"), data=DataSettings(val=0.0)
    )
    return data.load(given)


def _read_coco(content: bytes, folder: Path) -> object:
    (folder / "annotations").mkdir()
    (folder / "train2014").mkdir()
    (folder / "annotations" / "instances_train2014.json").write_bytes(content)
    (folder / "train2014" / "a.png").write_bytes(image())
    return data.load(RunSettings(dataset=str(folder), data=DataSettings(val=0.0, on_bad_image="skip")))


def _coco() -> list[bytes]:
    content = {
        "images": [{"id": i, "file_name": "a.png"} for i in (1, 2)],
        "annotations": [{"image_id": 1, "category_id": 1, "id": 1}, {"image_id": 2, "category_id": 3, "id": 2}],
        "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}],
    }
    return [json.dumps(content).encode()]


_TEXTS = (
    b"\0",
    b"\n",
    b'"',
    b"\x1b[31m",
    b"../",
    b"/etc/passwd",
    b"=1+1",
    b"\xff\xfe",
    b"-1",
    b"1e400",
    b"nan",
    b"NULL",
)
_TARS = (
    b"ustar\0",
    b"ustar  \0",
    b"././@LongLink",
    b"path=../../x\n",
    b"size=99999999999\n",
    b"\x80",
    b"7777777",
    b"\xff",
)

TARGETS: dict[str, Target] = {
    "tar": Target(_shards, _read_tar, _TARS),
    "webdataset": Target(_shards, _loads("train-000.tar"), _TARS + _TEXTS),
    "manifest.csv": Target(lambda: _csv(","), _loads("train.csv"), _TEXTS),
    "manifest.tsv": Target(lambda: _csv("\t"), _loads("train.tsv"), _TEXTS),
    "manifest.jsonl": Target(
        lambda: ["\n".join(map(json.dumps, _rows())).encode()], _loads("train.jsonl"), (*_TEXTS, b"[", b"{", b"\\ud800")
    ),
    "manifest.parquet": Target(_parquet, _loads("train.parquet"), (b"PAR1",)),
    "features.npz": Target(_arrays, _loads("train.npz"), (b"PK\3\4", b"\x93NUMPY", b"'|O'", b"'<f8'", b"-1")),
    "verdicts.csv": Target(
        lambda: [b"index,label,verdict\n0,0,right\n1,1,wrong\n"], _read_verdicts, (*_TEXTS, b"right", b"wrong")
    ),
    "coco.json": Target(_coco, _read_coco, (*_TEXTS, b"[", b"{", b"null", b"\\ud800")),
    "checkpoint": Target(_checkpoint, _read_checkpoint, (b"$tensor", b"data_offsets", b"F32", b"[", b"{")),
    "pickle": Target(
        _pickles, _read_pickle, (b"cposix\nsystem\n", b"\x8c\x02os\x8c\x06system\x93", b"R.", b"\x94", b"(lp", b"I1\n")
    ),
    "image": Target(
        lambda: [image(kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")] + [image("PNG", "P")],
        _read_image,
        (b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"zTXt", b"\xff\xda", b"\xff\xc0", b"\x7f\xff\xff\xff"),
    ),
    **{
        name: Target(seeds, read, (*_TEXTS, b"[", b"{", b"null", b"\\ud800", b"0.5", b"PAR1"), examples=25)
        for name, (seeds, read) in READERS.items()
    },
}
