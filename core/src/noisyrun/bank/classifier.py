"""What the classifier says of each sample, from its logits, in blocks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisyrun.api.labels import PAD, Labels
from noisyrun.api.task import Task


@dataclass(frozen=True)
class Said:
    """What a classifier says of N samples; on the CPU.

    Attributes
    ----------
    label_probs
        float32 [N, k]: probability of each observed label, 0 at padding.
    top_classes, top_probs
        int64 and float32 [N, K]: the most probable classes, best first.
    """

    label_probs: Tensor
    top_classes: Tensor
    top_probs: Tensor

    @classmethod
    def empty(cls, n: int, slots: int, top: int) -> Said:
        """Room for N samples, filled block by block with `write`."""
        return cls(torch.zeros(n, slots), torch.zeros(n, top, dtype=torch.int64), torch.zeros(n, top))

    def write(self, start: int, said: Said) -> None:
        """Put a block's rows in their place."""
        stop = start + len(said.label_probs)
        self.label_probs[start:stop] = said.label_probs
        self.top_classes[start:stop] = said.top_classes
        self.top_probs[start:stop] = said.top_probs


def say(logits: Tensor, labels: Labels, task: Task, top: int) -> Said:
    """What logits [R, C] of a block say.

    Parameters
    ----------
    labels
        Observed labels of the same rows.
    top
        K; at most C are given.
    """
    logits = logits.detach().float()
    probs = logits.sigmoid() if task.loss == "binary-cross-entropy" else logits.softmax(1)
    # A stable sort, so that ties fall the same way on every device and in blocks of every size.
    best = probs.sort(dim=1, descending=True, stable=True)
    count = min(top, task.num_classes)
    classes = labels.classes.to(probs.device)
    given = probs.gather(1, classes.clamp(min=0)).masked_fill(classes == PAD, 0.0)
    return Said(given.cpu(), best.indices[:, :count].cpu(), best.values[:, :count].cpu())


def say_all(logits: Tensor, labels: Labels, task: Task, top: int, size: int = 16_384) -> Said:
    """`say` over all N samples, `size` rows at a time."""
    said = Said.empty(len(labels), labels.classes.shape[1], min(top, task.num_classes))
    for start in range(0, len(labels), size):
        rows = torch.arange(start, min(start + size, len(labels)))
        said.write(start, say(logits[start : start + size], labels.take(rows), task, top))
    return said
