"""Batches for training beside what they cannot do without: the decoder on the same bytes, or reading the pixels."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from noisyrun.api import PAD, Batches, Labels, Task, Text
from noisyrun.config.settings import AugmentSettings
from noisyrun.data.images import LazyImages, ResidentImages, decoding_threads
from noisyrun.data.loader import TrainLoader
from noisyrun.data.raw import Raw
from noisyrun.data.refs import BytesRefs
from noisyrun.data.samples import Images, Samples

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


@pytest.mark.parametrize("name", ENCODED)
def test_decoding_and_augmenting(measured: Any, device: torch.device, name: str) -> None:
    size, side = ENCODED[name]
    encoded = jpegs(256, size)
    raw = Raw("benchmark", np.arange(len(encoded)), {})
    batches = loader(LazyImages(raw, BytesRefs(pa.chunked_array([encoded]), None), (3, side, side)), device, 64)
    found = measured(
        f"loader, {name}", lambda: epoch(batches), bare=lambda: decoded(encoded), items=len(encoded), rounds=3
    )
    assert found == len(encoded)


@pytest.mark.parametrize("name", RESIDENT)
def test_augmenting_images_in_memory(measured: Any, device: torch.device, name: str) -> None:
    count, side = RESIDENT[name]
    pixels = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    batches = loader(ResidentImages(pixels), device, min(256, count))
    # A byte of every value is read, and four are written.
    found = measured(f"loader, {name}", lambda: epoch(batches), reads=5 * pixels.numel(), items=count)
    assert found == count
