"""Label noise to order: flips of clean labels, drawn by the samples' stable index.

Each kind is one pure function of (labels, index, seed): the same flips wherever and however often it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from noisyrun.api import UserError
from noisyrun.data.hashing import below, key, normal, order, uniform


def symmetric(labels: Tensor, num_classes: int, rate: float, index: Tensor, seed: int) -> Tensor:
    """Flip to a class drawn uniformly from the C − 1 others.

    The number of flips is exact over the data set, round(rate · N), as in the field's CIFAR protocols; unlike the
    variant that draws from all C classes, every flip changes the label.

    Parameters
    ----------
    labels
        int64 [N], `PAD` where a sample has none.
    index
        int64 [N]: stable index, which decides the draws.

    Returns
    -------
    Tensor
        int64 [N].
    """

    def other(rows: Tensor) -> Tensor:
        step = 1 + below(key("noise", "class", seed), index[rows], num_classes - 1)
        return (labels[rows] + step) % num_classes

    return _flip_share(labels, labels >= 0, rate, index, seed, other)


def asymmetric(labels: Tensor, targets: Sequence[int], rate: float, index: Tensor, seed: int) -> Tensor:
    """Flip class c to ``targets[c]``.

    The number of flips is exact in each class, round(rate · N_c). Classes that map to themselves stay clean.

    Parameters
    ----------
    labels, index
        int64 [N].
    targets
        C classes: what each is mistaken for.
    """
    to = torch.as_tensor(targets, dtype=torch.int64)
    out = labels.clone()
    for c in range(len(targets)):
        if int(to[c]) != c:
            out = _flip_share(out, labels == c, rate, index, seed, lambda rows: to[labels[rows]])
    return out


def pair(labels: Tensor, num_classes: int, rate: float, index: Tensor, seed: int) -> Tensor:
    """Flip class c to c + 1, the last to the first; exact in each class, round(rate · N_c)."""
    return asymmetric(labels, next_class(num_classes), rate, index, seed)


def next_class(num_classes: int) -> list[int]:
    """The map of pair flips, and of asymmetric noise unless a file gives another."""
    return [(c + 1) % num_classes for c in range(num_classes)]


def _flip_share(
    labels: Tensor, among: Tensor, rate: float, index: Tensor, seed: int, to: Callable[[Tensor], Tensor]
) -> Tensor:
    """Flip exactly round(rate · n) of the n samples in a mask, those that come first in a drawn order."""
    rows = among.nonzero()[:, 0]
    drawn = rows[order(key("noise", "rows", seed), index[rows])[: round(rate * len(rows))]]
    out = labels.clone()
    out[drawn] = to(drawn)
    return out


def transition(labels: Tensor, matrix: Tensor, index: Tensor, seed: int) -> Tensor:
    """Draw each label from its class's row of a matrix.

    The rate is exact in expectation, not in number: every sample draws for itself.

    Parameters
    ----------
    labels, index
        int64 [N].
    matrix
        float [C, C]: row c holds the probabilities of each observed class given clean class c.
    """
    rows = (labels >= 0).nonzero()[:, 0]
    bounds = matrix.double().cumsum(1)
    bounds[:, -1] = 1.0
    draw = uniform(key("noise", "matrix", seed), index[rows])
    out = labels.clone()
    # A class at a time: [N, C] would not fit where both are large.
    for c in labels[rows].unique().tolist():
        of = labels[rows] == c
        out[rows[of]] = torch.searchsorted(bounds[c], draw[of], right=True)
    return out


def instance(labels: Tensor, inputs: Tensor, num_classes: int, rate: float, index: Tensor, seed: int) -> Tensor:
    """Flips that depend on the sample, by a random projection of its image or features.

    Sample i is wrong with its own probability q_i, drawn from a normal of mean `rate` and deviation 0.1 cut to
    [0, 1]; its wrong class is drawn from softmax(x_i · W_y) over the other classes, W_y standard normal, one for each
    class. The rate holds in expectation, not in number.

    Parameters
    ----------
    labels, index
        int64 [N].
    inputs
        float [N, S]: flattened images, standardised, or features.

    Notes
    -----
    Source: Xia et al., "Part-dependent label noise" (NeurIPS 2020), algorithm 2.
    """
    stream = key("noise", "instance", seed)
    low, high = (torch.special.ndtr(torch.tensor(z, dtype=torch.float64)) for z in (-rate / 0.1, (1 - rate) / 0.1))
    share = low + (high - low) * uniform(stream, index)
    wrong_rate = (rate + 0.1 * torch.special.ndtri(share)).clamp(0, 1)
    draw = uniform(key("noise", "instance", "class", seed), index)
    width = inputs.shape[1]
    cells = torch.arange(width * num_classes)
    out = labels.clone()
    for c in labels[labels >= 0].unique().tolist():
        rows = (labels == c).nonzero()[:, 0]
        weights = normal(key("noise", "projection", seed, c), cells).reshape(width, num_classes).float()
        scores = (inputs[rows].float() @ weights).double()
        scores[:, c] = -torch.inf
        q = wrong_rate[rows]
        probs = scores.softmax(1) * q[:, None]
        probs[:, c] = 1 - q
        bounds = probs.cumsum(1)
        bounds[:, -1] = 1.0
        out[rows] = torch.searchsorted(bounds, draw[rows, None], right=True)[:, 0]
    return out


def check_matrix(matrix: np.ndarray, num_classes: int, where: str) -> Tensor:
    """A matrix of flip probabilities, held against the number of classes and the simplex.

    Raises
    ------
    UserError
        Naming the first row that is wrong.
    """
    if matrix.shape != (num_classes, num_classes):
        shape = " × ".join(map(str, matrix.shape))
        raise UserError(f"{where}: the matrix must be {num_classes} × {num_classes}, one row a class (it is {shape})")
    for c, row in enumerate(matrix):
        if not np.isfinite(row).all() or (row < 0).any():
            raise UserError(f"{where}: row {c} holds a value that is no probability")
        if abs(row.sum() - 1) > 1e-6:
            raise UserError(f"{where}: row {c} must sum to 1 (it sums to {row.sum():.6g})")
    return torch.from_numpy(matrix.astype(np.float64))
