"""Predictions of the network on a split, and how good they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from noisyrun.api.labels import PAD
from noisyrun.data.loader import eval_batches
from noisyrun.data.samples import Samples
from noisyrun.engine.network import Network
from noisyrun.engine.precision import Precision


@dataclass(frozen=True)
class View:
    """How samples are shown to the network: where, in which size and normalised by what."""

    device: torch.device
    precision: Precision
    mean: tuple[float, ...]
    std: tuple[float, ...]
    batch_size: int = 512
    resolution: int | None = None


@torch.no_grad()
def predictions(
    network: Network, samples: Samples, view: View, *, part: str = "predict"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions [B] and logits float32 [B, C] of all samples in order; without augmentation, in evaluation mode.

    Parameters
    ----------
    part
        Method of the network that is asked: ``predict``, or ``features`` for features [B, D].
    """
    was_training = network.training
    network.eval()
    try:
        for positions, inputs in eval_batches(
            samples,
            batch_size=view.batch_size,
            device=view.device,
            mean=view.mean,
            std=view.std,
            resolution=view.resolution,
        ):
            with view.precision.autocast():
                out = getattr(network, part)(inputs)
            yield positions, out.float()
    finally:
        network.train(was_training)


def evaluate(network: Network, samples: Samples, view: View) -> dict[str, float]:
    """How good the predictions are; samples without a label are left out.

    Returns
    -------
    dict
        Single-label: ``accuracy`` (top-1) and, for more than five classes, ``top5``. Multi-label: ``map``, ``ap_all``,
        and ``accuracy``, which is ``map``. All in [0, 1].
    """
    if samples.task.multi:
        return _evaluate_multi(network, samples, view)
    labels = samples.labels.single.to(view.device)
    right = torch.zeros((), dtype=torch.int64, device=view.device)
    right5, count = right.clone(), right.clone()
    wide = samples.task.num_classes > 5
    for positions, logits in predictions(network, samples, view):
        truth = labels[positions.to(view.device)]
        count += (truth != PAD).sum()
        right += (logits.argmax(1) == truth).sum()
        if wide:
            right5 += (logits.topk(5, dim=1).indices == truth[:, None]).sum()
    total = max(1, int(count))
    result = {"accuracy": int(right) / total}
    if wide:
        result["top5"] = int(right5) / total
    return result


def _evaluate_multi(network: Network, samples: Samples, view: View) -> dict[str, float]:
    from noisyrun.report import metrics

    classes = samples.task.num_classes
    scores = torch.cat([logits.cpu() for _, logits in predictions(network, samples, view)])
    truth, known = samples.labels.multi_hot(classes).bool(), samples.labels.known_mask(classes)
    mean_ap, ap_all = (
        metrics.mean_average_precision(scores, truth, known),
        metrics.average_precision_all(scores, truth, known),
    )
    found = {"accuracy": mean_ap, "map": mean_ap, "ap_all": ap_all}
    return {name: value for name, value in found.items() if value is not None}


@torch.no_grad()
def top_predictions(network: Network, samples: Samples, view: View, top: int) -> tuple[Tensor, Tensor]:
    """The most probable classes int64 [N, K] and their probabilities float32 [N, K], on the CPU."""
    count = min(top, samples.task.num_classes)
    classes = torch.empty(len(samples), count, dtype=torch.int64)
    probs = torch.empty(len(samples), count)
    for positions, logits in predictions(network, samples, view):
        scores = logits.sigmoid() if samples.task.loss == "binary-cross-entropy" else logits.softmax(1)
        best = scores.topk(count, dim=1)
        classes[positions.cpu()], probs[positions.cpu()] = best.indices.cpu(), best.values.cpu()
    return classes, probs


def all_features(network: Network, samples: Samples, view: View) -> Tensor:
    """Features float32 [N, D] of all samples, on the device."""
    made = torch.empty(len(samples), network.dim, device=view.device)
    for positions, features in predictions(network, samples, view, part="features"):
        made[positions.to(view.device)] = features
    return made
