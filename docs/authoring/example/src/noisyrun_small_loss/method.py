"""Small-loss weighting: a label that the classifier finds unlikely for its class counts nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisyrun.api import PAD, Block, FeatureBank, Judgement, Phase, Prototypes, SampleWeighter, SideInfo, State
from noisyrun_small_loss.config import SmallLossConfig


class SmallLoss(SampleWeighter[SmallLossConfig]):
    """Keeps, of each class, the share of labels with the smallest loss: those of the highest probability."""

    least: Tensor | None = None  # float32 [C]: probability from which on a label of the class is kept

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        classes = bank.labels.classes[bank.labels.classes != PAD]
        by_class = bank.label_probs[bank.labels.classes != PAD][classes.argsort(stable=True)]
        self.least = torch.zeros(bank.num_classes)
        for c, probs in enumerate(by_class.split(bank.class_counts().tolist())):
            if len(probs):
                kept = math.ceil(self.config.keep * len(probs))
                self.least[c] = probs.sort(descending=True).values[kept - 1]

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        assert self.least is not None, "the host calls fit first"
        observed = block.label_probs * (block.labels.classes == labels.unsqueeze(1))
        likely = block.top_probs * (block.top_classes == labels.unsqueeze(1))  # labels that a corrector gave, too
        score = torch.maximum(observed.amax(1), likely.amax(1))
        kept = score >= self.least.to(score.device)[labels]
        return Judgement(weights=kept.float(), score=score, wrong=~kept)

    def state_dict(self) -> State:
        return {} if self.least is None else {"least": self.least}

    def load_state_dict(self, state: State) -> None:
        self.least = state.get("least")
