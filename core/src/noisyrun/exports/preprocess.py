"""Images as a model takes them, made as the evaluation of its run made them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import torch
from PIL import Image
from torch import Tensor, nn

from noisyrun.api.errors import UserError
from noisyrun.data.augment import resize
from noisyrun.data.decode import BadImage, decode, fitted
from noisyrun.data.normal import affine
from noisyrun.exports.card import Preprocessing


class Normalise(nn.Module):
    """Values 0 to 255 [B, channels, H, W] → normalised float32, in the two steps in which the loader does it."""

    scale: Tensor
    shift: Tensor

    def __init__(self, how: Preprocessing) -> None:
        super().__init__()
        scale, shift = affine(how.mean, how.std)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.to(torch.float32) * self.scale + self.shift


class Preprocess:
    """One image, or a batch of decoded ones, as the network takes them.

    Calling it with a path, encoded bytes, an open file or a PIL image gives float32 [channels, H, W].
    """

    def __init__(self, how: Preprocessing) -> None:
        self.how = how
        self.normalise = Normalise(how)

    def __call__(self, image: Any) -> Tensor:
        """An image from anywhere → float32 [channels, H, W].

        Raises
        ------
        UserError
            When it cannot be read.
        """
        channels, size = self.how.channels, (self.how.height, self.how.width)
        try:
            if isinstance(image, Image.Image):
                pixels = fitted(image.copy(), channels, size)
            else:
                with _stream(image) as stream:
                    pixels = decode(stream, channels, size)
        except (BadImage, OSError) as error:
            name = image if isinstance(image, str | Path) else "an image"
            raise UserError(f"cannot read {name}: {error}") from None
        out: Tensor = self.normalise(self.sized(torch.from_numpy(pixels.copy())[None]))[0]
        return out

    def sized(self, pixels: Tensor) -> Tensor:
        """uint8 [B, channels, height, width] → uint8 of the size that enters the network."""
        return resize(pixels, self.how.side)


def _stream(image: Any) -> BinaryIO:
    if isinstance(image, bytes | bytearray | memoryview):
        return io.BytesIO(image)
    if isinstance(image, str | os.PathLike):
        return open(image, "rb")
    if hasattr(image, "read"):
        return io.BytesIO(image.read())
    raise UserError(f"an image must be a path, bytes, an open file or a PIL image (got {type(image).__name__})")
