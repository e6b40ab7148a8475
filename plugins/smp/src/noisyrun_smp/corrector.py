"""Label correction of SMP: each sample takes the class whose prototypes it is most alike.

Han, Luo, Wang: Deep Self-Learning From Noisy Labels, ICCV 2019, equations 8 and 9. https://arxiv.org/abs/1908.02160
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from noisyrun.api import PAD, Block, LabelCorrector, Needs, Prototypes, SideInfo, Targets, ops
from noisyrun_smp import equations
from noisyrun_smp.config import SmpCorrectorConfig

#: Bytes of features and scores judged at once: on a GPU, and on a CPU.
_CACHED = (1 << 27, 1 << 20)


class SmpCorrector(LabelCorrector[SmpCorrectorConfig]):
    """Gives each sample the label ŷ of the most similar class, with a fixed share of the loss.

    Works on any method's prototypes, in the space they live in. What came before stays where there is no ground to
    correct: the observed class has no prototypes, or the margin of a change is below ``min_margin``. A tie with the
    observed class keeps it.
    """

    def __init__(self, config: SmpCorrectorConfig) -> None:
        super().__init__(config)
        self._scorer: _Scorer | None = None

    @property
    def needs(self) -> Needs:
        return Needs(prototypes=True, labels=frozenset({"single"}))

    def correct(self, block: Block, targets: Targets, prototypes: Prototypes | None, side: SideInfo) -> Targets:
        assert prototypes is not None  # `needs` says so
        if self._scorer is None or self._scorer.prototypes is not prototypes:
            self._scorer = _Scorer(prototypes, self.config.similarity)
        observed, present = block.observed, prototypes.present
        unlabelled = observed == PAD
        corrected, margin = self._judged(prototypes.embed(block.features), observed, self._scorer)
        ground = torch.where(unlabelled, present.any(), present[observed.clamp(min=0)])
        sure = ground & ((margin >= 0) | (-margin >= self.config.min_margin))
        # A change that is not sure enough, or has no share of the loss, is not made, and its negative confidence still
        # ranks the label as doubtful.
        made = sure & (self.config.alpha > 0)
        confidence = torch.where(made, margin.abs(), margin)
        return _overlay(targets, Targets.hard(corrected, self.config.alpha, confidence), sure)

    def _judged(self, embedded: Tensor, observed: Tensor, scorer: _Scorer) -> tuple[Tensor, Tensor]:
        """ŷ int64 [R] and the margin of the observed label, float32 [R].

        In pieces whose features and scores stay in a processor's cache, so that memory is read once.
        """
        width = embedded.shape[1] + len(scorer.vectors)
        piece = max(256, _CACHED[embedded.device.type == "cpu"] // (4 * width))
        parts = zip(embedded.split(piece), observed.split(piece))
        labels, margins = zip(*(judged(scorer(part), own) for part, own in parts))
        return torch.cat(labels), torch.cat(margins)


class _Scorer:
    """σ of blocks of features for one set of prototypes, whose class vectors are made once."""

    def __init__(self, prototypes: Prototypes, similarity: str) -> None:
        self.prototypes = prototypes
        self.similarity = similarity
        if similarity == "mean":
            self.vectors = equations.mean_unit(prototypes.vectors, prototypes.weights)
        else:
            self.vectors = ops.unit(prototypes.vectors)

    def __call__(self, features: Tensor) -> Tensor:
        """[R, C]; −inf for a class without prototypes."""
        if self.similarity == "max":
            return equations.max_scores(features, self.vectors, self.prototypes.mask)
        absent = ~self.prototypes.present
        scores = equations.mean_scores(features, self.vectors)
        return scores.masked_fill_(absent, -torch.inf) if bool(absent.any()) else scores


def judged(scores: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """ŷ of each sample, and how much more alike it is to its observed class than to the best of the others.

    Parameters
    ----------
    scores
        [R, C]; −inf for a class without prototypes. Changed in place.
    observed
        int64 [R]; `PAD` where a sample has no label.

    Returns
    -------
    tuple of Tensor
        int64 [R]: the observed label, unless another class is more alike; and [R], finite: negative where one is. 0
        where there is nothing to compare: no other class, or no prototypes of the observed one. A sample without a
        label: the most similar class, and minus the gap to the second.
    """
    rows, classes = scores.shape
    if classes == 1:
        return torch.zeros_like(observed), scores.new_zeros(rows)
    unlabelled = (observed == PAD).nonzero()[:, 0]
    free = scores[unlabelled]
    at = observed.clamp(min=0).unsqueeze(1)
    own = scores.gather(1, at)[:, 0]
    # What is left is the best of the others: read once for both its score and its class.
    best = scores.scatter_(1, at, -torch.inf).max(1)
    margin = (own - best.values).nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
    label = torch.where(margin < 0, best.indices, observed)
    if len(unlabelled):
        first, second = free.topk(2, dim=1).values.unbind(1)
        margin[unlabelled] = (second - first).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        label[unlabelled] = equations.corrected_label(free)
    return label, margin


def _overlay(before: Targets, made: Targets, where: Tensor) -> Targets:
    """The targets of `made` in some rows, bool [R], those of `before` in the others."""
    width = before.classes.shape[1]
    classes = functional.pad(made.classes, (0, width - 1), value=PAD)
    values = functional.pad(made.values, (0, width - 1))
    return replace(
        before,
        classes=torch.where(where.unsqueeze(1), classes, before.classes),
        values=torch.where(where.unsqueeze(1), values, before.values),
        alpha=torch.where(where, made.alpha, before.alpha),
        confidence=made.confidence,
    )
