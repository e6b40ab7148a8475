"""Batches for training beside what they cannot do without: the decoder on the same bytes, or reading the pixels."""

from __future__ import annotations

import io
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from noisyrun.api import PAD, Batches, Labels, Task, Text
from noisyrun.config.settings import AugmentSettings
from noisyrun.data.decode import decode
from noisyrun.data.images import LazyImages, ResidentImages, decoding_threads
from noisyrun.data.loader import TrainLoader
from noisyrun.data.raw import Raw
from noisyrun.data.refs import BytesRefs, FileRefs, ImageRefs
from noisyrun.data.samples import Images, Samples
from noisyrun.data.tars import TarRefs, index_shards

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Height and width of the encoded images, and the side they are trained at.
ENCODED = {"JPEG, 224 × 224": ((224, 224), 224), "JPEG, 375 × 500, trained at 224": ((375, 500), 224)}
RESIDENT = {"32 × 32 in memory": (8192, 32), "224 × 224 in memory": (256, 224)}


def jpegs(count: int, size: tuple[int, int]) -> list[bytes]:
    """Photographs of a kind: coarse colours and fine grain, some 40 kB at 375 × 500."""
    draw = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(size[::-1], Image.BICUBIC)
        grain = draw.normal(0, 6, (*size, 1))
        stream = io.BytesIO()
        Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
        made.append(stream.getvalue())
    return made


def samples(images: Images) -> Samples:
    n = len(images)
    return Samples(
        task=Task(tuple("abcdefghij"), image_size=images.shape[1:], channels=3),
        index=torch.arange(n),
        labels=Labels.of(torch.arange(n) % 10),
        verified=torch.full((n,), -1, dtype=torch.int8),
        verified_held=torch.zeros(n, dtype=torch.bool),
        trusted=Labels.of(torch.full((n,), PAD)),
        clean=torch.zeros(n, dtype=torch.bool),
        text=Text(tuple("abcdefghij")),
        images=images,
    )


def loader(images: Images, device: torch.device, batch: int) -> TrainLoader:
    return TrainLoader(
        samples(images),
        batches=Batches(),
        batch_size=batch,
        augment=AugmentSettings(),
        seed=0,
        device=device,
        mean=MEAN,
        std=STD,
    )


def epoch(batches: TrainLoader) -> int:
    """An epoch of batches, none of which is used: how many samples there were."""
    return sum(int(batch.mask.sum()) for batch in batches.epoch(0))


def decoded(encoded: list[bytes]) -> int:
    """The same bytes decoded by Pillow in as many threads, and dropped."""

    def one(data: bytes) -> int:
        image = Image.open(io.BytesIO(data))
        image.load()
        return image.width

    with ThreadPoolExecutor(decoding_threads()) as pool:
        return len(list(pool.map(one, encoded)))


def in_folder(folder: Path, encoded: list[bytes]) -> ImageRefs:
    for number, content in enumerate(encoded):
        (folder / f"{number:09d}.jpg").write_bytes(content)
    return FileRefs(folder, [f"{number:09d}.jpg" for number in range(len(encoded))])


def in_shards(folder: Path, encoded: list[bytes]) -> ImageRefs:
    return TarRefs(index_shards([written(folder / "0.tar", encoded)], lambda name: name.endswith(".jpg")))


def in_arrow(folder: Path, encoded: list[bytes]) -> ImageRefs:
    table = pa.table({"image": pa.array(encoded, pa.binary())})
    with pa.OSFile(str(folder / "0.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return BytesRefs(pa.ipc.open_stream(pa.memory_map(str(folder / "0.arrow"))).read_all().column(0), None)


def written(path: Path, encoded: list[bytes]) -> Path:
    """A shard in which a label stands beside each image."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number, content in enumerate(encoded):
            for name, cell in ((f"{number:09d}.cls", b"7"), (f"{number:09d}.jpg", content)):
                member = tarfile.TarInfo(name)
                member.size = len(cell)
                archive.addfile(member, io.BytesIO(cell))
    return path


SOURCES = {"folder": in_folder, "tar": in_shards, "Arrow": in_arrow}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", ENCODED)
def test_decoding_and_augmenting(measured: Any, device: torch.device, tmp_path: Path, name: str, source: str) -> None:
    size, side = ENCODED[name]
    encoded = jpegs(256, size)
    raw = Raw("benchmark", np.arange(len(encoded)), {})
    batches = loader(LazyImages(raw, SOURCES[source](tmp_path, encoded), (3, side, side)), device, 64)
    found = measured(
        f"loader, {source}, {name}", lambda: epoch(batches), bare=lambda: decoded(encoded), items=len(encoded), rounds=3
    )
    assert found == len(encoded)


def test_resizing_alone(measured: Any) -> None:
    """What Pillow takes beside decoding to bring web images to one size."""
    encoded = jpegs(64, (375, 500))
    found = measured(
        "decode and resize, 375 × 500 to 224",
        lambda: [decode(io.BytesIO(content), 3, (224, 224)) for content in encoded],
        bare=lambda: [Image.open(io.BytesIO(content)).load() for content in encoded],
        items=len(encoded),
        rounds=3,
    )
    assert len(found) == len(encoded)


def test_indexing_a_shard(measured: Any, tmp_path: Path) -> None:
    """Headers of images of 20 kB and their labels, beside the system calls that read as many."""
    count = 20_000
    path = written(tmp_path / "0.tar", [bytes(20_000)] * count)

    def bare() -> int:
        handle = os.open(path, os.O_RDONLY)
        total = sum(len(os.pread(handle, 512, 21_504 * number)) for number in range(count))
        os.close(handle)
        return total

    found = measured(
        "index of a tar shard, two members a sample", lambda: index_shards([path]), bare=bare, items=2 * count
    )
    assert len(found) == 2 * count


@pytest.mark.parametrize("name", RESIDENT)
def test_augmenting_images_in_memory(measured: Any, device: torch.device, name: str) -> None:
    count, side = RESIDENT[name]
    pixels = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    batches = loader(ResidentImages(pixels), device, min(256, count))
    # A byte of every value is read, and four are written.
    found = measured(f"loader, {name}", lambda: epoch(batches), reads=5 * pixels.numel(), items=count)
    assert found == count
