"""Reweighting label: part of each label is what the baseline predicts (section 4.5)."""

from __future__ import annotations

from torch import Tensor

from noisyrun.api import PAD, Block, FeatureBank, LabelCorrector, Needs, Prototypes, SideInfo, Targets
from noisyrun_urnet.config import LabelMixConfig


def predicted_labels(bank: FeatureBank, name: str | None) -> Tensor:
    """int64 [N], on the CPU: the most probable class of each sample, as an earlier stage kept it or as it is now."""
    classes = bank.top_classes if name is None else bank.predictions(name)[0]
    return classes[:, 0].cpu()


class LabelMix(LabelCorrector[LabelMixConfig]):
    """β·y + (1 − β)·ŷ, where ŷ is the predicted label.

    Where prediction and observed label agree, the target stays as the correctors before this one left it.

    Source: equation 10.
    """

    @property
    def needs(self) -> Needs:
        return Needs(predictions=self.config.predictions, labels=frozenset({"single"}))

    def correct(self, block: Block, targets: Targets, prototypes: Prototypes | None, side: SideInfo) -> Targets:
        if self.config.predictions is None:
            classes, probs = block.top_classes, block.top_probs
        else:
            classes, probs = block.predictions(self.config.predictions)
        mixed = Targets.hard(classes[:, 0], 1 - self.config.beta, probs[:, 0].float())
        return mixed.where((classes[:, 0] != block.observed) & (classes[:, 0] != PAD), targets)
