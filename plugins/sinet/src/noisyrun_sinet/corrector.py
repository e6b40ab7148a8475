"""Top-k label smoothing: a model trained on high-confidence samples softens each label (section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from noisyrun.api import PAD, Block, LabelCorrector, Needs, Prototypes, SideInfo, Targets, UserError, ops
from noisyrun_sinet.config import SinetCorrectorConfig
from noisyrun_sinet.equations import smoothed

#: Bytes of comparisons between classes of a row made at once: on a GPU, and on a CPU, in whose cache they stay.
_CACHED = (1 << 27, 1 << 19)


class SinetCorrector(LabelCorrector[SinetCorrectorConfig]):
    """(1 − s)·given + s·top-k of an earlier stage's model.

    Source: section 3.4, "Topk Label Smoothing". Given is what the correctors before this one made of the label. Label
    phases before the smoothing model has trained leave labels as they are.
    """

    @property
    def needs(self) -> Needs:
        return Needs(predictions=self.config.predictions)

    def correct(self, block: Block, targets: Targets, prototypes: Prototypes | None, side: SideInfo) -> Targets:
        if self.config.s == 0:
            return targets
        try:
            classes, probs = block.predictions(self.config.predictions)
        except UserError:  # that some stage trains the model is checked beforehand: it has not yet
            return targets
        multi = block.bank.task.multi
        top, predicted = _top(classes, probs, self.config.k, normalise=not multi)
        given, values = _given(block, targets)
        s: Tensor | float = self.config.s
        if not multi:
            # A sample without a label is its prediction, one without a prediction its label.
            has_label, has_prediction = values.sum(1) > 0, predicted.sum(1) > 0
            s = (self.config.s * has_label + (~has_label).float()) * has_prediction
            s = s.unsqueeze(1)
        mixed = smoothed(
            torch.cat([values, torch.zeros_like(predicted)], 1), torch.cat([torch.zeros_like(values), predicted], 1), s
        )
        merged, amounts = merge(torch.cat([given, top], 1), mixed)
        alpha = ((amounts > 0).any(1)).float()
        return Targets(merged, amounts, alpha, None, targets.known)


def merge(classes: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Padded rows [R, k] with each class once, its values added up; padding last, and no wider than needed."""
    total, first = torch.empty_like(values), torch.empty_like(classes, dtype=torch.bool)
    for part in ops.spans(len(classes), 4 * classes.shape[1] ** 2, _CACHED[classes.device.type == "cpu"]):
        same = (classes[part].unsqueeze(2) == classes[part].unsqueeze(1)) & (classes[part] != PAD).unsqueeze(1)
        total[part] = (same * values[part].unsqueeze(1)).sum(2)
        # Rows before the first that is the same: none.
        first[part] = ~(same & torch.ones_like(same[0]).tril(-1)).any(2)
    keep = first & (classes != PAD) & (total > 0)
    order = (~keep).int().argsort(dim=1, stable=True)
    width = max(1, int(keep.sum(1).max())) if len(keep) else 1
    order = order[:, :width]
    kept = keep.gather(1, order)
    return (
        classes.gather(1, order).masked_fill(~kept, PAD),
        total.gather(1, order).masked_fill(~kept, 0.0),
    )


def _top(classes: Tensor, probs: Tensor, k: int, normalise: bool) -> tuple[Tensor, Tensor]:
    """The k most probable classes, their probabilities scaled to sum to 1 unless the task is multi-label."""
    known = probs.masked_fill(classes == PAD, 0.0)
    best = known.topk(min(k, known.shape[1]), dim=1)
    top = best.values / best.values.sum(1, keepdim=True).clamp(min=1e-12) if normalise else best.values
    return classes.gather(1, best.indices), top


def _given(block: Block, targets: Targets) -> tuple[Tensor, Tensor]:
    """The label as it stands: observed classes with 1 − alpha, corrected ones with alpha."""
    observed = block.labels.classes
    share = targets.alpha.unsqueeze(1)
    return (
        torch.cat([observed, targets.classes], 1),
        torch.cat([(1 - share) * (observed != PAD), share * targets.values], 1),
    )
