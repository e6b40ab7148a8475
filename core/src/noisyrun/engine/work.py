"""What the epochs of a stage have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from noisyrun.api.stage import Optimizer, Schedule, Stage
from noisyrun.data.loader import TrainLoader
from noisyrun.engine import stages
from noisyrun.engine.evaluate import View
from noisyrun.engine.optim import make_optimizer, rate_factor
from noisyrun.engine.parallel import wrapped

if TYPE_CHECKING:
    from noisyrun.engine.trainer import Trainer


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


def prepare(trainer: Trainer, number: int) -> Work:
    """What the epochs of a stage need, for a trainer that stands at its beginning or within it."""
    stage, at, train = trainer.stages[number], trainer.progress, trainer.data.train
    view = trainer.view(stage)
    with trainer.clock("features"):
        given = trainer.features.frozen(view)
    samples = train if given is None else replace(train, images=None, features=given)
    loader = TrainLoader(
        samples,
        batches=stages.batches_of(stage, trainer.batches),
        batch_size=stage.batch_size or trainer.settings.batch_size,
        augment=trainer.settings.augment,
        seed=trainer.settings.seed,
        device=trainer.device,
        mean=view.mean,
        std=view.std,
        positions=trainer.selected,
        resolution=stage.resolution,
        workers=trainer.settings.data.workers,
        rank=trainer.world.rank,
        processes=trainer.world.size,
    )
    at.lengths[stage.name] = epochs, steps = stages.length(stage, loader.steps_per_epoch)
    start, total = stages.schedule_place(trainer.stages, number, trainer.lengths())
    optimizer = _optimizer_of(trainer, number)
    return Work(
        stage=stage,
        model=wrapped(trainer.network, trainer.world),
        loader=loader,
        view=view,
        epochs=epochs,
        steps=steps,
        optimizer=optimizer,
        settings=stages.optimizer_of(stage, trainer.settings),
        schedule=stages.schedule_of(stage, trainer.settings),
        start=start,
        total=total,
        parameters=[p for group in optimizer.param_groups for p in group["params"]],
        given_features=given is not None,
    )


def _optimizer_of(trainer: Trainer, number: int) -> torch.optim.Optimizer:
    """The optimiser of a stage: that of the stages before it, momentum and all, where they share a schedule."""
    stage, made_for = trainer.stages[number], trainer.optimizer_stage
    shared = made_for in stages.span(trainer.stages, number) and stages.same_parameters(trainer.stages[made_for], stage)
    if trainer.optimizer is None or not shared:
        trainer.optimizer_stage = number
        trainer.optimizer = make_optimizer(trainer.network.parameters(), stages.optimizer_of(stage, trainer.settings))
    return trainer.optimizer
