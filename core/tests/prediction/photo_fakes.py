"""Photographs of every awkward kind, in class folders, as tests of what a model is shown need them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("blue", "green", "red")


def make(folder: Path, train: int = 12, test: int = 6) -> Path:
    """Images of three colours in differing sizes: JPEG, PNG, with transparency, grey, turned by EXIF."""
    draw = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for place, name in enumerate(CLASSES):
            for number in range(count):
                path = folder / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(one(draw, 2 - place, number))
    return folder


def one(draw: np.random.Generator, channel: int, kind: int) -> bytes:
    """One encoded image, mostly of one colour."""
    height, width = draw.integers(20, 60, 2)
    pixels = draw.integers(0, 120, (height, width, 3))
    pixels[..., channel] += 90
    pixels[: height // 3, : width // 2, channel] += 40
    image = Image.fromarray(pixels.astype(np.uint8))
    held = io.BytesIO()
    if kind % 6 == 1:
        image.putalpha(Image.fromarray(draw.integers(0, 256, (height, width)).astype(np.uint8)))
    if kind % 6 == 2:
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(held, "JPEG", exif=exif, quality=95)
    elif kind % 6 == 3:
        image.resize((width * 5, height * 5)).save(held, "JPEG", quality=95)
    elif kind % 6 == 4:
        image.convert("P").save(held, "PNG")
    else:
        image.save(held, "PNG")
    return held.getvalue()
