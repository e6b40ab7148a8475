"""Small data on which something can be learned: classes that differ in a few dimensions, most others are noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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


def make(n: int = 360, classes: int = 4, signal: int = 3, nuisance: int = 7, noise: float = 2.0, seed: int = 0) -> Data:
    """Samples around class centres in a few dimensions, with noise in others; a third of the labels is wrong."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(n) % classes
    centres = torch.nn.functional.normalize(torch.randn(classes, signal, generator=generator), dim=1) * 2
    near = centres[truth] + 0.2 * torch.randn(n, signal, generator=generator)
    far = noise * torch.randn(n, nuisance, generator=generator)
    other = (truth + torch.randint(1, classes, (n,), generator=generator)) % classes
    wrong = torch.rand(n, generator=generator) < 1 / 3
    return Data(torch.cat([near, far], dim=1), torch.where(wrong, other, truth), truth, classes)


def builder(**settings: Any) -> CleanNetPrototypes:
    """A quick CleanNet."""
    made = CleanNetPrototypes(CleanNetPrototypesConfig(**(QUICK | settings)))
    made.key = KEY
    return made
