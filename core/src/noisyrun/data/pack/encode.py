"""The bytes of each image of a split: as they are, or made smaller; looked at before they are packed."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image

from noisyrun.data.decode import BadImage, decode, probe
from noisyrun.data.images import decoding_threads
from noisyrun.data.raw import Raw
from noisyrun.data.refs import ImageRefs

#: Images that a thread reads at a time, and how many such tasks wait for each thread: what bounds the memory.
_CHUNK, _AHEAD = 16, 2
#: What bytes begin with, by ending.
_SIGNS = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG", "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
)


@dataclass(frozen=True)
class Encoding:
    """What becomes of images on their way.

    Attributes
    ----------
    side
        Shorter side in pixels that larger images are brought to; None: all stay as they are.
    quality
        Of the JPEGs that are then written, 1 to 100.
    check
        How far each image is looked into first: its header alone, or all of it.
    """

    side: int | None = None
    quality: int = 95
    check: Literal["header", "decode"] = "decode"


@dataclass(frozen=True)
class Encoded:
    """The bytes of the image in a row, their ending, and the name it had; or why it cannot be read."""

    row: int
    data: bytes = b""
    ending: str = ""
    name: str | None = None
    bad: str | None = None


def encoded(raw: Raw, start: int, encoding: Encoding) -> Iterator[Encoded]:
    """The images of a split from one row on, in order; read by threads, few at a time."""
    waiting: deque[Future[list[Encoded]]] = deque()
    chunks = iter(range(start, len(raw), _CHUNK))
    pool = ThreadPoolExecutor(decoding_threads())

    def work(first: int) -> list[Encoded]:
        return [_one(raw, row, encoding) for row in range(first, min(first + _CHUNK, len(raw)))]

    try:
        while True:
            while len(waiting) < _AHEAD * decoding_threads() and (first := next(chunks, None)) is not None:
                waiting.append(pool.submit(work, first))
            if not waiting:
                return
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _one(raw: Raw, row: int, encoding: Encoding) -> Encoded:
    images = raw.images
    if isinstance(images, np.ndarray):
        return Encoded(row, _png(images[row]), "png")
    assert isinstance(images, ImageRefs)
    name = images.name(row)
    try:
        with images.open(row) as stream:
            data = stream.read()
        data = _looked_at(data, encoding)
    except BadImage as error:
        return Encoded(row, bad=str(error))
    except OSError as error:
        return Encoded(
            row, bad="no such file" if isinstance(error, FileNotFoundError) and error.filename else str(error)
        )
    return Encoded(row, data, _ending(data, name), name)


def _looked_at(data: bytes, encoding: Encoding) -> bytes:
    """The bytes, made smaller where that is asked for; BadImage when they are no image."""
    channels, height, width = probe(io.BytesIO(data))
    if encoding.side is None or min(height, width) <= encoding.side:
        if encoding.check == "decode":
            decode(io.BytesIO(data), channels, None)
        return data
    pixels = decode(io.BytesIO(data), channels, None)
    image = Image.fromarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))
    scale = encoding.side / min(height, width)
    size = (max(encoding.side, round(width * scale)), max(encoding.side, round(height * scale)))
    out = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(out, "JPEG", quality=encoding.quality)
    return out.getvalue()


def _png(pixels: np.ndarray) -> bytes:
    """uint8 [channels, height, width] as a PNG, which loses nothing."""
    out = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(out, "PNG")
    return out.getvalue()


def _ending(data: bytes, name: str) -> str:
    """The usual ending of what bytes are, whatever the file was called; else the one it was called by."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    found = next((ending for sign, ending in _SIGNS if data.startswith(sign)), None)
    own = PurePosixPath(name).suffix[1:].lower()
    return found or (own if own.isascii() and own.isalnum() and len(own) <= 5 else "img")
