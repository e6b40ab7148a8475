"""What the epochs of a stage have in common."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from noisyrun.api.stage import Optimizer, Schedule, Stage
from noisyrun.data.loader import TrainLoader
from noisyrun.engine.evaluate import View
from noisyrun.engine.optim import rate_factor


@dataclass(frozen=True)
class Work:
    """What the epochs of a stage have in common."""

    stage: Stage
    #: The network as the steps of the stage call it.
    model: nn.Module
    loader: TrainLoader
    view: View
    epochs: int
    steps: int
    optimizer: torch.optim.Optimizer
    settings: Optimizer
    schedule: Schedule
    #: Where the stage starts within its schedule, and what that spans: (epochs, steps).
    start: tuple[int, int]
    total: tuple[int, int]
    parameters: list[nn.Parameter]
    given_features: bool

    def rate(self, epoch: int, step: int) -> float:
        """Learning rate at an epoch and a step of the stage."""
        unit = 0 if self.schedule.by == "epoch" else 1
        position = self.start[unit] + (epoch, step)[unit]
        return self.settings.lr * rate_factor(self.schedule, position, self.total[unit])
