"""Tiny data sets on disk, and samples in memory."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from noisyrun.api.labels import Labels
from noisyrun.api.side_info import Text
from noisyrun.api.task import Task
from noisyrun.config.settings import DataSettings, RunSettings
from noisyrun.data import load, sources
from noisyrun.data.images import ResidentImages
from noisyrun.data.pack import pack
from noisyrun.data.pack.write import Options
from noisyrun.data.refs import ImageRefs
from noisyrun.data.samples import Samples, no_labels

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def shared() -> Path:
    """The real data, which a copy of this project alone does not have."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data in {SHARED}")
    return SHARED


def make_image(seed: int = 0, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Image.Image:
    """A random image of (width, height)."""
    width, height = size
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def image():
    return make_image


@pytest.fixture
def encode_image():
    return encoded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of six training and three test images, 12 × 10 pixels."""
    root = tmp_path / "pets"
    for split, count in (("train", 6), ("test", 3)):
        for c, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                make_image(100 * c + number).save(root / split / name / f"{number}.png")
    return root


@pytest.fixture
def manifest(tmp_path: Path):
    """Writes a manifest of eight images with some columns beside path, and gives its path."""

    def write(columns: dict[str, list[object]], name: str = "train.csv", rows: int = 8) -> Path:
        root = tmp_path / "shop"
        root.mkdir(exist_ok=True)
        for number in range(rows):
            make_image(number).save(root / f"{number}.png")
        table = {"path": [f"{number}.png" for number in range(rows)], **columns}
        mark = "\t" if name.endswith(".tsv") else ","
        lines = [mark.join(table)]
        lines += [mark.join("" if v is None else str(v) for v in row) for row in zip(*table.values())]
        (root / name).write_text("\n".join(lines) + "\n")
        return root / name

    return write


@pytest.fixture
def make_samples():
    """Samples in memory: random images and labels, indices with gaps."""

    def make(n: int = 100, classes: int = 4, shape: tuple[int, int, int] = (3, 16, 16), clean: int = 0) -> Samples:
        generator = torch.Generator().manual_seed(0)
        labels = torch.randint(0, classes, (n,), generator=generator)
        task = Task(tuple(f"c{c}" for c in range(classes)), image_size=shape[1:], channels=shape[0])
        trusted = torch.zeros(n, dtype=torch.bool)
        trusted[:clean] = True
        return Samples(
            task=task,
            index=torch.arange(n) * 3 + 1,
            labels=Labels.of(labels),
            verified=torch.full((n,), -1, dtype=torch.int8),
            verified_held=torch.zeros(n, dtype=torch.bool),
            trusted=no_labels(n),
            clean=trusted,
            text=Text(task.classes),
            images=ResidentImages(torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8)),
        )

    return make


def _same_labels(a: Labels | None, b: Labels | None) -> bool:
    if a is None or b is None:
        return a is b
    same_known = (a.known is None) == (b.known is None) and (a.known is None or torch.equal(a.known, b.known))
    return torch.equal(a.classes, b.classes) and same_known


def _bytes(raw) -> list[bytes]:
    if not isinstance(raw.images, ImageRefs):
        return []
    return [raw.images.open(row).read() for row in range(len(raw))]


@pytest.fixture
def round_trip(tmp_path: Path):
    """Packs a data set, reads the pack, and holds all that a run would see of both against each other."""

    def check(dataset: Path | str, form: str = "shards", samples: int = 5, **data) -> Path:
        settings = RunSettings(dataset=str(dataset), data=DataSettings(val=0, **data))
        to = tmp_path / f"packed-{form}"
        pack(settings, to, Options(form, samples=samples))
        again = RunSettings(dataset=str(to), data=DataSettings(val=0))
        first, second = load(settings), load(again)
        assert first.task == second.task
        for one, other in ((first.train, second.train), (first.test, second.test)):
            if one is None or other is None:
                assert one is other
                continue
            assert torch.equal(one.index, other.index)
            for name in ("labels", "truth", "trusted"):
                assert _same_labels(getattr(one, name), getattr(other, name)), name
            for name in ("verified", "clean", "source", "rank", "features", "logits"):
                a, b = getattr(one, name), getattr(other, name)
                assert (a is None) == (b is None), name
                assert a is None or torch.equal(a, b), name
            assert one.text == other.text
            assert one.source_names == other.source_names
            if one.images is not None:
                every = torch.arange(len(one))
                assert torch.equal(one.images.load(every), other.images.load(every))
        raw, packed = sources.read(settings), sources.read(again)
        for one, other in ((raw.train, packed.train), (raw.test, packed.test)):
            if one is not None and isinstance(one.images, ImageRefs):
                assert _bytes(one) == _bytes(other)
        return to

    return check
