"""The stages of a run: the default list, which samples a stage trains on, and how long its schedule spans."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from noisyrun.api.errors import UserError
from noisyrun.api.labels import PAD
from noisyrun.api.needs import UNIFORM, Batches
from noisyrun.api.stage import Optimizer, Schedule, Stage
from noisyrun.config.settings import RunSettings
from noisyrun.data.samples import Samples
from noisyrun.engine.label_state import LabelState


def resolve_stages(settings: RunSettings, *, judge_labels: bool, side: int | None = None) -> tuple[Stage, ...]:
    """The stages of a run: those it was given, else warm-up, rounds, and fine-tuning where it is asked for.

    Parameters
    ----------
    judge_labels
        Whether a weighter or corrector was chosen. Without one there is no label phase and nothing to warm up for.
    side
        Shorter side of the data's images, which a stage's `scale` is relative to; None for a run on features.
    """
    stages = settings.stages or _default_stages(settings, judge_labels)
    _check(stages)
    stages = tuple(_in_pixels(stage, side) for stage in stages)
    if settings.train.freeze_backbone:
        stages = tuple(s.model_copy(update={"trains": "head"}) if s.trains == "all" else s for s in stages)
    return tuple(stages)


def baseline_stages(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The same stages for plain training on observed labels: nothing judged, corrected, weighed or chosen by score.

    What a stage says of trusted labels and of its batches stays. Without methods there are no parts, so `online` says
    nothing.
    """
    plain = []
    for stage in stages:
        change: dict[str, object] = {"label_phase": "never", "weighted": False, "keep_predictions": None}
        if stage.targets == "corrected":
            change["targets"] = "observed"
        if stage.samples.startswith(("weight", "top")):
            change["samples"] = "all"
        if stage.trains == "parts":
            change["trains"] = "head"
        plain.append(stage.model_copy(update=change))
    return tuple(plain)


