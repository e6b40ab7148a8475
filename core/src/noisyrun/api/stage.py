"""One stage of a run."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from noisyrun.api.needs import Batches

_SAMPLES = re.compile(r"(all|clean|verified|weight>=\d*\.?\d+|top:(0?\.\d+|1(\.0+)?))\Z")
_PHASE = re.compile(r"(never|once|every:[1-9]\d*)\Z")
_START = re.compile(r"(continue|initial|stage:.+)\Z")


def _samples(value: str) -> str:
    if not _SAMPLES.match(value):
        raise ValueError("must be all, clean, verified, weight>=T or top:SHARE")
    return value


def _label_phase(value: str) -> str:
    if not _PHASE.match(value):
        raise ValueError("must be never, once or every:N (epochs)")
    return value


def _weights_from(value: str) -> str:
    if not _START.match(value):
        raise ValueError("must be continue, initial or stage:NAME")
    return value


def _batches(value: str | None) -> str | None:
    if value is not None:
        Batches.parse(value)
    return value


class Optimizer(BaseModel):
    """Optimiser of a stage."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Literal["sgd", "adam", "adamw", "rmsprop"] = Field("sgd", description="Optimiser.")
    lr: float = Field(0.05, gt=0, description="Learning rate at its highest.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum (SGD, RMSprop).")
    nesterov: bool = Field(False, description="Nesterov momentum (SGD).")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay.")
    clip: float | None = Field(None, gt=0, description="Clip the gradient to this norm; none by default.")


class Schedule(BaseModel):
    """How the learning rate changes within a stage."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Literal["constant", "step", "exponential", "cosine"] = Field("cosine", description="Schedule.")
    by: Literal["epoch", "step"] = Field("step", description="Unit in which it advances, and of the fields below.")
    milestones: tuple[int, ...] = Field((), description="step: where the rate is multiplied by gamma.")
    every: int = Field(1, ge=1, description="exponential: multiply by gamma after so many units.")
    gamma: float = Field(0.1, gt=0, le=1, description="step, exponential: the factor.")
    warmup: int = Field(0, ge=0, description="Units of linear warm-up at the start.")
    final: float = Field(0.0, ge=0, le=1, description="cosine: share of the rate left at the end.")

    @model_validator(mode="after")
    def _steps_somewhere(self) -> Schedule:
        if self.name == "step" and not self.milestones:
            raise ValueError("a step schedule needs milestones, such as 30,60; without any the rate would never change")
        return self


class Stage(BaseModel):
    """One stage of a run: what trains, on which samples, for how long, and when the labels are looked at.

    A recipe brings a list of them. The default list is warm-up, rounds, and fine-tuning where there is a clean subset.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(description="Name; later stages and predictions refer to it.")
    epochs: int | None = Field(None, ge=1, description="Epochs; this or steps.")
    steps: int | None = Field(None, ge=1, description="Steps; this or epochs.")
    samples: Annotated[str, AfterValidator(_samples)] = Field(
        "all", description="Samples it trains on: all, clean, verified, weight>=T, or top:SHARE by score."
    )
    targets: Literal["corrected", "observed", "trusted", "mixed"] = Field(
        "corrected",
        description="Labels it trains on: corrected, observed, trusted (as the clean subset usually does), or mixed: "
        "trusted where there is one (in multi-label data: for each class that is known), else observed.",
    )
    weighted: bool = Field(True, description="Whether weights count in its loss.")
    trains: Literal["all", "head", "parts"] = Field(
        "all", description="What trains: everything, the head and the parts, or the parts alone."
    )
    online: bool = Field(
        True,
        description="Whether the parts of the network that methods bring take part. Without them the backbone's own "
        "head trains on the loop's loss, and predicts.",
    )
    batches: Annotated[str | None, AfterValidator(_batches)] = Field(
        None,
        description="How batches are drawn: uniform, bags:N (of one class) or mix:CLEAN:NOISY, as in mix:1:9; as the "
        "methods that take part ask, by default.",
    )
    label_phase: Annotated[str, AfterValidator(_label_phase)] = Field(
        "never", description="Label phase: never, once (before the first epoch), or every:N epochs."
    )
    weights_from: Annotated[str, AfterValidator(_weights_from)] = Field(
        "continue", description="Network it starts from: continue, initial, or stage:NAME."
    )
    resolution: int | None = Field(None, ge=8, description="Side of the images in pixels; that of the data by default.")
    scale: float | None = Field(
        None, gt=0, le=4, description="In place of resolution: side of the images relative to that of the data."
    )
    batch_size: int | None = Field(None, ge=1, description="Batch size; the run's by default.")
    optimizer: Optimizer | None = Field(None, description="Optimiser; the run's by default.")
    schedule: Schedule | None = Field(None, description="Schedule of the learning rate; the run's by default.")
    while_gains: bool = Field(
        False,
        description="Skip the stage unless the one before it raised the best accuracy on noisy validation: alternating "
        "rounds that go on until there is no gain.",
    )
    keep_predictions: str | None = Field(
        None, description="Keep predictions of all training samples at the end, under this name."
    )

    @model_validator(mode="after")
    def _trains_something(self) -> Stage:
        if self.trains == "parts" and not self.online:
            raise ValueError(f"stage {self.name!r}: trains = 'parts' without them (online = false) would train nothing")
        return self

    @model_validator(mode="after")
    def _one_length(self) -> Stage:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(f"stage {self.name!r}: give epochs or steps, one of the two")
        if self.resolution is not None and self.scale is not None:
            raise ValueError(f"stage {self.name!r}: give resolution or scale, one of the two")
        return self
