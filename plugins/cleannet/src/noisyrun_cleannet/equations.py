"""CleanNet's equations, one pure function each: tensors in, tensors out, any floating dtype, any device.

Equations (14) and (15), the weighted loss, are the loop's own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def log_input(features: Tensor) -> Tensor:
    """log(1 + x) of features ≥ 0, [..., D]: tames the long tail of rectified features.

    source: the authors' settings (the paper is silent)
    """
    return features.log1p()


def unit_input(features: Tensor) -> Tensor:
    """Features [..., D] at unit length, for those with negative values, of which there is no such logarithm.

    source: ours
    """
    return functional.normalize(features, dim=-1)


def attention_hidden(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """u_i = tanh(W·h_i + b): what attention looks at.

    Parameters
    ----------
    hidden
        [..., P, H]: h_i of each reference.
    weight, bias
        W [A, H] and b [A].

    Returns
    -------
    Tensor
        [..., P, A], from −1 to 1.

    source: equation 2
    """
    return functional.linear(hidden, weight, bias).tanh()


def attention(hidden: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
    """α_i: softmax of u_i·u over the references of a set.

    Parameters
    ----------
    hidden
        u_i, [..., P, A].
    context
        u, [A].
    mask
        bool [..., P]: which references exist; all by default. At least one in every set.

    Returns
    -------
    Tensor
        [..., P], sums to 1; 0 where masked.

    source: equation 3
    """
    scores = hidden @ context
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1)


def attended(weights: Tensor, hidden: Tensor) -> Tensor:
    """h = Σ α_i h_i: one vector for a set of references.

    Parameters
    ----------
    weights
        α, [..., P].
    hidden
        h_i, [..., P, H].

    Returns
    -------
    Tensor
        [..., H].

    source: equation 4
    """
    return (weights.unsqueeze(-2) @ hidden).squeeze(-2)


def reconstruction_error(features: Tensor, rebuilt: Tensor) -> Tensor:
    """L_r = ‖v − r(v)‖² of each query, [B, D] twice → [B]; summed over dimensions, as written.

    source: equation 5
    """
    return (features - rebuilt).square().sum(-1)


def matching_loss(cosines: Tensor, relevance: Tensor, omega: float, rho: float) -> Tensor:
    """L_cos of each query: 1 − cos where the label is right, ω·max(0, cos − ρ) where it is wrong.

    Parameters
    ----------
    cosines
        cos(φ_q, φ_s), [B].
    relevance
        l, [B]: 1 verified right, 0 verified wrong, −1 not verified.
    omega
        How much more a wrong label counts.
    rho
        Margin: a wrong label costs nothing below this cosine.

    Returns
    -------
    Tensor
        [B], ≥ 0; 0 where not verified.

    source: equation 6
    """
    wrong = omega * (cosines - rho).clamp(min=0)
    return torch.where(relevance == 1, 1 - cosines, torch.where(relevance == 0, wrong, 0.0))


def pseudo_relevance(cosines: Tensor, rho: float) -> Tensor:
    """l_sudo, bool [B]: a query that is not verified counts as relevant where its cosine is at least ρ.

    source: equation 8
    """
    return cosines >= rho


def unsupervised_loss(cosines: Tensor, rho: float) -> Tensor:
    """L_cos^unsup of each query, [B]: 1 − cos where it counts as relevant, else 0.

    source: equation 7
    """
    return torch.where(pseudo_relevance(cosines, rho), 1 - cosines, 0.0)


def total_loss(
    cosines: Tensor,
    relevance: Tensor,
    errors: Tensor,
    *,
    omega: float = 5.0,
    rho: float = 0.1,
    beta: float = 0.1,
    gamma: float = 0.1,
) -> Tensor:
    """L_total = L_cos + β·L_r + t·γ·L_cos^unsup of each query, [B]; t is 1 where it is not verified.

    Parameters
    ----------
    cosines, relevance, errors
        cos(φ_q, φ_s), l and L_r, [B] each.
    omega, rho
        As in `matching_loss`.
    beta, gamma
        Shares of the reconstruction error and of the unsupervised loss.

    source: equations 9 and 10
    """
    unverified = (relevance == -1).to(cosines.dtype)
    supervised = matching_loss(cosines, relevance, omega, rho)
    return supervised + beta * errors + gamma * unverified * unsupervised_loss(cosines, rho)


def relevant(cosines: Tensor, delta: float) -> Tensor:
    """l̂, bool [R]: the label is held right where the cosine is at least δ.

    source: equation 11
    """
    return cosines >= delta


def soft_weight(cosines: Tensor) -> Tensor:
    """w_soft = max(0, cos), [R].

    source: equation 12
    """
    return cosines.clamp(min=0)


def hard_weight(cosines: Tensor, delta: float) -> Tensor:
    """w_hard, [R]: 1 where the cosine is at least δ, else 0.

    source: equation 13
    """
    return relevant(cosines, delta).to(cosines.dtype)


def average_error(wrong: Tensor, relevance: Tensor, classes: Tensor) -> float:
    """Error rate of a detection, averaged over the classes that have verified samples.

    Parameters
    ----------
    wrong
        bool [n]: held wrong.
    relevance
        [n]: 1 right, 0 wrong.
    classes
        int64 [n]: the label that was judged. n ≥ 1.

    source: section 4.2
    """
    return float((_class_share(classes) * (wrong == (relevance == 1))).sum())


def best_threshold(cosines: Tensor, relevance: Tensor, classes: Tensor) -> tuple[float, float]:
    """δ of least average error over classes, one for all of them, and that error.

    Parameters
    ----------
    cosines
        float [n], n ≥ 1.
    relevance
        [n]: 1 right, 0 wrong.
    classes
        int64 [n].

    Returns
    -------
    tuple of float
        δ, between two cosines where there are any on both sides of it; of several that are equally good, the one in
        the middle.

    source: equation 11, "a threshold selected through cross-validation"; the measure of section 4.2
    """
    order = cosines.argsort(stable=True)
    values, right = cosines[order].double(), relevance[order] == 1
    share = _class_share(classes)[order]
    # Place k of n + 1: the k lowest cosines are held wrong.
    missed = torch.where(right, share, -share).cumsum(0)
    error = torch.cat([missed.new_zeros(1), missed]) + (share * ~right).sum()
    # Equal cosines fall on one side.
    error[1:-1][values[1:] == values[:-1]] = torch.inf
    # Sums in another order differ by rounding; thresholds that differ by less are as good as each other.
    best = (error <= error.min() + 1e-9).nonzero()[:, 0]
    place = int(best[len(best) // 2])
    low = values[max(place - 1, 0)]
    high = values[min(place, len(values) - 1)]
    middle = float((low + high) / 2)
    if place == len(values):
        middle = float(torch.nextafter(values[-1].float(), values.new_tensor(torch.inf).float()))
    return middle, float(error[place].clamp(min=0))


def _class_share(classes: Tensor) -> Tensor:
    """float64 [n]: 1 / (samples of the class · number of classes), so that every class counts the same."""
    _, which, counts = classes.unique(return_inverse=True, return_counts=True)
    return 1 / (counts[which].double() * len(counts))
