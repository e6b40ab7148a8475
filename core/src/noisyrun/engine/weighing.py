"""How much every observed and every corrected label counts: weighters judge (sample, label) pairs, and multiply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from noisyrun.api.bank import Block, FeatureBank
from noisyrun.api.labels import PAD, Labels, Targets
from noisyrun.api.phase import Phase
from noisyrun.api.prototypes import Prototypes
from noisyrun.api.side_info import SideInfo
from noisyrun.api.weighter import Judgement, SampleWeighter
from noisyrun.engine.clock import Stopwatch
from noisyrun.engine.outputs import JudgementRows
from noisyrun.engine.sharing import fit
from noisyrun.engine.world import ALONE, World


@dataclass
class Weighed:
    """What weighters make of the labels of N samples, on the CPU.

    Attributes
    ----------
    weights, target_weights
        float32 [N, k] and [N, kt]: of each observed and each corrected label; 1 at padding.
    score
        float32 [N]: of one weighter its score, of several the product of weights; of several labels the lowest.
    wrong
        bool [N]: whether any weighter holds any label wrong; None where none decides.
    pair_score, pair_wrong
        float32 and bool [N, k]: the same of each observed label; 1 and False at padding.
    """

    weights: Tensor
    target_weights: Tensor
    score: Tensor
    wrong: Tensor | None
    pair_score: Tensor
    pair_wrong: Tensor | None


@dataclass
class Pairs:
    """(sample, label) pairs to judge: where each stands in the observed or in the corrected labels."""

    rows: Tensor
    slots: Tensor
    classes: Tensor
    weights: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.weights = torch.ones(len(self.rows))


def weigh(
    bank: FeatureBank,
    weighters: Sequence[SampleWeighter[Any]],
    targets: Targets,
    prototypes: Prototypes | None,
    side: SideInfo,
    phase: Phase,
    clock: Stopwatch,
    world: World = ALONE,
) -> Weighed:
    """Judge every observed label and, where it is another, every corrected one that counts in the loss.

    Parameters
    ----------
    weighters
        In order; their weights multiply. Without any, all weigh 1.
    targets
        What correctors made of the labels.
    clock
        Takes the seconds of each.
    world
        The processes that each judge a part of the pairs, and all get all of it.
    """
    seen, made = _observed_pairs(bank.labels), _corrected_pairs(bank.labels, targets)
    scores: list[Tensor] = []
    wrong: Tensor | None = None
    for weighter in weighters:
        with clock(weighter.key):
            fit(weighter, bank, prototypes, side, phase, world)
            judged = _judge(bank, weighter, seen, prototypes, side, phase, world)
            seen.weights *= judged.weights
            made.weights *= _judge(bank, weighter, made, prototypes, side, phase, world).weights
        scores.append(judged.weights if judged.score is None else judged.score)
        if judged.wrong is not None:
            wrong = judged.wrong if wrong is None else wrong | judged.wrong
    weights = torch.ones(bank.labels.classes.shape)
    weights[seen.rows, seen.slots] = seen.weights
    target_weights = torch.ones(targets.classes.shape)
    target_weights[made.rows, made.slots] = made.weights
    score = _together(scores) if scores else seen.weights
    pair_score = torch.ones(bank.labels.classes.shape)
    pair_score[seen.rows, seen.slots] = score.float()
    pair_wrong = None if wrong is None else torch.zeros(bank.labels.classes.shape, dtype=torch.bool)
    if pair_wrong is not None and wrong is not None:
        pair_wrong[seen.rows, seen.slots] = wrong
    return Weighed(
        weights,
        _with_observed(target_weights, targets, weights, bank.labels),
        _lowest(score, seen.rows, len(bank)),
        None if pair_wrong is None else pair_wrong.any(1),
        pair_score,
        pair_wrong,
    )


def _together(scores: Sequence[Tensor]) -> Tensor:
    """One ranking of several: the mean of each score's rank in [0, 1].

    Scores have units of their own, and a weight such as that of a rare class says nothing of right and wrong: a
    weighter that gives all labels the same score does not take part.
    """
    telling = [score for score in scores if len(score) and float(score.max()) > float(score.min())]
    if len(telling) <= 1:
        return (telling or list(scores))[0]
    return torch.stack([_ranks(score) for score in telling]).mean(0)


def _ranks(values: Tensor) -> Tensor:
    """float32 [R] in [0, 1], in the order of the values; equal ones share the middle of their places."""
    _, place, counts = values.unique(return_inverse=True, return_counts=True)
    middle = counts.cumsum(0).double() - (counts.double() + 1) / 2
    return (middle / max(1, len(values) - 1)).float()[place]


def _observed_pairs(labels: Labels) -> Pairs:
    rows, slots = (labels.classes != PAD).nonzero(as_tuple=True)
    return Pairs(rows, slots, labels.classes[rows, slots])


def _corrected_pairs(labels: Labels, targets: Targets) -> Pairs:
    """The corrected labels that count in the loss and are not among the observed ones."""
    used = (targets.classes != PAD) & (targets.values > 0) & (targets.alpha > 0).unsqueeze(1)
    for slot in range(labels.classes.shape[1]):
        used &= targets.classes != labels.classes[:, slot : slot + 1]
    rows, slots = used.nonzero(as_tuple=True)
    return Pairs(rows, slots, targets.classes[rows, slots])


def _with_observed(target_weights: Tensor, targets: Targets, weights: Tensor, labels: Labels) -> Tensor:
    """A corrected label that is also an observed one weighs what that one weighs."""
    for slot in range(labels.classes.shape[1]):
        seen = labels.classes[:, slot : slot + 1]
        same = (targets.classes == seen) & (seen != PAD)
        target_weights = torch.where(same, weights[:, slot : slot + 1], target_weights)
    return target_weights


def _judge(
    bank: FeatureBank,
    weighter: SampleWeighter[Any],
    pairs: Pairs,
    prototypes: Prototypes | None,
    side: SideInfo,
    phase: Phase,
    world: World,
) -> Judgement:
    share = world.share(len(pairs.rows))
    own = slice(share.start, share.stop)
    room, classes, start = JudgementRows(len(share)), pairs.classes[own], 0
    for block in blocks_of(bank, pairs.rows[own], phase, weighter.key):
        stop = start + len(block)
        room.add(weighter(block, classes[start:stop].to(bank.device), prototypes, side))
        start = stop
    return room.gathered(world)


def blocks_of(bank: FeatureBank, rows: Tensor | None, phase: Phase, what: str) -> Iterator[Block]:
    """Blocks over some rows (None: all), with progress."""
    return cast("Iterator[Block]", phase.progress(bank.blocks(rows), None, what))


def _lowest(score: Tensor, rows: Tensor, n: int) -> Tensor:
    """float32 [N]: the lowest score of a sample's labels; a sample without any ranks last."""
    if len(score) == 0:
        return torch.ones(n)
    out = score.new_full((n,), float(score.min()))
    return out.scatter_reduce_(0, rows, score, "amin", include_self=False)
