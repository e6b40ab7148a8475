"""Labels as lists of (sample, class) pairs: padded from them, restricted, compared. Nothing [N, C] is formed."""

from __future__ import annotations

import torch
from torch import Tensor

from noisyrun.api.labels import PAD, Labels


def padded(rows: Tensor, classes: Tensor, n: int) -> Tensor:
    """int64 [n, k]: the classes of each row in ascending order, `PAD` beyond them; k ≥ 1 is the most that a row has.

    Parameters
    ----------
    rows, classes
        int64 [L]: the pairs, in any order, none twice.
    """
    places = torch.argsort(classes, stable=True)
    places = places[torch.argsort(rows[places], stable=True)]
    rows, classes = rows[places], classes[places]
    counts = torch.bincount(rows, minlength=n)
    slots = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
    out = torch.full((n, max(1, int(counts.max()) if n else 1)), PAD)
    out[rows, slots] = classes
    return out


def sorted_sets(classes: Tensor) -> Tensor:
    """The same padded sets of classes, [N, k], in their one canonical form: what a digest is taken of."""
    rows, slots = (classes != PAD).nonzero(as_tuple=True)
    return padded(rows, classes[rows, slots], len(classes))


def within(classes: Tensor, others: Tensor) -> Tensor:
    """bool [N, k]: whether each of classes [N, k] is among others [N, q] of its row; False at padding."""
    found = torch.zeros_like(classes, dtype=torch.bool)
    for slot in range(others.shape[1]):
        found |= classes == others[:, slot : slot + 1]
    return found & (classes != PAD)


def joined(a: Tensor, b: Tensor) -> Tensor:
    """Padded union of two padded sets of classes, [N, k] and [N, q]."""
    return sorted_sets(torch.cat([a, torch.where(within(b, a), PAD, b)], dim=1))


def restricted(labels: Labels, known: Tensor | None) -> Labels:
    """The labels as one sees them who knows only some pairs, int64 [N, q] padded; None: all of theirs."""
    if known is None:
        return labels
    if labels.known is not None:
        known = sorted_sets(torch.where(within(known, labels.known), known, PAD))
    return Labels(sorted_sets(torch.where(within(labels.classes, known), labels.classes, PAD)), known)


def with_known(positives: Tensor, known: Tensor | None, absent: Tensor | None) -> Labels:
    """Multi-label labels from lists of what holds, of what is known either way, and of what does not hold.

    With neither of the last two every pair is known.
    """
    if known is None and absent is None:
        return Labels(positives)
    whole = positives
    for more in (known, absent):
        whole = whole if more is None else joined(whole, more)
    return Labels(positives, whole)


def agreement(labels: Labels, truth: Labels) -> tuple[Tensor, Tensor]:
    """Whether labels say what the truth says, on the pairs that both know.

    Returns
    -------
    right, judged
        bool [N] each: no pair differs; there is a pair that both know.
    """
    extra = (labels.classes != PAD) & ~within(labels.classes, truth.classes)
    lacking = (truth.classes != PAD) & ~within(truth.classes, labels.classes)
    judged = torch.ones(len(labels), dtype=torch.bool)
    if truth.known is not None:
        extra &= within(labels.classes, truth.known)
        judged &= (truth.known != PAD).any(1)
    if labels.known is not None:
        lacking &= within(truth.classes, labels.known)
        both = labels.known != PAD if truth.known is None else within(labels.known, truth.known)
        judged &= both.any(1)
    return ~(extra.any(1) | lacking.any(1)), judged
