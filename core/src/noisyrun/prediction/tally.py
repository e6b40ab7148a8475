"""What many predictions come to, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from noisyrun.prediction.inputs import Given

#: Unreadable images that are named before the rest is counted.
NAMED = 5


@dataclass
class Tally:
    """Counts over all predictions.

    Attributes
    ----------
    images
        Predicted ones.
    unreadable, named
        How many could not be read; the first few, with the reason.
    counts
        int64 [C]: images by predicted class; with several labels, those a class was found in.
    confidence
        float64 [C]: sum of the probabilities of those.
    judged
        Images whose class is given.
    slowest
        Seconds and name of the image that took longest to decode.
    """

    classes: int
    multi: bool
    images: int = 0
    unreadable: int = 0
    named: list[tuple[str, str]] = field(default_factory=list)
    counts: Tensor = field(init=False)
    confidence: Tensor = field(init=False)
    judged: int = 0
    right: int = 0
    right5: int = 0
    pairs: list[int] = field(default_factory=lambda: [0, 0, 0])
    slowest: tuple[float, str] = (0.0, "")

    def __post_init__(self) -> None:
        self.counts = torch.zeros(self.classes, dtype=torch.int64)
        self.confidence = torch.zeros(self.classes, dtype=torch.float64)

    def failed(self, name: str, reason: str) -> None:
        """One image that could not be read."""
        self.unreadable += 1
        if len(self.named) < NAMED:
            self.named.append((name, reason))

    def add(self, probabilities: Tensor, found: Tensor, best: Tensor, given: Sequence[Given | None]) -> None:
        """A batch.

        Parameters
        ----------
        probabilities
            float32 [B, C].
        found
            bool [B, C]: the classes that are predicted.
        best
            int64 [B, k]: the likeliest classes, up to five.
        """
        self.images += len(probabilities)
        self.counts += found.sum(0)
        self.confidence += (probabilities * found).sum(0, dtype=torch.float64)
        if self.multi:
            self._add_pairs(found, given)
            return
        for classes, one in zip(best.tolist(), given, strict=True):
            if one is not None and one.holds:
                self.judged += 1
                self.right += classes[0] in one.holds
                self.right5 += not one.holds.isdisjoint(classes)

    def _add_pairs(self, found: Tensor, given: Sequence[Given | None]) -> None:
        for row, one in enumerate(given):
            if one is not None:
                self.judged += 1
                said = set(found[row].nonzero()[:, 0].tolist())
                said = said if one.known is None else said & one.known
                self.pairs[0] += len(said & one.holds)
                self.pairs[1] += len(said - one.holds)
                self.pairs[2] += len(one.holds - said)

    def measures(self) -> dict[str, float]:
        """How right predictions are where that is known: accuracy and top5; or precision, recall and f1 over pairs."""
        if not self.judged:
            return {}
        if self.multi:
            right, wrong, missed = self.pairs
            return {
                "precision": right / max(1, right + wrong),
                "recall": right / max(1, right + missed),
                "f1": 2 * right / max(1, 2 * right + wrong + missed),
            }
        top5 = {"top5": self.right5 / self.judged} if self.classes > 5 else {}
        return {"accuracy": self.right / self.judged, **top5}
