"""Reweighting label: part of each label is what the baseline predicts (section 4.5)."""

from __future__ import annotations

import torch
from torch import Tensor

from noisyrun.api import PAD, Block, FeatureBank, LabelCorrector, Needs, Prototypes, SideInfo, Targets
from noisyrun_urnet import equations
from noisyrun_urnet.config import LabelMixConfig


def predicted_labels(bank: FeatureBank, name: str | None) -> Tensor:
    """int64 [N], on the CPU: the most probable class of each sample, as an earlier stage kept it or as it is now."""
    classes = bank.top_classes if name is None else bank.predictions(name)[0]
    return classes[:, 0].cpu()


class LabelMix(LabelCorrector[LabelMixConfig]):
    """β·y + (1 − β)·ŷ, where ŷ is the predicted label and y what the correctors before this one made of it.

    The mixture is the whole target (α = 1), so that a label counts as changed only where most of it is another class.
    Where prediction and observed label agree, the target stays as it was.

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
        observed, predicted, sure = block.observed, classes[:, 0], probs[:, 0].float()
        given = torch.cat([observed.unsqueeze(1), targets.classes], 1)
        share = targets.alpha.unsqueeze(1)
        values = torch.cat([1 - share, share * targets.values], 1)
        mixed, amounts = equations.mixed_label(given, values, predicted, self.config.beta)
        made = Targets(mixed, amounts, torch.ones_like(sure))
        differs = (predicted != observed) & (predicted != PAD)
        # A label that the prediction contradicts but does not outweigh is doubtful all the same.
        confidence = torch.where(differs & (made.top == observed), -sure, sure)
        made = made.where(differs, targets)
        return Targets(made.classes, made.values, made.alpha, confidence, targets.known)
