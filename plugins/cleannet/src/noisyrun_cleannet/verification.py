"""Which (sample, label) pairs are verified, and what they say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from noisyrun.api import PAD, FeatureBank, Phase, UserError, ops
from noisyrun_cleannet.config import VerificationConfig

#: Of the pairs verified by predictions, one is held out for so many that train.
_TRAIN_TO_HELD = 5


@dataclass(frozen=True)
class Pairs:
    """(sample, label) pairs, everything on the CPU.

    Attributes
    ----------
    rows
        int64 [n]: rows of the bank.
    classes
        int64 [n]: the observed label.
    relevance
        int8 [n], l of equation (1): 1 right, 0 wrong, −1 not verified.
    """

    rows: Tensor
    classes: Tensor
    relevance: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: Tensor) -> Pairs:
        """Some of them: positions int64 [m], or bool [n]."""
        return Pairs(self.rows[positions], self.classes[positions], self.relevance[positions])

    @property
    def verified(self) -> Pairs:
        """Those that are verified."""
        return self.take(self.relevance != -1)

    @property
    def unverified(self) -> Pairs:
        """Those that are not."""
        return self.take(self.relevance == -1)


def pairs_of(bank: FeatureBank, split: Literal["train", "held"], config: VerificationConfig, phase: Phase) -> Pairs:
    """Every observed (sample, label) pair, with what one split of the verification labels says of it."""
    rows, classes = bank.labels.pairs()
    if config.verification == "predictions":
        return Pairs(rows, classes, _by_predictions(bank, rows, classes, split, config, phase))
    relevance = bank.verified(split)[rows].to(torch.int8)
    if bank.labels.classes.shape[1] > 1:
        relevance = _of_each(bank, rows, classes, relevance, phase.memory // 8)
    return Pairs(rows, classes, relevance)


def _of_each(bank: FeatureBank, rows: Tensor, classes: Tensor, relevance: Tensor, memory: int) -> Tensor:
    """What is said of each of several labels: that one is wrong says not which, unless a trusted label does."""
    several = (bank.labels.classes != PAD).sum(1) > 1
    unclear = ((relevance == 0) & several[rows]).nonzero()[:, 0]
    trusted, said = bank.trusted.classes, relevance.clone()
    for span in ops.spans(len(unclear), trusted.element_size() * trusted.shape[1], memory):
        part = unclear[span]
        own = trusted[rows[part]]
        among = (own == classes[part].unsqueeze(1)).any(1).to(torch.int8)
        said[part] = torch.where((own != PAD).any(1), among, -torch.ones_like(among))
    return said


def _by_predictions(
    bank: FeatureBank, rows: Tensor, classes: Tensor, split: str, config: VerificationConfig, phase: Phase
) -> Tensor:
    """int8 [n]: of up to `per_class` samples of each class, whether the label is among a classifier's best classes.

    source: section 4.1, WebVision
    """
    best = bank.top_classes if config.predictions is None else bank.predictions(config.predictions)[0]
    if config.top_k > best.shape[1]:
        raise UserError(f"{phase.method}.top_k: {config.top_k}, but only the {best.shape[1]} best classes are kept")
    # The same draw in every round, and for every part of the method: nothing trains on what another part holds out.
    draw = replace(phase, round=0, method="cleannet")
    held = max(1, config.per_class // _TRAIN_TO_HELD)
    chosen = torch.zeros(len(rows), dtype=torch.bool)
    order = torch.argsort(classes, stable=True)
    for members in order.split(torch.bincount(classes, minlength=bank.num_classes).tolist()):
        if len(members) == 0:
            continue
        generator = draw.generator("verification", int(classes[members[0]]))
        mixed = members[torch.randperm(len(members), generator=generator)]
        # A small class is shared out in the same ratio.
        aside = min(held, len(members) // (_TRAIN_TO_HELD + 1))
        # From either end: parts that were told different numbers do not overlap, either.
        chosen[mixed[:aside] if split == "held" else mixed[max(aside, len(members) - config.per_class) :]] = True
    where = chosen.nonzero()[:, 0]
    relevance = torch.full((len(rows),), -1, dtype=torch.int8)
    relevance[where] = (best[rows[where], : config.top_k] == classes[where].unsqueeze(1)).any(1).to(torch.int8)
    return relevance
