"""Reweighting bag-specific instance saliency: an attention branch over bags of one class (section 4.4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from noisyrun.api import BAGS, PAD, Batch, Block, Needs, OnlinePart, Prototypes, SampleWeighter, SideInfo, Task
from noisyrun_urnet import equations
from noisyrun_urnet.config import BagsConfig


class BagBranch(nn.Module):
    """Features of the samples of each bag → logits of the bag.

    Parameters
    ----------
    dim
        D, width of the features.
    hidden
        Units between FC_2 and FC_3, with a hyperbolic tangent (ours).
    num_classes
        C.
    """

    def __init__(self, dim: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.saliency = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, features: Tensor, bags: Tensor, mask: Tensor) -> Tensor:
        """[B, D], int64 [B], bool [B] → logits [B, C] by number of the bag."""
        pooled, _ = equations.bag_features(features, self.saliency(features)[:, 0], bags, mask)
        logits: Tensor = self.classifier(pooled)
        return logits


class Bags(SampleWeighter[BagsConfig], OnlinePart):
    """Adds the cross entropy of bags to the loss, so that the backbone learns from the most salient samples.

    Its weights are 1: the saliency acts within the branch alone, and the classifier feels it through the backbone,
    which therefore has to train.

    Source: section 4.4.
    """

    @property
    def needs(self) -> Needs:
        return Needs(
            images=True,
            trainable_backbone=True,
            labels=frozenset({"single"}),
            batches=BAGS(self.config.size),
        )

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Tensor:
        return torch.ones(len(block), device=block.bank.device)

    def part(self, dim: int, task: Task) -> nn.Module:
        return BagBranch(dim, self.config.hidden, task.num_classes)

    def loss(self, part: nn.Module, batch: Batch, features: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Cross entropy of the bags, by the class they were drawn from; 0 where a stage draws no bags."""
        if batch.bags is None:
            return {"bag": features.sum() * 0.0}
        labels = batch.labels.single
        mask = batch.mask & (labels != PAD)
        made: Tensor = part(features, batch.bags, mask)
        # All samples of a bag share their label: that of any of them is the bag's.
        of_bag = torch.full_like(labels, PAD).scatter_reduce(
            0, batch.bags, torch.where(mask, labels, PAD), "amax", include_self=True
        )
        losses = functional.cross_entropy(made.float(), of_bag, ignore_index=PAD, reduction="sum")
        return {"bag": self.config.share * losses / (of_bag != PAD).sum().clamp(min=1)}
