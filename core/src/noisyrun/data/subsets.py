"""Which samples are held out, verified or trusted: drawn by stable index, stratified by class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisyrun.api import UserError
from noisyrun.data.hashing import key, order
from noisyrun.data.hints import did_you_mean


@dataclass(frozen=True)
class Share:
    """What ``--verify`` and ``--clean`` ask for: a share of the samples, of some classes or of all (None)."""

    share: float
    classes: tuple[int, ...] | None = None


def parse_share(flag: str, text: str, names: tuple[str, ...]) -> Share:
    """Read ``0.05`` or ``0.05:cat,dog``.

    Raises
    ------
    UserError
        When the share is not in (0, 1] or a class is unknown.
    """
    number, colon, words = text.partition(":")
    try:
        share = float(number)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise UserError(f"{flag}: must be a share in (0, 1], as in 0.05 or 0.05:{names[0]} (got {text!r})")
    if not colon:
        return Share(share)
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    for word in wanted:
        if word not in names:
            raise UserError(f"{flag}: no class {word!r}{did_you_mean(word, names)}")
    if not wanted:
        raise UserError(f"{flag}: no class after the colon (got {text!r})")
    return Share(share, tuple(names.index(word) for word in wanted))


def draw(groups: Tensor, share: float, index: Tensor, stream: int, among: Tensor | None = None) -> Tensor:
    """A share of the samples, stratified.

    Each group gives as near its share as whole samples allow, and the total is exact: round(share · n).

    Parameters
    ----------
    groups
        int64 [N]: what to stratify by.
    index
        int64 [N]: stable index, which decides the draw.
    stream
        Key of the draw.
    among
        bool [N]: samples to draw from; all by default.

    Returns
    -------
    Tensor
        bool [N].
    """
    rows = torch.arange(len(groups)) if among is None else among.nonzero()[:, 0]
    drawn = rows[order(stream, index[rows])]
    # Each group's samples, spread evenly over (0, 1) in drawn order: the lowest share of all places is stratified.
    _, group, counts = groups[drawn].unique(return_inverse=True, return_counts=True)
    by_group = torch.argsort(group, stable=True)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(group)
    rank[by_group] = torch.arange(len(group)) - starts[group[by_group]]
    place = (rank.double() + 0.5) / counts[group]
    chosen = drawn[torch.argsort(place, stable=True)[: round(share * len(rows))]]
    mask = torch.zeros(len(groups), dtype=torch.bool)
    mask[chosen] = True
    return mask


def of_classes(labels: Tensor, classes: tuple[int, ...] | None) -> Tensor:
    """bool [N]: samples with a label, int64 [N, k], among some classes; all samples when those are None."""
    if classes is None:
        return torch.ones(len(labels), dtype=torch.bool)
    return torch.isin(labels, torch.tensor(classes)).any(1)


def same_labels(a: Tensor, b: Tensor) -> Tensor:
    """bool [N]: whether two padded sets of labels, int64 [N, k] and [N, q], are the same."""
    wider = max(a.shape[1], b.shape[1])
    fill = torch.nn.functional.pad
    a, b = (fill(x, (0, wider - x.shape[1]), value=-1).sort(1).values for x in (a, b))
    return (a == b).all(1)


def held_half(groups: Tensor, verified: Tensor, index: Tensor, seed: int) -> Tensor:
    """bool [N]: the half of the verification labels that is kept for thresholds and early stopping.

    Stratified by class and by what the verification says.
    """
    strata = groups * 2 + (verified == 1).long()
    return draw(strata, 0.5, index, key("verify", "held", seed), verified >= 0)
