"""Optimisers, and the learning rate as a pure function of where a run stands."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from noisyrun.api.stage import Optimizer, Schedule


def make_optimizer(parameters: Iterable[nn.Parameter], config: Optimizer) -> torch.optim.Optimizer:
    """The optimiser of a stage, over the parameters that train."""
    trained = [p for p in parameters if p.requires_grad]
    rate, decay = config.lr, config.weight_decay
    if config.name == "sgd":
        nesterov = config.nesterov and config.momentum > 0
        return torch.optim.SGD(trained, rate, config.momentum, weight_decay=decay, nesterov=nesterov)
    if config.name == "adam":
        return torch.optim.Adam(trained, rate, weight_decay=decay)
    if config.name == "adamw":
        return torch.optim.AdamW(trained, rate, weight_decay=decay)
    return torch.optim.RMSprop(trained, rate, momentum=config.momentum, weight_decay=decay)


def rate_factor(schedule: Schedule, position: int, total: int) -> float:
    """The share of the highest learning rate at a position of the schedule.

    Parameters
    ----------
    position
        Units (epochs or steps, as the schedule says) done since its start.
    total
        Units it spans.
    """
    if position < schedule.warmup:
        return (position + 1) / schedule.warmup
    if schedule.name == "step":
        return schedule.gamma ** sum(position >= milestone for milestone in schedule.milestones)
    if schedule.name == "exponential":
        return schedule.gamma ** (position // schedule.every)
    if schedule.name == "cosine":
        done = min(1.0, (position - schedule.warmup) / max(1, total - schedule.warmup))
        return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * done))
    return 1.0


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
