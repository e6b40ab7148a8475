"""The numbered equations of the paper as pure functions.

Hu, Han, Shan, Chen: Weakly Supervised Image Classification through Noise Regularization, CVPR 2019.

No loss takes a probability: −y·ln σ(x) − (1−y)·ln(1−σ(x)) is softplus(x) − y·x, which is finite for every logit x.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
}


def mapping(
    features: Tensor,
    inner: tuple[Tensor, Tensor],
    outer: tuple[Tensor, Tensor],
    activation: Callable[[Tensor], Tensor],
) -> Tensor:
    """F_c or F_r: linear, activation, linear.

    Parameters
    ----------
    features
        f(x), [B, D].
    inner, outer
        Weights [H, D] and [C, H], each with its bias.

    Returns
    -------
    Tensor
        c or r, [B, C].

    source: equations 1 and 3
    """
    return functional.linear(activation(functional.linear(features, *inner)), *outer)


def clean_probability(c: Tensor) -> Tensor:
    """g = σ(c), [B, C]. source: equation 2."""
    return torch.sigmoid(c)


def noisy_logits(r: Tensor, c: Tensor) -> Tensor:
    """r + c, [B, C], whose σ is h: summed before the sigmoid, and c is not detached.

    source: equation 4
    """
    return r + c


def noisy_probability(r: Tensor, c: Tensor) -> Tensor:
    """h = σ(r + c), [B, C]. source: equation 4."""
    return torch.sigmoid(noisy_logits(r, c))


def cross_entropy(logits: Tensor, labels: Tensor, known: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross entropy of each sample: the sum over the classes whose label is known.

    The paper's y·ln(h) is taken as a product of vectors. A mean would make the gradient of a logit smaller the more
    classes there are, and SGD at usual rates slow.

    Parameters
    ----------
    logits
        Of the probability, [B, C].
    labels
        In [0, 1], [B, C].
    known
        bool [B, C]: the pairs that count.
    weights
        [B, C]: how much each pair counts; 1 by default.

    Returns
    -------
    Tensor
        [B]; 0 for a sample of which nothing is known.

    source: the terms of equations 5 and 6
    """
    losses = functional.softplus(logits) - labels * logits
    losses = losses if weights is None else losses * weights
    return torch.where(known, losses, 0.0).sum(1)


def mean_over(losses: Tensor, own: Tensor) -> Tensor:
    """L_noise or L_clean: the mean [] of the losses [B] over a set's own samples, bool [B]; 0 where it has none.

    source: equations 5 and 6
    """
    return torch.where(own, losses, 0.0).sum() / own.sum().clamp(min=1)


def objective(clean: Tensor, noise: Tensor, alpha: float) -> Tensor:
    """α·L_clean + L_noise, []. source: equation 7."""
    return alpha * clean + noise
