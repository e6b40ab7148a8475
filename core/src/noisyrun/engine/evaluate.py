"""Predictions on a split, of one network or averaged over several networks and views, and how good they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from noisyrun.api.labels import PAD
from noisyrun.data.loader import eval_batches
from noisyrun.data.samples import Samples
from noisyrun.engine.network import Network
from noisyrun.engine.precision import Precision
from noisyrun.engine.views import Views
from noisyrun.engine.world import ALONE, World
from noisyrun.report.calibration import Calibration

#: A probability of 0, of which there is no logarithm, counts as this one.
_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class View:
    """How samples are shown to the network: where, in which size and normalised by what.

    Attributes
    ----------
    watch
        Hands on the batches, and may raise between two of them.
    """

    device: torch.device
    precision: Precision
    mean: tuple[float, ...]
    std: tuple[float, ...]
    batch_size: int = 512
    resolution: int | None = None
    watch: Callable[[Iterable[Any]], Iterator[Any]] = iter


@dataclass(frozen=True)
class Member:
    """A trained network, and how samples are shown to it.

    Attributes
    ----------
    own_val
        Whether the noisy validation of the run was held out of its training, too.
    """

    network: Network
    view: View
    own_val: bool = True


@torch.no_grad()
def predictions(
    network: Network, samples: Samples, view: View, *, part: str = "predict", rows: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions [B] and logits float32 [B, C] of samples in order; without augmentation, in evaluation mode.

    Parameters
    ----------
    part
        Method of the network that is asked: ``predict``, or ``features`` for features [B, D].
    rows
        int64 [R]: positions of the samples asked for; all by default.
    """
    was_training = network.training
    network.eval()
    try:
        for positions, inputs in _batches(samples, view, view.resolution, rows):
            with view.precision.autocast():
                out = getattr(network, part)(inputs)
            yield positions, out.float()
    finally:
        network.train(was_training)


