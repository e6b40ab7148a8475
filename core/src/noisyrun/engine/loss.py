"""The loss of a step: observed and corrected labels, each with its own weight."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from noisyrun.api.labels import PAD, Labels, Targets, scatter

LossName = Literal["cross-entropy", "binary-cross-entropy"]


def step_loss(
    logits: Tensor,
    labels: Labels,
    targets: Targets | None = None,
    weights: Tensor | None = None,
    target_weights: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    loss: LossName = "cross-entropy",
    multi: bool = False,
    smoothing: float = 0.0,
    count: Tensor | None = None,
) -> Tensor:
    """Σ_i [(1−α_i)·w(i,y_i)·ℓ(y_i) + α_i·Σ_k v_ik·w(i,ŷ_ik)·ℓ(ŷ_ik)] / B.

    ℓ is cross entropy, or binary cross entropy averaged over the classes. In a multi-label task the sum over k becomes
    one binary cross entropy over all known classes with targets in [0, 1], averaged over them: listed classes carry
    their weight, the others weigh 1. A label that is `PAD` counts nothing, and B is the number of samples that carry
    a label and are no padding.

    Parameters
    ----------
    logits
        [B, C]; computed in float32 at least.
    labels
        Observed labels.
    targets
        Corrected labels; None is the same as α = 0 everywhere.
    weights, target_weights
        float [B, k] of each observed, [B, kt] of each corrected label; None: 1.
    mask
        bool [B], False for padding.
    smoothing
        s: cross entropy mixes in the uniform distribution, (1−s)·ℓ(y) + s·mean_c ℓ(c); binary cross entropy
        draws its targets to (1−s)·t + s/2.
    count
        B in place of that of these samples: a scalar, where they are a part of the batch; see `counted`.

    Returns
    -------
    Tensor
        A scalar; 0 for a batch without any label.
    """
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    if multi and loss == "binary-cross-entropy":
        values, counts = _multi_label(logits, labels, targets, weights, target_weights, smoothing)
    else:
        values, counts = _single_label(logits, labels, targets, weights, target_weights, loss, smoothing)
    if mask is not None:
        counts = counts & mask
    return torch.where(counts, values, 0.0).sum() / (counts.sum().clamp(min=1) if count is None else count)


def counted(
    labels: Labels,
    targets: Targets | None = None,
    mask: Tensor | None = None,
    *,
    num_classes: int,
    loss: LossName = "cross-entropy",
    multi: bool = False,
) -> Tensor:
    """bool [B]: the samples that `step_loss` takes the mean over."""
    pairs = multi and loss == "binary-cross-entropy"

    def carries(one: Labels) -> Tensor:
        return (one.known_mask(num_classes) if pairs else one.classes != PAD).any(1)

    counts = carries(labels)
    if targets is not None:
        counts = counts | ((targets.alpha > 0) & carries(Labels(targets.classes, targets.known)))
    return counts if mask is None else counts & mask


def _single_label(
    logits: Tensor,
    labels: Labels,
    targets: Targets | None,
    weights: Tensor | None,
    target_weights: Tensor | None,
    loss: LossName,
    smoothing: float,
) -> tuple[Tensor, Tensor]:
    """Loss [B] of each sample and whether it carries a label, bool [B].

    Several observed labels (a multi-label task under cross entropy) share the sample evenly.
    """
    shared = _shared_term(logits, loss, smoothing)
    present = (labels.classes != PAD).to(logits.dtype)
    share = present / present.sum(1, keepdim=True).clamp(min=1)
    observed = _mixture(logits, shared, labels.classes, share, weights, loss, smoothing)
    counted = present.any(1)
    if targets is None:
        return observed, counted
    values = targets.values.to(logits.dtype)
    values = values / values.sum(1, keepdim=True).clamp(min=1e-12)
    corrected = _mixture(logits, shared, targets.classes, values, target_weights, loss, smoothing)
    alpha = targets.alpha.to(logits.dtype)
    # Without an observed label there is nothing to mix with: its share is simply not there.
    return (1 - alpha) * observed + alpha * corrected, counted | ((alpha > 0) & (targets.classes != PAD).any(1))


def _shared_term(logits: Tensor, loss: LossName, smoothing: float) -> Tensor:
    """[B, 1]: the part of ℓ(k) that is the same for every class k."""
    if loss == "cross-entropy":
        shared = torch.logsumexp(logits, 1, keepdim=True)
        return shared - smoothing * logits.mean(1, keepdim=True) if smoothing else shared
    shared = functional.softplus(logits).mean(1, keepdim=True)
    return shared - 0.5 * smoothing * logits.mean(1, keepdim=True) if smoothing else shared


def _mixture(
    logits: Tensor,
    shared: Tensor,
    classes: Tensor,
    values: Tensor,
    weights: Tensor | None,
    loss: LossName,
    smoothing: float,
) -> Tensor:
    """Σ_k v_k·w_k·ℓ(k) of each sample, [B]; ℓ(k) = shared − (1−s)·x_k, over C for binary cross entropy."""
    scale = (1 - smoothing) if loss == "cross-entropy" else (1 - smoothing) / logits.shape[1]
    losses = shared - scale * logits.gather(1, classes.clamp(min=0))
    share = values if weights is None else values * weights
    return (losses * share).sum(1)


def _multi_label(
    logits: Tensor,
    labels: Labels,
    targets: Targets | None,
    weights: Tensor | None,
    target_weights: Tensor | None,
    smoothing: float,
) -> tuple[Tensor, Tensor]:
    """Binary cross entropy [B] of each sample over its known classes, and whether it has any, bool [B]."""
    count = logits.shape[1]
    known = labels.known_mask(count)
    dense = labels.multi_hot(count).clamp(max=1)
    observed = _binary(logits, dense, _dense_weights(labels.classes, weights, count), known, smoothing)
    if targets is None:
        return observed, known.any(1)
    target_known = Labels(targets.classes, targets.known).known_mask(count)
    spread = _dense_weights(targets.classes, target_weights, count)
    corrected = _binary(logits, targets.dense(count).clamp(max=1), spread, target_known, smoothing)
    alpha = targets.alpha.to(logits.dtype)
    return (1 - alpha) * observed + alpha * corrected, known.any(1) | ((alpha > 0) & target_known.any(1))


def _binary(logits: Tensor, dense: Tensor, weights: Tensor | None, known: Tensor, smoothing: float) -> Tensor:
    dense = dense.to(logits.dtype)
    if smoothing:
        dense = dense * (1 - smoothing) + 0.5 * smoothing
    losses = functional.binary_cross_entropy_with_logits(logits, dense, reduction="none")
    share = known.to(logits.dtype) if weights is None else known * weights
    return (losses * share).sum(1) / known.sum(1).clamp(min=1)


def _dense_weights(classes: Tensor, weights: Tensor | None, count: int) -> Tensor | None:
    """[B, C]: the weights of listed classes in their places, 1 elsewhere."""
    return None if weights is None else 1 + scatter(classes, weights - 1, count)
