"""How long a run trains: what a recipe or a file says of it, brought to the epochs that are asked for.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from noisyrun.api.errors import UserError
from noisyrun.api.stage import Schedule, Stage
from noisyrun.config.layers import Layer
from noisyrun.config.settings import RunSettings

#: Settings of the default stages, which stages of a recipe or a file say for themselves.
_DEFAULTS = ("warmup_epochs", "label_phase_every", "finetune_epochs", "finetune_lr")


def fit_epochs(settings: RunSettings, layers: Sequence[Layer]) -> tuple[RunSettings, tuple[str, ...]]:
    """Settings in which everything lasts as long as the user asked, and what there is to say about it.

    Epochs that are said where the stages are said, or above them (in a file above a recipe, by a flag above both),
    scale all stages in proportion, and with them the milestones of the schedules, the epochs between label phases, and
    stages that count steps. Without them the run takes the epochs of its stages. In the same way, epochs above those
    of a recipe or a file without stages scale its warm-up and schedule.

    Parameters
    ----------
    layers
        What each source said, the highest last.

    Raises
    ------
    UserError
        When there are fewer epochs than stages, or what is asked for applies to the default stages only.
    """
    if not settings.stages:
        return _fit_defaults(settings, layers)
    told = max((number for number, layer in enumerate(layers) if layer.label("stages")), default=-1)
    above = layers[told + 1 :]
    for name in _DEFAULTS:
        for label in filter(None, (layer.label("train", name) for layer in above)):
            raise UserError(f"{label}: is for the default stages; this run's own stages say it, stage by stage")
    own = sum(stage.epochs or 0 for stage in settings.stages)
    asked = next(filter(None, (layer.label("epochs") for layer in reversed(layers[max(told, 0) :]))), None)
    if asked is None or settings.epochs == own:
        return settings.model_copy(update={"epochs": own or settings.epochs}), ()
    stages = scaled(settings.stages, settings.epochs, asked)
    update: dict[str, object] = {"stages": stages}
    if not any(layer.label("train", "schedule") for layer in above):
        schedule = _schedule(settings.train.schedule, settings.epochs / own)
        update["train"] = settings.train.model_copy(update={"schedule": schedule})
    listed = ", ".join(f"{stage.name} {stage.epochs or f'{stage.steps} steps'}" for stage in stages)
    return settings.model_copy(update=update), (f"{own} epochs of the stages scaled to {settings.epochs}: {listed}",)


def _fit_defaults(settings: RunSettings, layers: Sequence[Layer]) -> tuple[RunSettings, tuple[str, ...]]:
    """Warm-up and schedule of a recipe or a file, scaled with its epochs; what is said beside the new ones stays."""
    told = [number for number, layer in enumerate(layers) if layer.label("epochs")]
    if len(told) < 2 or settings.epochs == (own := int(layers[told[-2]].value("epochs"))):
        return settings, ()
    train, ratio, beside = settings.train, settings.epochs / own, layers[told[-1] :]
    update: dict[str, object] = {}
    if train.warmup_epochs and not any(layer.label("train", "warmup_epochs") for layer in beside):
        update["warmup_epochs"] = max(1, round(train.warmup_epochs * ratio))
    if train.label_phase_every > 1 and not any(layer.label("train", "label_phase_every") for layer in beside):
        update["label_phase_every"] = max(1, round(train.label_phase_every * ratio))
    schedule = _schedule(train.schedule, ratio)
    if schedule != train.schedule and not any(layer.label("train", "schedule") for layer in beside):
        update["schedule"] = schedule
    if not update:
        return settings, ()
    listed = " and ".join(name.replace("_", " ") for name in update)
    said = f"{own} epochs scaled to {settings.epochs}, {listed} with them"
    return settings.model_copy(update={"train": train.model_copy(update=update)}), (said,)


def scaled(stages: Sequence[Stage], epochs: int, asked: str = "--epochs") -> tuple[Stage, ...]:
    """The stages with `epochs` in all, each at least one, shared out in proportion.

    Parameters
    ----------
    asked
        What errors call the epochs.
    """
    counted = [stage for stage in stages if stage.epochs]
    if not counted:
        raise UserError(f"{asked}: the stages of this run count steps; change those")
    if epochs < len(counted):
        names = ", ".join(stage.name for stage in counted)
        raise UserError(f"{asked}: must be at least {len(counted)}, an epoch for each stage ({names}) (got {epochs})")
    own = [stage.epochs or 0 for stage in counted]
    ratio = epochs / fsum(own)
    given = [1] * len(own)
    for _ in range(epochs - len(own)):
        short = [size * ratio - got for size, got in zip(own, given, strict=True)]
        given[short.index(max(short))] += 1
    lengths = dict(zip((stage.name for stage in counted), given, strict=True))
    return tuple(_stage(stage, lengths.get(stage.name), ratio) for stage in stages)


def _stage(stage: Stage, epochs: int | None, ratio: float) -> Stage:
    if epochs is None or stage.epochs is None:
        update: dict[str, object] = {"steps": max(1, round((stage.steps or 1) * ratio))}
    else:
        update, ratio = {"epochs": epochs}, epochs / stage.epochs
    every = int(stage.label_phase.removeprefix("every:")) if stage.label_phase.startswith("every:") else 1
    if every > 1:  # before every epoch stays before every epoch
        update["label_phase"] = f"every:{max(1, round(every * ratio))}"
    if stage.schedule is not None:
        update["schedule"] = _schedule(stage.schedule, ratio)
    return stage.model_copy(update=update)


def _schedule(schedule: Schedule, ratio: float) -> Schedule:
    """The same course of the learning rate over another length."""
    return schedule.model_copy(
        update={
            "milestones": tuple(max(1, round(at * ratio)) for at in schedule.milestones),
            "every": max(1, round(schedule.every * ratio)),
            "warmup": round(schedule.warmup * ratio),
        }
    )