@torch.no_grad()
def probabilities(
    members: Sequence[Member], samples: Samples, views: Views, world: World = ALONE
) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions [B] and probabilities float32 [B, C] of all samples in order, averaged over networks and views.

    Every network counts the same, and so does each of its views. Several networks that see samples alike share what is
    read; sizes are made from the images as they are stored, never from one another. Each process yields its own part.

    Yields
    ------
    tuple
        Softmax, or for a binary cross entropy the sigmoid, averaged; no more than a batch is held at a time.
    """
    sights = _sights(members, samples, views)
    streams = [_batches(samples, group[0].view, side, _share(samples, world)) for group, side in sights]
    training = [member.network.training for member in members]
    for member in members:
        member.network.eval()
    try:
        for batches in zip(*streams, strict=True):
            positions, total = batches[0][0], torch.zeros(())
            for (group, _), (_, inputs) in zip(sights, batches, strict=True):
                shown = [inputs] if samples.images is None else views(inputs)
                total = sum((_asked(member, view) for member in group for view in shown), start=total.to(inputs.device))
            yield positions, total / (len(members) * views.count)
    finally:
        for member, before in zip(members, training, strict=True):
            member.network.train(before)


def _asked(member: Member, inputs: Tensor) -> Tensor:
    with member.view.precision.autocast():
        logits = member.network.predict(inputs)
    logits = logits.float()
    return logits.sigmoid() if member.network.task.loss == "binary-cross-entropy" else logits.softmax(1)


def _sights(members: Sequence[Member], samples: Samples, views: Views) -> list[tuple[list[Member], int | None]]:
    """Networks that see samples alike, with the size in which they see them: one entry for each thing to read."""
    found: dict[tuple[object, ...], tuple[list[Member], int | None]] = {}
    for member in members:
        view = member.view
        for scale in views.scales:
            side = _side(samples, view.resolution, scale)
            found.setdefault((view.mean, view.std, side), ([], side))[0].append(member)
    return list(found.values())


def _side(samples: Samples, resolution: int | None, scale: float) -> int | None:
    if samples.images is None or scale == 1:
        return resolution
    return max(1, round(scale * (resolution or min(samples.images.shape[1:]))))


def _batches(
    samples: Samples, view: View, side: int | None, rows: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    batches = eval_batches(
        samples,
        batch_size=view.batch_size,
        device=view.device,
        mean=view.mean,
        std=view.std,
        positions=rows,
        resolution=side,
    )
    return view.watch(batches)


@dataclass(frozen=True)
class Measured:
    """How good predictions are.

    Attributes
    ----------
    numbers
        Single-label: ``accuracy`` (top-1) and, for more than five classes, ``top5``. Multi-label: ``map``, ``ap_all``,
        and ``accuracy``, which is ``map``. All in [0, 1]. Where the loss states probabilities that fit the labels (a
        cross entropy one label, a binary cross entropy several) ``ece``, ``nll`` and ``brier``, of which lower is
        better; see `noisyrun.report.calibration`.
    by_class
        One value for each of the C classes: the share of its samples recognised, or its average precision; None where
        there is no sample of it.
    """

    numbers: dict[str, float]
    by_class: list[float | None]


def evaluate(network: Network, samples: Samples, view: View, world: World = ALONE) -> Measured:
    """How good the predictions of one network are, on samples as they are; see `measure`."""
    predicted = predictions(network, samples, view, rows=_share(samples, world))
    return measure(samples, predicted, view.device, logits=True, world=world)


def evaluate_together(
    members: Sequence[Member], splits: Mapping[str, Samples | None], views: Views, world: World = ALONE
) -> dict[str, dict[str, float]]:
    """How good the averaged predictions of several networks and views are, by split: numbers of `measure`.

    Noisy validation (``val``) is left out where a network may have been trained on it.
    """
    found = {}
    for name, samples in splits.items():
        if samples is None or not len(samples) or (name == "val" and not all(member.own_val for member in members)):
            continue
        predicted = probabilities(members, samples, views, world)
        found[name] = measure(samples, predicted, members[0].view.device, logits=False, world=world).numbers
    return found


def measure(
    samples: Samples,
    predicted: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    *,
    logits: bool,
    world: World = ALONE,
) -> Measured:
    """How good predictions are; samples without a label are left out. The device is waited for at the end alone.

    Parameters
    ----------
    predicted
        Positions [B] and scores [B, C], higher is likelier.
    logits
        Whether scores are logits; probabilities otherwise.
    world
        The processes each of which predicts its part of the samples; all of them get the measures.
    """
    measured = _measure_several if samples.task.multi else _measure_one
    return measured(samples, predicted, device, logits, world)


def _measure_one(
    samples: Samples, predicted: Iterable[tuple[Tensor, Tensor]], device: torch.device, logits: bool, world: World
) -> Measured:
    classes = samples.task.num_classes
    labels = samples.labels.single.to(device)
    hits = torch.zeros(classes, dtype=torch.int64, device=device)
    hits5 = torch.zeros((), dtype=torch.int64, device=device)
    fit = Calibration(device) if samples.task.loss == "cross-entropy" else None
    wide = classes > 5
    for positions, scores in predicted:
        truth = labels[positions.to(device)]
        hits.index_add_(0, truth.clamp(min=0), (scores.argmax(1) == truth).long())
        if wide:
            hits5 += (scores.topk(5, dim=1).indices == truth[:, None]).sum()
        if fit is not None:
            fit.add(scores.log_softmax(1) if logits else scores.clamp(min=_TINY).log(), truth)
    hits, hits5 = world.total(hits), world.total(hits5)
    if fit is not None:
        fit.join(world.total)
    known = samples.labels.single[samples.labels.single != PAD]
    counts = torch.bincount(known, minlength=classes).tolist()
    total, right = max(1, len(known)), hits.tolist()
    numbers = {"accuracy": sum(right) / total}
    if wide:
        numbers["top5"] = int(hits5) / total
    if fit is not None:
        numbers |= fit.measures()
    return Measured(numbers, [hit / count if count else None for hit, count in zip(right, counts, strict=True)])


def _measure_several(
    samples: Samples, predicted: Iterable[tuple[Tensor, Tensor]], device: torch.device, logits: bool, world: World
) -> Measured:
    from noisyrun.report import metrics

    classes = samples.task.num_classes
    scores = world.gather(torch.cat([torch.zeros(0, classes), *(scores.cpu() for _, scores in predicted)]))
    truth, known = samples.labels.multi_hot(classes).bool(), samples.labels.known_mask(classes)
    by_class = metrics.average_precisions(scores, truth, known)
    mean_ap = metrics.mean(by_class)
    found = {"accuracy": mean_ap, "map": mean_ap, "ap_all": metrics.average_precision_all(scores, truth, known)}
    numbers = {name: value for name, value in found.items() if value is not None}
    if samples.task.loss == "binary-cross-entropy":
        fit = Calibration(scores.device)
        for rows in torch.arange(len(scores)).split(4096):
            fit.add_pairs(*_of_pairs(scores[rows], truth[rows].float(), logits), truth[rows], known[rows])
        numbers |= fit.measures()
    return Measured(numbers, by_class)


def _of_pairs(scores: Tensor, truth: Tensor, logits: bool) -> tuple[Tensor, Tensor]:
    """The probability that a class holds, and its binary cross entropy: [B, C] each."""
    if logits:
        return scores.sigmoid(), F.binary_cross_entropy_with_logits(scores, truth, reduction="none")
    return scores, F.binary_cross_entropy(scores.clamp(0, 1), truth, reduction="none")


@torch.no_grad()
def top_predictions(
    network: Network, samples: Samples, view: View, top: int, world: World = ALONE
) -> tuple[Tensor, Tensor]:
    """The most probable classes int64 [N, K] and their probabilities float32 [N, K], on the CPU."""
    count, own = min(top, samples.task.num_classes), world.share(len(samples))
    classes = torch.empty(len(own), count, dtype=torch.int64)
    probs = torch.empty(len(own), count)
    for positions, logits in predictions(network, samples, view, rows=_share(samples, world)):
        scores = logits.sigmoid() if samples.task.loss == "binary-cross-entropy" else logits.softmax(1)
        best = scores.topk(count, dim=1)
        rows = positions.cpu() - own.start
        classes[rows], probs[rows] = best.indices.cpu(), best.values.cpu()
    return world.gather(classes), world.gather(probs)


def _share(samples: Samples, world: World) -> Tensor | None:
    """Positions of the samples that this process predicts; None where there is no other."""
    if world.size == 1:
        return None
    own = world.share(len(samples))
    return torch.arange(own.start, own.stop)
