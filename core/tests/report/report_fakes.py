"""Samples whose images are easy to tell."""

from __future__ import annotations

import torch

from noisyrun.api import Labels, Task, Text
from noisyrun.data.samples import Images, Samples, no_labels


class Pixels(Images):
    """Image r is filled with the value r."""

    def __init__(self, count: int, channels: int) -> None:
        self.shape = (channels, 4, 4)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def load(self, positions: torch.Tensor) -> torch.Tensor:
        return positions.to(torch.uint8)[:, None, None, None].expand(-1, *self.shape)


def make_samples(n: int = 6) -> Samples:
    return Samples(
        task=Task(("a", "b")),
        index=torch.arange(n),
        labels=Labels.of(torch.arange(n) % 2),
        verified=torch.full((n,), -1, dtype=torch.int8),
        verified_held=torch.zeros(n, dtype=torch.bool),
        trusted=no_labels(n),
        clean=torch.zeros(n, dtype=torch.bool),
        text=Text(("a", "b")),
        images=Pixels(n, 1),
    )
