"""Reweighting class: rare classes count more (section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from noisyrun.api import (
    Block,
    FeatureBank,
    Judgement,
    MethodError,
    Phase,
    Prototypes,
    SampleWeighter,
    SideInfo,
    State,
)
from noisyrun_urnet import equations
from noisyrun_urnet.config import ClassSizeConfig


class ClassSize(SampleWeighter[ClassSizeConfig]):
    """Weight of the class of the label that is judged: an observed and a corrected label have each its own.

    Multi-label: sizes count positives, and each positive has the weight of its class.

    Source: equations 2 to 4.
    """

    def __init__(self, config: ClassSizeConfig) -> None:
        super().__init__(config)
        self.weights: Tensor | None = None

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        self.weights = equations.class_weight(bank.class_counts(), self.config.alpha, self.config.scale).float()

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        if self.weights is None:
            raise MethodError(self.key, "must be fitted before it weighs")
        weights = self.weights.to(labels.device)[labels]
        # A rare class is no likelier right: the weights must not rank the labels.
        return Judgement(weights, torch.ones_like(weights))

    def state_dict(self) -> State:
        return {} if self.weights is None else {"weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weights = state.get("weights")
