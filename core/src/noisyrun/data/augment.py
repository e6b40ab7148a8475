"""Augmentation of whole batches, with draws that depend on (seed, epoch, sample) alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from noisyrun.config.settings import AugmentSettings
from noisyrun.data.hashing import below, bits, key, uniform

#: Numbers of the draws of one sample; a policy's follow.
_DY, _DX, _FLIP, POLICY = 0, 1, 2, 8
#: Pixels from which an image is cropped on its own on the CPU: the gather of a whole batch then takes longer.
_LARGE = 48 * 48


@dataclass(frozen=True)
class Draws:
    """What chance decides for some rows.

    Attributes
    ----------
    base
        int64 [R]: random bits of each row; a policy draws from them by counter.
    dy, dx
        int64 [R]: offset of the crop, 0 … 2 · pad + slack.
    flip
        bool [R] or None.
    """

    base: Tensor
    dy: Tensor | None
    dx: Tensor | None
    flip: Tensor | None

    def rows(self, start: int, stop: int) -> Draws:
        """Some of them."""

        def cut(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[start:stop]

        return Draws(self.base[start:stop], cut(self.dy), cut(self.dx), cut(self.flip))


class Augment:
    """Pad and crop, mirror, and a policy, on uint8 batches of any device.

    Parameters
    ----------
    settings
        What is asked for.
    side
        Shorter side of the images, for the default crop.
    flip
        Whether images are mirrored where the settings leave that open.
    seed
        The run's.
    slack
        Rows and columns that images have beyond what is to be cut out of them; such images are not padded by default.
    """

    def __init__(
        self, settings: AugmentSettings, side: int, flip: bool, seed: int, slack: tuple[int, int] = (0, 0)
    ) -> None:
        self.slack = slack
        self.pad = (0 if any(slack) else side // 8) if settings.crop is None else settings.crop
        self.flip = flip if settings.flip is None else settings.flip
        self.settings = settings
        self.seed = seed

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        return bool(self.pad or any(self.slack) or self.flip or self.settings.policy != "none")

    def draw(self, epoch: int, index: Tensor, repeats: Tensor | None) -> Draws:
        """Draws of some rows, int64 [R] stable index and how often the epoch has drawn each before."""
        base = bits(key("augment", self.seed, epoch), index)
        if repeats is not None:
            base = torch.where(repeats > 0, bits(base, repeats), base)
        crops = self.pad or any(self.slack)
        return Draws(
            base,
            below(base, _DY, 2 * self.pad + self.slack[0] + 1) if crops else None,
            below(base, _DX, 2 * self.pad + self.slack[1] + 1) if crops else None,
            uniform(base, _FLIP) < 0.5 if self.flip else None,
        )

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Augment uint8 [R, channels, H, W]."""
        images = crop_and_flip(images, self.pad, draws, self.slack)
        if self.settings.policy != "none":
            from noisyrun.data import policies

            images = policies.apply(images, draws.base, self.settings)
        return images


def crop_and_flip(images: Tensor, pad: int, draws: Draws, slack: tuple[int, int] = (0, 0)) -> Tensor:
    """Pad by zeros, cut the original size less the slack out at (dy, dx), mirror some: one gather for all of it.

    Parameters
    ----------
    images
        uint8 [R, channels, H, W].
    """
    if draws.dy is None and draws.flip is None:
        return images
    rows, channels = images.shape[:2]
    height, width = images.shape[2] - slack[0], images.shape[3] - slack[1]
    if images.device.type == "cpu" and height * width >= _LARGE:
        return _row_by_row(images, pad, draws, height, width)
    ys = torch.arange(height, device=images.device).expand(rows, height)
    xs = torch.arange(width, device=images.device).expand(rows, width)
    if draws.flip is not None:
        xs = torch.where(draws.flip[:, None], width - 1 - xs, xs)
    if draws.dy is not None and draws.dx is not None:
        images = functional.pad(images, (pad, pad, pad, pad))
        ys, xs = ys + draws.dy[:, None], xs + draws.dx[:, None]
    cells = ys[:, :, None] * images.shape[3] + xs[:, None, :]
    cells = cells.reshape(rows, 1, height * width).expand(rows, channels, height * width)
    return images.reshape(rows, channels, -1).gather(2, cells).reshape(rows, channels, height, width)


def _row_by_row(images: Tensor, pad: int, draws: Draws, height: int, width: int) -> Tensor:
    """What a gather would do, by copies of rectangles: without a 64-bit index a pixel."""
    rows, channels, tall, wide = images.shape
    still = [0] * rows
    tops = still if draws.dy is None else (draws.dy - pad).tolist()
    lefts = still if draws.dx is None else (draws.dx - pad).tolist()
    flips = still if draws.flip is None else draws.flip.tolist()
    out = images.new_zeros(rows, channels, height, width)
    for row, (top, left, flip) in enumerate(zip(tops, lefts, flips)):
        y, y_end, x, x_end = max(0, -top), min(height, tall - top), max(0, -left), min(width, wide - left)
        seen = images[row, :, top + y : top + y_end, left + x : left + x_end]
        if flip:
            out[row, :, y:y_end, width - x_end : width - x] = seen.flip(2)
        else:
            out[row, :, y:y_end, x:x_end] = seen
    return out


def resize(images: Tensor, side: int | None) -> Tensor:
    """uint8 [R, channels, H, W] brought to a shorter side of `side` pixels; None leaves them."""
    height, width = images.shape[2:]
    if side is None or side == min(height, width):
        return images
    out = functional.interpolate(
        images.float(), scaled((height, width), side), mode="bilinear", antialias=True, align_corners=False
    )
    return out.round_().clamp_(0, 255).to(torch.uint8)


def scaled(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Height and width with a shorter side of `side` pixels."""
    scale = side / min(size)
    return round(size[0] * scale), round(size[1] * scale)