def _default_stages(settings: RunSettings, judge_labels: bool) -> tuple[Stage, ...]:
    train, epochs = settings.train, settings.epochs
    stages = []
    if judge_labels:
        # A label phase on an untrained network would judge at random.
        shortest = min(1, epochs - 1)
        warmup = max(shortest, epochs // 3) if train.warmup_epochs is None else train.warmup_epochs
        if warmup > epochs:
            raise UserError(f"--train.warmup_epochs: must be at most --epochs, {epochs} (got {warmup})")
        if warmup:
            stages.append(Stage(name="warmup", epochs=warmup))
        if epochs > warmup:
            stages.append(Stage(name="rounds", epochs=epochs - warmup, label_phase=f"every:{train.label_phase_every}"))
    else:
        stages.append(Stage(name="train", epochs=epochs))
    if train.finetune_epochs:
        optimizer = train.optimizer.model_copy(update={"lr": train.finetune_lr})
        schedule = Schedule(name="cosine", by="step")
        stages.append(
            Stage(
                name="finetune",
                epochs=train.finetune_epochs,
                samples="clean",
                targets="trusted",
                weighted=False,
                optimizer=optimizer,
                schedule=schedule,
            )
        )
    return tuple(stages)


def _check(stages: Sequence[Stage]) -> None:
    seen: set[str] = set()
    for stage in stages:
        if stage.name in seen:
            raise UserError(f"stages: two are called {stage.name!r}; give each its own name")
        if stage.weights_from.startswith("stage:") and stage.weights_from[6:] not in seen:
            raise UserError(f"stages.{stage.name}.weights_from: no earlier stage is called {stage.weights_from[6:]!r}")
        seen.add(stage.name)


def _in_pixels(stage: Stage, side: int | None) -> Stage:
    """The stage with its scale as a resolution; features have no size to scale."""
    if stage.scale is None:
        return stage
    return stage.model_copy(update={"scale": None, "resolution": None if side is None else round(stage.scale * side)})


def last_trained(stages: Sequence[Stage], lengths: Mapping[str, Sequence[int]]) -> Stage:
    """The stage that trained last, by the epochs and steps of each; those of skipped ones are 0."""
    return next((stage for stage in reversed(stages) if any(lengths.get(stage.name, (1,)))), stages[-1])


def optimizer_of(stage: Stage, settings: RunSettings) -> Optimizer:
    """The stage's own optimiser, else the run's."""
    return stage.optimizer or settings.train.optimizer


def schedule_of(stage: Stage, settings: RunSettings) -> Schedule:
    """The stage's own schedule, else the run's."""
    return stage.schedule or settings.train.schedule


def batches_of(stage: Stage, agreed: Batches) -> Batches:
    """How the stage draws batches: as it says, else as the methods that take part in it agreed."""
    drawn = agreed if stage.batches is None else Batches.parse(stage.batches)
    if stage.batches is None and not stage.online:
        return UNIFORM
    # A mix of clean and noisy samples needs both.
    return UNIFORM if drawn.kind == "mix" and stage.samples == "clean" else drawn


def refuse_small_batches(stages: Sequence[Stage], batch_size: int, agreed: Batches, processes: int) -> None:
    """Refuse batches of which some process would never get a sample.

    Raises
    ------
    UserError
        Naming the size.
    """
    for stage in stages:
        drawn, size = batches_of(stage, agreed), stage.batch_size or batch_size
        parts = max(1, size // drawn.size) if drawn.kind == "bags" else size
        if parts < processes:
            what = f"{parts} bags of {drawn.size}" if drawn.kind == "bags" else f"{parts} samples"
            raise UserError(
                f"--batch-size {size}: a batch is shared by all processes, and {what} are too few for {processes} "
                f"of them; give at least {processes * size // parts}, or start fewer"
            )


def select(stage: Stage, samples: Samples, state: LabelState) -> Tensor | None:
    """Positions a stage trains on, int64 [n] ascending; None for all.

    Chosen once, when the stage begins, after the label phase that opens it. ``verified`` takes samples whose observed
    label is verified right, of the training split only: the held-out ones serve thresholds.

    Raises
    ------
    UserError
        When the selection is empty.
    """
    kind = stage.samples
    if kind == "all":
        return None
    if kind == "clean":
        chosen = samples.clean
    elif kind == "verified":
        chosen = (samples.verified == 1) & ~samples.verified_held
    elif kind.startswith("weight>="):
        present = samples.labels.classes != PAD
        # A sample with several labels counts by its heaviest.
        heaviest = state.weights.masked_fill(~present, 0.0).amax(1)
        chosen = heaviest >= float(kind.removeprefix("weight>="))
    else:
        count = math.ceil(float(kind.removeprefix("top:")) * len(samples))
        chosen = torch.zeros(len(samples), dtype=torch.bool)
        chosen[torch.argsort(state.score, descending=True, stable=True)[:count]] = True
    positions = chosen.nonzero()[:, 0]
    if len(positions) == 0:
        hints = {"clean": "give a clean subset with --clean", "verified": "give verification labels with --verify"}
        hint = hints.get(kind, f"the highest weight is {float(state.weights.max()):.3g}")
        raise UserError(f"stage {stage.name!r}: samples = {kind!r} leaves none to train on; {hint}")
    return positions


def expected_size(stage: Stage, samples: Samples) -> int:
    """How many samples a stage that has not begun will train on; all, where only a label phase can tell."""
    if stage.samples == "clean":
        return max(1, int(samples.clean.sum()))
    if stage.samples == "verified":
        return max(1, int(((samples.verified == 1) & ~samples.verified_held).sum()))
    if stage.samples.startswith("top:"):
        return math.ceil(float(stage.samples.removeprefix("top:")) * len(samples))
    return len(samples)


def span(stages: Sequence[Stage], number: int) -> range:
    """The stages over which the schedule of stage `number` runs as one.

    Consecutive stages share the run's schedule when they bring neither a schedule nor an optimiser of their own and
    go on from where the network stands.
    """

    def shares(stage: Stage) -> bool:
        return stage.schedule is None and stage.optimizer is None

    first = last = number
    while first > 0 and shares(stages[first]) and shares(stages[first - 1]) and _continues(stages[first]):
        first -= 1
    while last + 1 < len(stages) and shares(stages[last]) and shares(stages[last + 1]) and _continues(stages[last + 1]):
        last += 1
    return range(first, last + 1)


def same_parameters(one: Stage, other: Stage) -> bool:
    """Whether the same parameters train in both."""
    return (one.trains, one.online) == (other.trains, other.online)


def _continues(stage: Stage) -> bool:
    return stage.weights_from == "continue"


def length(stage: Stage, steps_per_epoch: int) -> tuple[int, int]:
    """Epochs and steps of a stage; the last epoch of one that counts steps may be cut short."""
    if stage.steps is not None:
        return math.ceil(stage.steps / steps_per_epoch), stage.steps
    assert stage.epochs is not None
    return stage.epochs, stage.epochs * steps_per_epoch


def lengths(
    stages: Sequence[Stage], begun: Mapping[str, tuple[int, int]], samples: Samples, batch_size: int
) -> dict[str, tuple[int, int]]:
    """Epochs and steps of every stage by name: those of the stages that have begun, an estimate for the others."""
    found = dict(begun)
    for stage in stages:
        if stage.name not in found:
            size = stage.batch_size or batch_size
            found[stage.name] = length(stage, -(-expected_size(stage, samples) // size))
    return found


def schedule_place(
    stages: Sequence[Stage],
    number: int,
    lengths: Mapping[str, tuple[int, int]],
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where stage `number` starts within its schedule, and what the schedule spans, both as (epochs, steps).

    Parameters
    ----------
    lengths
        Epochs and steps of every stage by name; an estimate for those that have not begun.
    """
    within = span(stages, number)
    before = [lengths[stages[n].name] for n in within if n < number]
    whole = [lengths[stages[n].name] for n in within]
    return (
        (sum(e for e, _ in before), sum(s for _, s in before)),
        (sum(e for e, _ in whole), sum(s for _, s in whole)),
    )


def label_phase_due(stage: Stage, epoch: int) -> bool:
    """Whether a label phase comes before an epoch of the stage."""
    if stage.label_phase == "never":
        return False
    if stage.label_phase == "once":
        return epoch == 0
    return epoch % int(stage.label_phase.removeprefix("every:")) == 0
