"""Small data on which something can be learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from noisyrun.bank.stored import StoredBank
from noisyrun.testing import make_bank
from noisyrun_cleannet.config import CleanNetPrototypesConfig
from noisyrun_cleannet.prototypes import CleanNetPrototypes

KEY = "prototypes.cleannet"
#: A network that trains in a second.
QUICK: dict[str, Any] = {
    "reference_size": 6,
    "hidden": 24,
    "attended": 16,
    "attention": 8,
    "query_hidden": 24,
    "embedding": 12,
    "steps": 60,
    "check_every": 20,
    "lr": 0.05,
}


@dataclass(frozen=True)
class Data:
    """Features [N, D], observed and true labels [N]."""

    features: Tensor
    labels: Tensor
    truth: Tensor
    classes: int

    @property
    def right(self) -> Tensor:
        """int64 [N]: 1 where the observed label is the true one."""
        return (self.labels == self.truth).long()

    def bank(self, classes: int | None = None, share: float = 1.0, **known: Any) -> StoredBank:
        """A bank in which a share of the samples of the first so many classes is verified, half of them held out."""
        n = len(self.labels)
        draw = torch.rand(n, generator=torch.Generator().manual_seed(99))
        verified = torch.where((self.labels < (classes or self.classes)) & (draw < share), self.right, -1)
        known = {"verified": verified, "held": torch.arange(n) % 2 == 0} | known
        return make_bank(self.features, self.labels, self.classes, **known)


def make(
    n: int = 360, classes: int = 4, signal: int = 4, context: int = 6, strength: float = 2.0, seed: int = 0
) -> Data:
    """Samples that show their true class in some dimensions and the class of their label in others; a third is wrong.

    As on the web, a wrong label has a reason: the surroundings are those of its class. They vary far more than the
    signal does, so that a sample may be near to the mean of a class whether it belongs there or not.
    """
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(n) % classes
    other = (truth + torch.randint(1, classes, (n,), generator=generator)) % classes
    labels = torch.where(torch.rand(n, generator=generator) < 1 / 3, other, truth)
    centres = functional.normalize(torch.randn(classes, signal, generator=generator), dim=1)
    scenes = functional.normalize(torch.randn(classes, context, generator=generator), dim=1)
    shown = centres[truth] + 0.1 * torch.randn(n, signal, generator=generator)
    around = strength * (scenes[labels] + 0.5 * torch.randn(n, context, generator=generator))
    return Data(torch.cat([shown, around], dim=1), labels, truth, classes)


def builder(**settings: Any) -> CleanNetPrototypes:
    """A quick CleanNet."""
    made = CleanNetPrototypes(CleanNetPrototypesConfig(**(QUICK | settings)))
    made.key = KEY
    return made
