"""What correctors change: which labels, how many of the changes are kept, and what the label then is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisyrun.api.errors import UserError
from noisyrun.api.labels import PAD, Labels, Targets, widen

#: A class of a multi-label target counts as said to hold from this value on.
HOLDS = 0.5


def corrected_labels(labels: Labels, targets: Targets, multi: bool = False) -> Labels:
    """The labels ŷ that correction arrives at: the observed ones wherever nothing was corrected (alpha 0).

    Single-label: the class of the highest value. Multi-label: the classes of value 0.5 and more.
    """
    untouched = (targets.alpha == 0).unsqueeze(1)
    if not multi:
        return Labels(torch.where(untouched, labels.classes, targets.top.unsqueeze(1)))
    width = max(labels.classes.shape[1], targets.classes.shape[1])
    decided = torch.where(targets.values >= HOLDS, targets.classes, PAD)
    classes = torch.where(untouched, widen(labels.classes, width, PAD), widen(decided, width, PAD))
    return Labels(classes, labels.known)


def changed(before: Labels, after: Labels) -> Tensor:
    """bool [N]: samples whose label, or set of labels, is not what it was."""
    width = max(before.classes.shape[1], after.classes.shape[1])
    one = widen(before.classes, width, PAD).sort(1).values
    other = widen(after.classes, width, PAD).sort(1).values
    return (one != other).any(1)


def standing(labels: Labels, targets: Targets) -> Tensor:
    """float32 [N, k]: what is left of each observed label in the loss, (1 − α) + α·v; 1 at padding.

    source: the loss of a step, docs/architecture.md. A label that is not among the targets has v = 0.
    """
    value = torch.zeros(labels.classes.shape)
    for slot in range(targets.classes.shape[1]):
        value += torch.where(
            targets.classes[:, slot : slot + 1] == labels.classes, targets.values[:, slot : slot + 1], 0
        )
    left = 1 - targets.alpha.unsqueeze(1) * (1 - value)
    return torch.where(labels.classes == PAD, 1.0, left)


def taken_away(labels: Labels, after: Labels) -> Tensor:
    """bool [N, k]: the observed labels that correction says do not hold."""
    kept = torch.zeros_like(labels.classes, dtype=torch.bool)
    for slot in range(after.classes.shape[1]):
        kept |= labels.classes == after.classes[:, slot : slot + 1]
    return ~kept & (labels.classes != PAD)


def keep_surest(share: float, made: Targets, before: Targets, changes: Tensor, method: str) -> Targets:
    """Keep only a share of one corrector's changes, those it is surest of; the others are undone.

    Parameters
    ----------
    share
        In (0, 1]. Of n changes ⌈share · n⌉ are kept; of two it is equally sure of, the one of the lower row.
    made, before
        Targets of all N samples after and before the corrector.
    changes
        bool [N]: the samples whose label it changed.
    method
        Its key, for the error.

    Raises
    ------
    UserError
        When the corrector does not say how sure it is.
    """
    if share >= 1:
        return made
    if made.confidence is None:
        raise UserError(
            f"--corrections.share: {method} does not say how sure it is of its changes, so that the surest cannot be "
            "told; leave the share at 1"
        )
    rows = changes.nonzero()[:, 0]
    count = math.ceil(share * len(rows) - 1e-9)
    surest = torch.argsort(made.confidence[rows], descending=True, stable=True)
    undone = torch.zeros(len(made), dtype=torch.bool)
    undone[rows[surest[count:]]] = True
    return made.where(~undone, before)
