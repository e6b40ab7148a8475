"""Items as batches: decoded by threads a few batches ahead, whatever cannot be read named beside them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from noisyrun.data.decode import BadImage, decode
from noisyrun.data.images import decoding_threads
from noisyrun.exports.card import Card
from noisyrun.prediction.inputs import Item

#: Batches decoded ahead of the one in use.
_AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """Some items, and what became of them.

    Attributes
    ----------
    rows
        Which of the items could be read.
    inputs
        Those: images uint8 [r, channels, height, width], or features [r, D].
    errors
        Why each of the others could not, by its row.
    seconds
        Of decoding, by item.
    """

    items: list[Item]
    rows: list[int]
    inputs: Tensor
    errors: dict[int, str]
    seconds: list[float]


@dataclass(frozen=True)
class _Read:
    array: np.ndarray | None
    error: str
    seconds: float


def batches(items: Iterator[Item], card: Card, size: int, workers: int | None = None) -> Iterator[Batch]:
    """Batches in order; no more than three of them are held at a time.

    Parameters
    ----------
    workers
        Threads that decode, one a core by default.
    """
    workers = decoding_threads() if workers is None else max(1, workers)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[list[Item], list[Future[list[_Read]]]]] = deque()

        def submit() -> None:
            part = list(islice(items, size))
            if part:
                step = -(-len(part) // workers)
                pieces = [part[start : start + step] for start in range(0, len(part), step)]
                waiting.append((part, [pool.submit(_read_all, piece, card) for piece in pieces]))

        try:
            for _ in range(_AHEAD):
                submit()
            while waiting:
                part, futures = waiting.popleft()
                read = [one for future in futures for one in future.result()]
                submit()
                yield _batch(part, read)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _batch(items: list[Item], read: list[_Read]) -> Batch:
    rows = [row for row, one in enumerate(read) if one.array is not None]
    arrays = [one.array for one in read if one.array is not None]
    inputs = torch.from_numpy(np.stack(arrays)) if arrays else torch.empty(0)
    errors = {row: one.error for row, one in enumerate(read) if one.array is None}
    return Batch(items, rows, inputs, errors, [one.seconds for one in read])


def _read_all(items: list[Item], card: Card) -> list[_Read]:
    return [_read(item, card) for item in items]


def _read(item: Item, card: Card) -> _Read:
    began = time.perf_counter()
    how = card.preprocessing
    try:
        if item.array is not None:
            array = np.asarray(item.array, np.float32) if how is None else _sized(item.array, how.shape)
        else:
            assert item.open is not None
            assert how is not None
            with item.open() as stream:
                array = decode(stream, how.channels, (how.height, how.width))
    except (BadImage, OSError) as error:
        return _Read(None, _reason(error), time.perf_counter() - began)
    return _Read(array, "", time.perf_counter() - began)


def _sized(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A decoded image as a run on a data set of decoded images brings it to size."""
    if pixels.shape == shape:
        return pixels
    made = torch.from_numpy(pixels)[None].float()
    made = functional.interpolate(made, shape[1:], mode="bilinear", antialias=True)
    return made.round().clamp(0, 255).to(torch.uint8)[0].numpy()


def _reason(error: Exception) -> str:
    return "no such file" if isinstance(error, FileNotFoundError) else str(error)
