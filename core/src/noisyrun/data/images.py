"""Images of one split: held decoded in memory, or decoded as they are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count, environ
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from noisyrun.api import UserError
from noisyrun.data.decode import BadImage, decode, probe
from noisyrun.data.raw import Raw
from noisyrun.data.refs import FileRefs, ImageRefs
from noisyrun.data.samples import Images
from noisyrun.data.unreadable import Unreadable

#: Bytes of decoded images up to which all of them are held in memory.
RESIDENT_BYTES = 2 << 30
#: Headers read to find the common size and the number of channels.
_PROBED = 512
#: Images a thread decodes at a time.
_CHUNK = 256
#: Decoding threads at most.
_THREADS = 16
#: Grey level of an image that cannot be decoded.
_GREY = 128
#: Side that images of differing sizes are brought to when they are at least that large.
_WEB_SIDE = 224

T = TypeVar("T")
R = TypeVar("R")


class ResidentImages(Images):
    """Images held decoded, uint8 [N, channels, height, width]."""

    def __init__(self, pixels: Tensor) -> None:
        self.resident = pixels
        self.shape = (pixels.shape[1], pixels.shape[2], pixels.shape[3])

    def __len__(self) -> int:
        return self.pixels.shape[0]

    @property
    def pixels(self) -> Tensor:
        """The tensor itself."""
        assert self.resident is not None
        return self.resident

    def load(self, positions: Tensor) -> Tensor:
        return self.pixels[positions.to(self.pixels.device)]


class LazyImages(Images):
    """Images decoded when they are asked for.

    Parameters
    ----------
    raw
        The split they belong to: names them in errors.
    refs
        Where they stand.
    shape
        Channels, height and width that they are brought to.
    bad
        Where images that cannot be decoded are noted; they are blank then. None: the first of them is an error.
    gpu
        Whether batches on their way to a GPU are decoded there.
    """

    def __init__(
        self,
        raw: Raw,
        refs: ImageRefs,
        shape: tuple[int, int, int],
        bad: Unreadable | None = None,
        gpu: bool = False,
    ) -> None:
        self.raw = raw
        self.refs = refs
        self.shape = shape
        self.bad = bad
        self.gpu = gpu

    def __len__(self) -> int:
        return len(self.refs)

    def at(self, side: int) -> LazyImages:
        """The same images decoded to squares of another side, rather than resized from this one."""
        return LazyImages(self.raw, self.refs, (self.shape[0], side, side), self.bad, self.gpu)

    def take(self, rows: np.ndarray) -> LazyImages:
        """Some of them, int64 [r], ascending."""
        return LazyImages(self.raw.take(rows), self.refs.take(rows), self.shape, self.bad, self.gpu)

    def decoded(self) -> Images:
        """The same images held in memory, where they fit."""
        return read_images(self.raw, self.shape, skip=False)[0]

    def load(self, positions: Tensor) -> Tensor:
        out = torch.empty((len(positions), *self.shape), dtype=torch.uint8)
        self.fill(positions, out)
        return out

    def fill(self, positions: Tensor, out: Tensor) -> None:
        """Decode some images, int64 [R], into uint8 [R, channels, height, width]."""
        pixels = out.numpy()
        for row, position in enumerate(positions.tolist()):
            if self.bad is not None and int(self.raw.index[position]) in self.bad:
                pixels[row] = _GREY
                continue
            try:
                with self.refs.open(position) as stream:
                    pixels[row] = decode(stream, self.shape[0], self.shape[1:])
            except (BadImage, OSError) as error:
                if self.bad is None:
                    raise UserError(bad_image(self.raw, position, error)) from None
                pixels[row] = _GREY
                self.bad.add(int(self.raw.index[position]), f"{self.raw.row(position)}: {_reason(error)}")


def bad_image(raw: Raw, position: int, error: Exception) -> str:
    """The line that names an image which cannot be read."""
    return (
        f"cannot read the image in {raw.row(position)}: {_reason(error)}; "
        "--data.on-bad-image skip leaves such images out"
    )


def _reason(error: Exception) -> str:
    return "no such file" if isinstance(error, FileNotFoundError) and error.filename else str(error)


def decoding_threads() -> int:
    """Threads that decode images: one a core, at most 16, shared with the other processes of a run on this machine."""
    return max(1, min(_THREADS, cpu_count() or 1) // int(environ.get("LOCAL_WORLD_SIZE", "1")))


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Results in order. Decoding releases the interpreter's lock, so threads share the work."""
    with ThreadPoolExecutor(decoding_threads()) as pool:
        yield from pool.map(work, items)


