"""What images are normalised by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from noisyrun.data.hashing import key, order
from noisyrun.data.samples import Images

#: Images that the statistics are taken from: the standard error of a mean is then below 0.5 % of the deviation.
_SAMPLED_RESIDENT = 20_000
_SAMPLED_LAZY = 500
#: Deviation below which a channel counts as constant, one grey level.
_FLAT = 1 / 255


def affine(mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Factor and offset that take values 0 … 255 to normalised ones, float32 [1, channels, 1, 1]."""
    middle = torch.tensor(list(mean) or [0.0], dtype=torch.float64).reshape(1, -1, 1, 1)
    spread = torch.tensor(list(std) or [1.0], dtype=torch.float64).reshape(1, -1, 1, 1)
    return (1 / (255 * spread)).float(), (-middle / spread).float()


def mean_std(images: Images | None, seed: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in [0, 1], over up to 20,000 images (500 when read as needed).

    Both are empty for a run on features alone. A constant channel gets deviation 1.
    """
    if images is None:
        return (), ()
    positions = torch.arange(len(images))
    most = _SAMPLED_LAZY if images.resident is None else _SAMPLED_RESIDENT
    if len(positions) > most:
        positions = order(key("mean", seed), positions)[:most].sort().values
    total = torch.zeros(images.shape[0], dtype=torch.float64)
    squares = torch.zeros_like(total)
    levels = torch.arange(256, dtype=torch.float64) / 255
    count = 0
    for part in positions.split(1000):
        pixels = images.load(part).cpu()
        count += pixels.numel() // pixels.shape[1]
        for channel in range(pixels.shape[1]):
            histogram = torch.bincount(pixels[:, channel].reshape(-1), minlength=256).double()
            total[channel] += histogram @ levels
            squares[channel] += histogram @ levels**2
    mean = total / count
    std = (squares / count - mean**2).clamp(min=0).sqrt()
    std = torch.where(std < _FLAT, torch.ones_like(std), std)
    return tuple(mean.tolist()), tuple(std.tolist())
