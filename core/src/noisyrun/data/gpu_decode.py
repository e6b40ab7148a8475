"""JPEGs decoded on a GPU; all other images, and those that a GPU cannot decode, on the CPU."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from noisyrun.api import UserError
from noisyrun.data.decode import BadImage, plain_jpeg
from noisyrun.data.images import LazyImages

#: Encoded images, uint8 [bytes] each on the CPU, as uint8 [3, height, width] on a device.
Decoder = Callable[[list[Tensor], torch.device], list[Tensor]]


def load(images: LazyImages, positions: Tensor, device: torch.device, decoder: Decoder | None = None) -> Tensor:
    """Some images, int64 [R], decoded and brought to their size on a device.

    Parameters
    ----------
    decoder
        Torchvision's, on nvJPEG, by default.

    Returns
    -------
    Tensor
        uint8 [R, channels, height, width] on the device.

    Notes
    -----
    Sizes are brought together by torch rather than Pillow, so that pixels differ by a few grey levels from those of the
    CPU. An image that the GPU cannot decode is tried on the CPU, which names it if it is broken.
    """
    decode = decoder or _nvjpeg
    found: dict[int, Tensor] = {}
    for row, position in enumerate(positions.tolist()):
        try:
            with images.refs.open(position) as stream:
                content = _content(stream)
        except (BadImage, OSError):
            continue
        if content is not None:
            found[row] = content
    out = torch.empty((len(positions), *images.shape), dtype=torch.uint8, device=device)
    try:
        decoded = dict(zip(found, decode(list(found.values()), device), strict=True)) if found else {}
    except RuntimeError:  # one broken image spoils the whole call
        decoded = {}
    for row, pixels in decoded.items():
        out[row] = covering(pixels, images.shape)
    rest = [row for row in range(len(positions)) if row not in decoded]
    if rest:
        out[rest] = images.load(positions[rest]).to(device)
    return out


def _content(stream: BinaryIO) -> Tensor | None:
    """The bytes of a JPEG of three colours that is neither turned nor too large; None for any other image."""
    content = stream.read()
    if not plain_jpeg(io.BytesIO(content)):
        return None
    return torch.from_numpy(np.frombuffer(content, np.uint8).copy())


def covering(pixels: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """uint8 [3, H, W] resized until it covers a size, cut at the centre, and grey where one channel is asked for."""
    channels, height, width = shape
    tall, wide = pixels.shape[1:]
    # The part that is seen, as Pillow's `ImageOps.fit` takes it.
    scale = min(tall / height, wide / width)
    rows, columns = min(tall, round(height * scale)), min(wide, round(width * scale))
    top, left = (tall - rows) // 2, (wide - columns) // 2
    seen = pixels[:, top : top + rows, left : left + columns].float()
    if (rows, columns) != (height, width):
        seen = functional.interpolate(seen[None], (height, width), mode="bilinear", antialias=True)[0]
    if channels == 1:
        seen = torch.tensor([0.299, 0.587, 0.114], device=pixels.device) @ seen.flatten(1)
        seen = seen.reshape(1, height, width)
    return seen.round().clamp(0, 255).to(torch.uint8)


def _nvjpeg(encoded: list[Tensor], device: torch.device) -> list[Tensor]:
    try:
        from torchvision.io import ImageReadMode, decode_jpeg
    except ImportError:
        raise UserError(
            "--data.decode gpu: this torchvision decodes no JPEGs (releases up to 0.29 do): use --data.decode cpu"
        ) from None
    return list(decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device))
