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
        best, margin = self._judged(prototypes.embed(block.features), observed, self._scorer)
        corrected = torch.where((margin < 0) | unlabelled, best, observed)
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
        piece = _CACHED[embedded.device.type == "cpu"] // (4 * (embedded.shape[1] + len(scorer.vectors)))
        best, margins = [], []
        for part, labels in zip(embedded.split(max(256, piece)), observed.split(max(256, piece))):
            scores = scorer(part)
            best.append(equations.corrected_label(scores))
            margins.append(own_margin(scores, labels))
        return torch.cat(best), torch.cat(margins)


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


def own_margin(scores: Tensor, observed: Tensor) -> Tensor:
    """How much more alike a sample is to its observed class than to the best of the others.

    Parameters
    ----------
    scores
        [R, C]; −inf for a class without prototypes.
    observed
        int64 [R]; `PAD` where a sample has no label.

    Returns
    -------
    Tensor
        [R], finite: negative where another class is more alike. 0 where there is nothing to compare: no other class,
        or no prototypes of the observed one. A sample without a label: minus the gap between its two best classes.
    """
    rows, classes = scores.shape
    if classes == 1:
        return scores.new_zeros(rows)
    at = observed.clamp(min=0).unsqueeze(1)
    margin = scores.gather(1, at)[:, 0] - scores.scatter(1, at, -torch.inf).amax(1)
    unlabelled = observed == PAD
    if bool(unlabelled.any()):
        best = scores[unlabelled].topk(2, dim=1).values
        margin[unlabelled] = best[:, 1] - best[:, 0]
    return margin.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


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
