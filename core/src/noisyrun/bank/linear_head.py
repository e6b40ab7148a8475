"""A linear classifier on features, for data that comes without logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from noisyrun.api.labels import PAD, Labels
from noisyrun.api.task import Task

#: Values of the matrix that is fitted, at most: 512 MB in single precision. More samples than that are drawn from.
_VALUES = 1 << 27
#: Logits held at once. Whole matrices of them, allocated at every step, would leave holes in memory that add up to GBs.
_LOGITS = 1 << 18


def fit_linear_head(
    features: Tensor, labels: Labels, task: Task, *, seed: int, device: torch.device, penalty: float = 1.0
) -> nn.Module:
    """Multinomial logistic regression on standardised features (one logistic regression a class in multi-label data).

    Parameters
    ----------
    features
        Float [N, D].
    labels
        Observed labels; samples without one do not count.
    seed
        Draws the samples, where there are too many to fit at once.
    penalty
        Half the squared norm of the weights counts as much as `penalty` times one sample's loss.

    Returns
    -------
    nn.Module
        Raw features [B, D] → logits [B, C].
    """
    rows = (labels.classes != PAD).any(1).nonzero()[:, 0]
    most = max(1, _VALUES // features.shape[1])
    if len(rows) > most:
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:most]
        rows = rows[order.sort().values]
    taken = (features if len(rows) == len(features) else features[rows]).to(device).float()
    mean, std = taken.mean(0), taken.std(0, correction=0).clamp(min=1e-6)
    inputs = (taken - mean).div_(std)
    del taken
    weight = torch.zeros(task.num_classes, features.shape[1], device=device, requires_grad=True)
    bias = torch.zeros(task.num_classes, device=device, requires_grad=True)
    size = max(256, _LOGITS // task.num_classes)
    wanted = labels.take(rows).to(device)
    places = torch.arange(len(inputs), device=device)
    parts = [(part, wanted.take(at)) for part, at in zip(inputs.split(size), places.split(size))]
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, tolerance_change=1e-7, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = penalty * (weight * weight).sum() / (2 * len(inputs))
        loss.backward()
        total = loss.detach()
        for features, own in parts:
            loss = _loss(functional.linear(features, weight, bias), own, task) / len(inputs)
            loss.backward()
            total = total + loss.detach()
        return total

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[arg-type]
    head = nn.Linear(features.shape[1], task.num_classes, device=device)
    with torch.no_grad():
        # The standardisation is folded in, so that the head takes raw features.
        head.weight.copy_(weight / std)
        head.bias.copy_(bias - weight @ (mean / std))
    return head.requires_grad_(False)


def _loss(logits: Tensor, labels: Labels, task: Task) -> Tensor:
    """Loss of the samples, added up."""
    if not task.multi:
        return functional.cross_entropy(logits, labels.single, reduction="sum")
    known = labels.known_mask(task.num_classes)
    each = functional.binary_cross_entropy_with_logits(logits, labels.multi_hot(task.num_classes), reduction="none")
    return (each * known).sum()
