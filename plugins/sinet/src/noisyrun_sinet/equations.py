"""SINet's numbered equations, each one pure function: tensors in, tensor out.

Cheng et al., Weakly Supervised Learning with Side Information for Noisy Labeled Images, ECCV 2020. Equations (1) and
(7), the weighted cross entropy, are the loop's own loss.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from noisyrun.api import ops

Psi = Literal["softmax", "l2"]

#: Smallest entry of a vector under the l2 norm: the divergence takes logarithms, and cosines may be negative.
FLOOR = 1e-6


def label_similarity(labels: Tensor, others: Tensor) -> Tensor:
    """S_l: cosine between label embeddings.

    Source: equation 2.

    Parameters
    ----------
    labels
        float [r, d]: label embeddings of some classes.
    others
        float [C, d]: those of all classes.

    Returns
    -------
    Tensor
        float32 [r, C], in [−1, 1]; 0 where an embedding is zero.
    """
    return ops.cosine(labels.float(), others.float())


def class_relation(label_similarity: Tensor, tree_similarity: Tensor) -> Tensor:
    """S_t: the hybrid graph, S_l + S_w.

    Source: equation 3.

    Parameters
    ----------
    label_similarity
        float [r, C]: rows of S_l.
    tree_similarity
        float [r, C]: the same rows of S_w.
    """
    return label_similarity + tree_similarity


def consistency(
    semantic: Tensor,
    visual: Tensor,
    psi: Psi = "softmax",
    temperature: float = 0.1,
    gamma: float = 2.0,
    eps: float = 1e-3,
) -> Tensor:
    """p_i: how well a sample's visual similarities agree with the relation of its class.

    Source: equation 4, 1 / (KL(ψ(s_t), ψ(s_v)) + ε)^γ. Under the l2 norm the vectors are no distributions, so they
    are clamped to at least `FLOOR` and the generalised divergence Σ p·log(p/q) − p + q takes the place of KL.

    Parameters
    ----------
    semantic
        float [R, C], or [C] when all samples have one class: rows of S_t.
    visual
        float [R, C]: cosine of each sample with the classes' initial prototypes.
    psi
        Normalisation ψ.
    temperature
        Of the softmax.
    gamma, eps
        γ > 0 and ε > 0.

    Returns
    -------
    Tensor
        float32 [R], in (0, ε^−γ].
    """
    return agreement(*semantic_side(semantic, psi, temperature), visual, psi, temperature, gamma, eps)


def semantic_side(semantic: Tensor, psi: Psi, temperature: float) -> tuple[Tensor, Tensor]:
    """What `consistency` makes of rows of S_t [..., C] alone: ψ(s_t) [..., C], and its part of the divergence [...]."""
    p = semantic.float()
    if psi == "softmax":
        p = (p / temperature).softmax(-1)
        return p, torch.xlogy(p, p).sum(-1)
    p = ops.unit(p.clamp(min=FLOOR))
    return p, (p * p.log() - p).sum(-1)


def agreement(p: Tensor, own: Tensor, visual: Tensor, psi: Psi, temperature: float, gamma: float, eps: float) -> Tensor:
    """`consistency` from what `semantic_side` gives for each sample, p [R, C] (or [C]) and own [R] (or one number)."""
    q = visual.float()
    if psi == "softmax":
        q = q / temperature
        # Cosines over so large a temperature overflow nothing: the greatest need not be found first.
        rest = q.exp().sum(-1).log() if temperature >= 1 / 64 else q.logsumexp(-1)
        divergence = own - _dot(q, p) + rest
    else:
        q = ops.unit(q.clamp(min=FLOOR))
        divergence = own - _dot(q.log(), p) + q.sum(-1)
    return (divergence.clamp(min=0) + eps) ** -gamma


def weight(distance: Tensor, alpha: float = 1.2, beta: float = 1.5) -> Tensor:
    """w: what a label counts, from the distance between the sample and its class's prototype.

    Source: equation 6, max(0, α − ‖v_c − g_i‖)^β. The clamp comes before the power: a negative base under a
    fractional exponent is no number.

    Parameters
    ----------
    distance
        float [...], in [0, 2]: Euclidean, between unit-length vectors.
    alpha, beta
        Shift and contrast, both > 0.

    Returns
    -------
    Tensor
        [...], in [0, α^β].
    """
    return (alpha - distance).clamp(min=0) ** beta


def smoothed(given: Tensor, predicted: Tensor, s: float | Tensor = 0.2) -> Tensor:
    """Top-k label smoothing: (1 − s)·given + s·predicted.

    Source: section 3.4, "Topk Label Smoothing"; the mixing is ours, as the paper gives no formula.

    Parameters
    ----------
    given, predicted
        float [R, k]: values of the given label and of the top-k predictions, over the same classes.
    s
        Share of the predictions, in [0, 1]; one for all, or [R, 1].
    """
    return (1 - s) * given + s * predicted


def _dot(rows: Tensor, weights: Tensor) -> Tensor:
    """Sum over the last axis of rows [R, C] times weights [C] or [R, C]."""
    return rows @ weights if weights.dim() == 1 else (rows * weights).sum(-1)
