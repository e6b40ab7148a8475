"""Labels and targets, single- and multi-label alike.

Both are padded class indices: [N, k] with `PAD` where a sample has fewer than k. Single labels are the case k = 1 of
labels, and rows of a simplex of targets. Padding keeps a gather by sample index one operation on any device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

#: Class index that stands for "none": padding, and a sample without a label.
PAD = -1


@dataclass(frozen=True)
class Labels:
    """Observed (or trusted) labels of N samples.

    Attributes
    ----------
    classes
        int64 [N, k]: the classes a sample is said to have, `PAD` beyond them. Single-label: k = 1.
    known
        int64 [N, q]: multi-label only: the classes of which it is known whether the sample has them (positives
        included), `PAD` beyond them. None: every pair is known; a class not listed in `classes` is absent.
    """

    classes: Tensor
    known: Tensor | None = None

    def __len__(self) -> int:
        return self.classes.shape[0]

    @property
    def single(self) -> Tensor:
        """int64 [N]: the label of each sample (`PAD` where it has none). Only for k = 1."""
        if self.classes.shape[1] != 1:
            raise ValueError(f"labels have up to {self.classes.shape[1]} classes a sample; `single` needs 1")
        return self.classes[:, 0]

    @classmethod
    def of(cls, single: Tensor) -> Labels:
        """Labels from one class index a sample, int64 [N]."""
        return cls(single.long().reshape(-1, 1))

    def take(self, rows: Tensor) -> Labels:
        """The labels of some samples, int64 [R] positions."""
        return Labels(self.classes[rows], None if self.known is None else self.known[rows])

    def to(self, device: torch.device | str) -> Labels:
        """The same labels on a device."""
        return Labels(self.classes.to(device), None if self.known is None else self.known.to(device))

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Every (sample, class) pair that is said to hold: positions [L] and classes [L], in order of position."""
        rows, slots = (self.classes != PAD).nonzero(as_tuple=True)
        return rows, self.classes[rows, slots]

    def multi_hot(self, num_classes: int) -> Tensor:
        """float32 [N, C], 1 where the class is said to hold. For a batch or a block, never for a data set."""
        return scatter(self.classes, torch.ones_like(self.classes, dtype=torch.float32), num_classes)

    def known_mask(self, num_classes: int) -> Tensor:
        """bool [N, C]: which pairs are known. For a batch or a block, never for a data set."""
        if self.known is None:
            return torch.ones(len(self), num_classes, dtype=torch.bool, device=self.classes.device)
        ones = torch.ones_like(self.known, dtype=torch.float32)
        return scatter(self.known, ones, num_classes) > 0


@dataclass(frozen=True)
class Targets:
    """What correctors make of the labels of R samples.

    The loss of a step mixes both: (1 − alpha) · loss(observed) + alpha · loss(corrected).

    Attributes
    ----------
    classes
        int64 [R, k]: classes of the corrected label, `PAD` beyond them.
    values
        float32 [R, k]: single-label: probabilities that sum to 1 over a row; multi-label: values in [0, 1].
        0 at padding.
    alpha
        float32 [R]: the share of the corrected label in the loss, in [0, 1]. 0: not corrected.
    confidence
        float32 [R] or None: how sure the corrector is of each change, higher is surer; lets a run keep only the
        surest changes (``--corrections.share``).
    known
        int64 [R, q] or None: as in `Labels`.
    """

    classes: Tensor
    values: Tensor
    alpha: Tensor
    confidence: Tensor | None = None
    known: Tensor | None = None

    def __len__(self) -> int:
        return self.classes.shape[0]

    @classmethod
    def of(cls, labels: Labels) -> Targets:
        """The observed labels as targets, with alpha 0: where the first corrector of a run starts."""
        values = (labels.classes != PAD).float()
        return cls(labels.classes, values, torch.zeros(len(labels), device=values.device), None, labels.known)

    @classmethod
    def hard(cls, classes: Tensor, alpha: float | Tensor, confidence: Tensor | None = None) -> Targets:
        """One class a sample, int64 [R], with probability 1."""
        share = torch.as_tensor(alpha, dtype=torch.float32, device=classes.device)
        return cls(
            classes.long().reshape(-1, 1),
            torch.ones(len(classes), 1, device=classes.device),
            share.expand(len(classes)).clone(),
            confidence,
        )

    @property
    def top(self) -> Tensor:
        """int64 [R]: the class of the highest value of each sample."""
        return self.classes.gather(1, self.values.argmax(1, keepdim=True))[:, 0]

    def take(self, rows: Tensor) -> Targets:
        """The targets of some samples, int64 [R'] positions."""
        return Targets(
            self.classes[rows],
            self.values[rows],
            self.alpha[rows],
            None if self.confidence is None else self.confidence[rows],
            None if self.known is None else self.known[rows],
        )

    def where(self, mask: Tensor, other: Targets) -> Targets:
        """These targets where the mask, bool [R], says so; those of `other` elsewhere."""
        width = max(self.classes.shape[1], other.classes.shape[1])
        column = mask.unsqueeze(1)
        confidence = self.confidence
        if confidence is not None:
            # Nobody is sure of a change that is not made.
            rest = torch.zeros_like(confidence) if other.confidence is None else other.confidence
            confidence = torch.where(mask, confidence, rest)
        return Targets(
            torch.where(column, widen(self.classes, width, PAD), widen(other.classes, width, PAD)),
            torch.where(column, widen(self.values, width, 0.0), widen(other.values, width, 0.0)),
            torch.where(mask, self.alpha, other.alpha),
            confidence,
            other.known if self.known is None else self.known,
        )

    def to(self, device: torch.device | str) -> Targets:
        """The same targets on a device."""
        return replace(
            self,
            classes=self.classes.to(device),
            values=self.values.to(device),
            alpha=self.alpha.to(device),
            confidence=None if self.confidence is None else self.confidence.to(device),
            known=None if self.known is None else self.known.to(device),
        )

    def dense(self, num_classes: int) -> Tensor:
        """float32 [R, C]. For a batch or a block, never for a data set."""
        return scatter(self.classes, self.values, num_classes)


def scatter(classes: Tensor, values: Tensor, num_classes: int) -> Tensor:
    """Padded indices [R, k] and values [R, k] as a dense [R, C]; padding is dropped, repeats add up."""
    spill = torch.where(classes == PAD, num_classes, classes)
    out = values.new_zeros(classes.shape[0], num_classes + 1)
    return out.scatter_add_(1, spill, values)[:, :num_classes]


def widen(tensor: Tensor, width: int, fill: float) -> Tensor:
    """A padded [R, k] as [R, width], filled up with `fill`."""
    gap = width - tensor.shape[1]
    return tensor if gap == 0 else torch.cat([tensor, tensor.new_full((tensor.shape[0], gap), fill)], dim=1)
