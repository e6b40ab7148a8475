"""What a run will cost: a few real steps of the network on the run's device, times how many there will be."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from noisyrun.api.stage import Stage
from noisyrun.bank.sizes import choose_residence, parse_memory
from noisyrun.config.settings import EvalSettings
from noisyrun.data.samples import Data, Samples
from noisyrun.engine.device import device_of
from noisyrun.engine.network import Network, Step
from noisyrun.engine.optim import make_optimizer
from noisyrun.engine.precision import Precision
from noisyrun.engine.stages import expected_size
from noisyrun.engine.views import Views
from noisyrun.plan import Plan

#: Seconds to spend on measuring each of the two passes, and the fewest repetitions.
BUDGET, LEAST = 1.0, 3

#: Values that a measured batch may hold: a plan must not need the memory of the run it plans.
VALUES = 1 << 22


@dataclass(frozen=True)
class Cost:
    """An estimate.

    Attributes
    ----------
    device
        Where it was measured.
    step
        Seconds of a training step, on average over the stages.
    forward
        Seconds to bring one sample through the network without training.
    steps, rounds
        Training steps and label phases of the whole run.
    training, features, evaluation
        Seconds of all steps, of the features of all label phases, and of all evaluations. What methods compute
        on the features comes on top.
    bank
        Bytes of the features that a label phase sees.
    residence
        Where they will live: gpu, memory or disk.
    parameters
        Trainable parameters of the network.
    """

    device: str
    step: float
    forward: float
    steps: int
    rounds: int
    training: float
    features: float
    evaluation: float
    bank: int
    residence: str
    parameters: int

    @property
    def total(self) -> float:
        """Seconds of the run."""
        return self.training + self.features + self.evaluation


def estimate(plan: Plan, data: Data) -> Cost:
    """Measure a few steps and say what the run will take; a baseline doubles the training."""
    settings, train = plan.config.settings, data.train
    device = device_of(settings.device)
    assert plan.methods.backbone is not None
    with torch.random.fork_rng():
        network = Network(plan.methods.backbone, data.task).to(device)
    precision = Precision(settings.train.amp, device)
    size = _affordable(train, settings.batch_size)
    sample = _time(_training_step(network, train, size, plan, precision, device), device) / size
    many = _affordable(train, settings.eval.batch_size)
    forward = _time(_forward(network, train, many, precision, device), device) / many
    steps, epochs, training = 0, 0, 0.0
    for stage in plan.stages:
        count = expected_size(stage, train)
        batch = min(stage.batch_size or settings.batch_size, count)
        each = math.ceil(count / batch)
        steps += stage.steps or each * (stage.epochs or 0)
        epochs += stage.epochs or math.ceil((stage.steps or 0) / each)
        seen = stage.steps * batch if stage.steps else count * (stage.epochs or 0)
        training += seen * sample * _pixels(stage, train)
    rounds = sum(label_phases(stage, train, settings.batch_size) for stage in plan.stages)
    evaluated = sum(len(part) for part in (data.val, data.test) if part is not None)
    evaluations = math.ceil(epochs / settings.eval.every) + _at_the_end(settings.eval)
    runs = 2 if settings.baseline else 1
    bank = len(train) * network.dim * 4
    return Cost(
        device=str(device),
        step=training / steps,
        forward=forward,
        steps=steps * runs,
        rounds=rounds,
        training=training * runs,
        features=forward * len(train) * rounds,
        evaluation=forward * evaluated * evaluations * runs,
        bank=bank if rounds else 0,
        residence=choose_residence(settings.bank.residence, bank, device, parse_memory(settings.bank.memory)),
        parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
    )


def label_phases(stage: Stage, train: Samples, batch_size: int) -> int:
    """How many label phases a stage has."""
    if stage.label_phase == "never":
        return 0
    if stage.label_phase == "once":
        return 1
    each = math.ceil(expected_size(stage, train) / (stage.batch_size or batch_size))
    epochs = stage.epochs or math.ceil((stage.steps or 0) / each)
    return math.ceil(epochs / int(stage.label_phase.removeprefix("every:")))


def _at_the_end(settings: EvalSettings) -> float:
    """What averaging over views and networks costs, in plain evaluations of one network as large as this run's."""
    views, others = Views.of(settings), len(settings.ensemble)
    if views.plain and not others:
        return 0.0
    share = settings.crop_share**2 if settings.crops > 1 else 1.0
    each = views.count / len(views.scales) * share
    return each * math.fsum(scale**2 for scale in views.scales) * (1 + others)


def _affordable(train: Samples, wanted: int) -> int:
    """How many samples to measure with: as many as the run takes at a time, within reason."""
    task = train.task
    values = (task.channels or 1) * math.prod(task.image_size) if task.image_size else task.feature_dim or 1
    return max(1, min(wanted, len(train), VALUES // values))


def _pixels(stage: Stage, train: Samples) -> float:
    """How many times the pixels of the data a stage's resolution has."""
    if stage.resolution is None or train.task.image_size is None:
        return 1.0
    return stage.resolution**2 / math.prod(train.task.image_size)


def _inputs(train: Samples, count: int, device: torch.device) -> Tensor:
    positions = torch.arange(count)
    if train.images is None:
        assert train.features is not None
        return train.features[positions].float().to(device)
    return train.images.load(positions).to(device).float() / 255


def _training_step(
    network: Network, train: Samples, size: int, plan: Plan, precision: Precision, device: torch.device
) -> Callable[[], object]:
    inputs, labels = _inputs(train, size, device), train.labels.take(torch.arange(size)).to(device)
    network.train()
    network.freeze("head" if plan.config.settings.train.freeze_backbone else "all")
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = make_optimizer(parameters, plan.config.settings.train.optimizer)

    def step() -> None:
        with precision.autocast():
            loss, _ = network(inputs, Step(labels))
        precision.step(loss, optimizer, None, parameters)

    return step


def _forward(
    network: Network, train: Samples, count: int, precision: Precision, device: torch.device
) -> Callable[[], object]:
    inputs = _inputs(train, count, device)

    def forward() -> None:
        network.eval()
        with torch.inference_mode(), precision.autocast():
            network.head(network.features(inputs))

    return forward


def _time(action: Callable[[], object], device: torch.device) -> float:
    """Median seconds of an action, after one that warms up."""
    began = time.perf_counter()
    action()
    if time.perf_counter() - began > 5 * BUDGET:
        return time.perf_counter() - began
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < LEAST or (time.perf_counter() - began < BUDGET and len(seconds) < 20):
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[len(seconds) // 2]
