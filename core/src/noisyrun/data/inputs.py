"""Images or features of a split on their way to a device."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from noisyrun.data.augment import resize
from noisyrun.data.buffers import Buffers
from noisyrun.data.images import LazyImages, decoding_threads
from noisyrun.data.normal import affine
from noisyrun.data.samples import Images, Samples

#: Batches decoded ahead of the one in use.
_AHEAD = 3
#: Share of the GPU's free memory that images may take to live there.
_GPU_SHARE = 0.5
#: Values normalised at a time, which stay in the processor's cache from one step to the next.
_NEAR = 1 << 18


class Inputs:
    """Images or features of a split, read batch by batch onto a device.

    Parameters
    ----------
    samples, device, mean, std, resolution, workers
        As for `TrainLoader`.
    """

    def __init__(
        self,
        samples: Samples,
        device: torch.device,
        mean: Sequence[float],
        std: Sequence[float],
        resolution: int | None,
        workers: int | None,
    ) -> None:
        self.device = device
        self.resolution = resolution
        self.workers = decoding_threads() if workers is None else workers
        self.held: Tensor | None = samples.features
        self.images: Images | None = None
        if samples.images is not None:
            self.images = _at(samples.images, resolution)
            self.held = self.images.resident
        elif samples.features is None:
            raise ValueError("samples have neither images nor features")
        if self.held is not None and _fits(self.held, device):
            self.held = self.held.to(device)
        self.buffers = Buffers()
        self.scale, self.shift = _affine(mean, std, samples.images is not None, device)

    def stream(self, positions: Tensor, size: int) -> Iterator[Tensor]:
        """uint8 images (or features) of successive batches, on the device, resized."""
        parts = positions.split(size) if len(positions) else ()
        if self.held is not None:
            for part in parts:
                yield resize_images(self._taken(self.held, part), self.resolution)
            return
        assert self.images is not None
        if isinstance(self.images, LazyImages) and self.images.gpu and self.device.type == "cuda":
            yield from self._decoded_there(self.images, parts)
            return
        for pixels in self._decoded(self.images, parts):
            if self.device.type == "cuda":
                pixels = pixels.pin_memory().to(self.device, non_blocking=True)
            yield resize_images(pixels, self.resolution)

    def normalised(self, inputs: Tensor) -> Tensor:
        """float32, by channel; features as they are."""
        if self.scale is None or self.shift is None:
            return inputs.to(torch.float32)
        # Two steps rather than a fused one: rounding is then the same wherever in a batch a value stands.
        if inputs.device.type != "cpu":
            return inputs.to(torch.float32).mul_(self.scale).add_(self.shift)
        out = self.buffers.take(tuple(inputs.shape), torch.float32)
        rows = max(1, _NEAR // max(1, inputs[0].numel()))
        for part, images in zip(out.split(rows), inputs.split(rows)):
            part.copy_(images).mul_(self.scale).add_(self.shift)
        return out

    def _taken(self, held: Tensor, part: Tensor) -> Tensor:
        """Some of the images or features that are held, on the device."""
        if held.device.type != "cpu" or held.dtype not in (torch.uint8, torch.float32):
            return held[part.to(held.device)].to(self.device)
        out = self.buffers.take((len(part), *held.shape[1:]), held.dtype)
        return torch.index_select(held, 0, part.cpu(), out=out).to(self.device)

    def _decoded(self, images: Images, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Batches in order, decoded by threads a few batches ahead. Decoding releases the interpreter's lock."""
        if self.workers == 0 or not isinstance(images, LazyImages):
            yield from map(images.load, parts)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: deque[tuple[Tensor, list[Future[None]]]] = deque()
            upcoming = iter(parts)

            def submit() -> None:
                part = next(upcoming, None)
                if part is not None:
                    out = self.buffers.take((len(part), *images.shape), torch.uint8)
                    each = -(-len(part) // self.workers)
                    pieces = zip(part.split(each), out.split(each))
                    waiting.append((out, [pool.submit(images.fill, *piece) for piece in pieces]))

            try:
                for _ in range(_AHEAD):
                    submit()
                while waiting:
                    pixels, pieces = waiting.popleft()
                    for piece in pieces:
                        piece.result()
                    submit()
                    yield pixels
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _decoded_there(self, images: LazyImages, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Batches in order, decoded on the device itself, one ahead of that in use."""
        from noisyrun.data import gpu_decode

        with ThreadPoolExecutor(1) as pool:
            load = partial(gpu_decode.load, images, device=self.device)
            waiting = deque(pool.submit(load, part) for part in parts[:_AHEAD])
            for part in (*parts[_AHEAD:], *[None] * len(waiting)):
                pixels = waiting.popleft().result()
                if part is not None:
                    waiting.append(pool.submit(load, part))
                yield resize_images(pixels, self.resolution)


def resize_images(inputs: Tensor, side: int | None) -> Tensor:
    """`resize` for images; features pass."""
    return resize(inputs, side) if inputs.dim() == 4 else inputs


def _at(images: Images, resolution: int | None) -> Images:
    """Images that are decoded anyway are decoded at the resolution asked for."""
    return images.at(resolution) if resolution is not None and isinstance(images, LazyImages) else images


def _fits(held: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return held.device.type == "cuda" or held.numel() * held.element_size() < _GPU_SHARE * free


def _affine(
    mean: Sequence[float], std: Sequence[float], images: bool, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """Factor and offset that take 0 … 255 to normalised values, [1, channels, 1, 1]."""
    if not images:
        return None, None
    scale, shift = affine(mean, std)
    return scale.to(device), shift.to(device)