def common_shape(raw: Raw, side: int | None) -> tuple[tuple[int, int, int], str | None]:
    """Channels, height and width to bring a data set's images to, and a note when sizes differ.

    Parameters
    ----------
    side
        Side that the user asks for; None: the common size, or where sizes differ the median of the shorter sides,
        at most 224 pixels.

    Notes
    -----
    Told from the headers of up to 512 images spread over the data.
    """
    refs = raw.images
    if isinstance(refs, np.ndarray):
        channels, height, width = refs.shape[1:]
        return (channels, side or height, side or width), None
    assert refs is not None
    shapes: list[tuple[int, int, int]] = []
    bad = ""
    for position in np.unique(np.linspace(0, len(refs) - 1, min(_PROBED, len(refs))).astype(int)):
        try:
            with refs.open(int(position)) as stream:
                shapes.append(probe(stream))
        except (BadImage, OSError) as error:
            bad = bad or f"{raw.row(int(position))}: {_reason(error)}"
    if not shapes:
        raise UserError(f"no image of {raw.where} can be read, e.g. {bad}")
    channels = max(shape[0] for shape in shapes)
    if side is not None:
        return (channels, side, side), None
    sizes = Counter(shape[1:] for shape in shapes)
    if len(sizes) == 1:
        height, width = next(iter(sizes))
        return (channels, height, width), None
    side = min(_WEB_SIDE, int(np.median([min(size) for size in sizes.elements()])))
    note = f"images differ in size: all are brought to {side} × {side} pixels (--data.image-size sets another side)"
    return (channels, side, side), note


def fit_in_memory(raw: Raw, shape: tuple[int, int, int]) -> bool:
    """Whether all images of a split are held in memory."""
    return len(raw) * int(np.prod(shape)) <= RESIDENT_BYTES


def read_images(
    raw: Raw, shape: tuple[int, int, int], skip: bool, hold: bool = True, share: float = 0.0
) -> tuple[Images, np.ndarray | None, list[str]]:
    """The images of a split, decoded where they fit in memory.

    Parameters
    ----------
    shape
        Channels, height and width to bring them to.
    skip
        Leave out images that cannot be read, rather than stop.
    hold
        Whether to hold them in memory where they fit; otherwise they are decoded as they are asked for.
    share
        With `skip`: how large a share of images that are not held in memory may fail to decode later on.

    Returns
    -------
    images
        Those that can be read.
    kept
        int64: their positions, or None when that is all of them.
    bad
        A line for each of the others.

    Raises
    ------
    UserError
        At the first image that cannot be read, unless `skip`. Of images too many for memory only the headers of files
        are looked at here, and only with `skip`: decoding them would take as long as an epoch. Those that cannot be
        decoded later on are noted by `LazyImages`.
    """
    refs = raw.images
    if isinstance(refs, np.ndarray):
        pixels = torch.from_numpy(refs)
        if tuple(pixels.shape[1:]) != shape:
            pixels = torch.nn.functional.interpolate(pixels.float(), shape[1:], mode="bilinear", antialias=True)
            pixels = pixels.round().clamp(0, 255).to(torch.uint8)
        return ResidentImages(pixels), None, []
    assert refs is not None
    fits = fit_in_memory(raw, shape)
    resident = hold and fits
    if not resident and not skip:
        return LazyImages(raw, refs, shape), None, []
    # What is decoded now is never asked for again if it fails; the rest is noted when it fails.
    later = None if fits else Unreadable(raw.where, len(raw), share)
    if later is not None and not isinstance(refs, FileRefs):
        return LazyImages(raw, refs, shape, later), None, []
    out = np.empty((len(refs), *shape), np.uint8) if resident else None
    errors: dict[int, Exception] = {}

    def work(start: int) -> None:
        for position in range(start, min(start + _CHUNK, len(refs))):
            try:
                with refs.open(position) as stream:
                    if later is not None:
                        probe(stream)
                        continue
                    pixels = decode(stream, shape[0], shape[1:])
            except (BadImage, OSError) as error:
                errors[position] = error
                if not skip:
                    return
            else:
                if out is not None:
                    out[position] = pixels

    for _ in in_threads(work, range(0, len(refs), _CHUNK)):
        if errors and not skip:
            break
    if not errors:
        if out is not None:
            return ResidentImages(torch.from_numpy(out)), None, []
        return LazyImages(raw, refs, shape, later), None, []
    if not skip:
        first = min(errors)
        raise UserError(bad_image(raw, first, errors[first]))
    lines = [f"{raw.row(position)}: {_reason(errors[position])}" for position in sorted(errors)]
    kept = np.setdiff1d(np.arange(len(refs)), np.fromiter(errors, np.int64))
    if not len(kept):
        raise UserError(f"no image of {raw.where} can be read, e.g. {lines[0]}")
    if out is not None:
        return ResidentImages(torch.from_numpy(out[kept])), kept, lines
    return LazyImages(raw.take(kept), refs.take(kept), shape, later), kept, lines
