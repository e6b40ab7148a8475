"""How unlike the others a sample is. It does not look at labels: an outlier is not yet a wrong label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from cleanlab.outlier import OutOfDistribution
from torch import Tensor

from noisyrun.api import PAD, Block, FeatureBank, Judgement, Needs, Phase, Prototypes, SampleWeighter, SideInfo, State
from noisyrun_cleanlab.config import CleanlabOutlierConfig
from noisyrun_cleanlab.probabilities import features_of, predicted


class CleanlabOutlier(SampleWeighter[CleanlabOutlierConfig]):
    """Score and weight: cleanlab's out-of-distribution score, in [0, 1]. It makes no decision."""

    def __init__(self, config: CleanlabOutlierConfig) -> None:
        super().__init__(config)
        self.index: Tensor | None = None  # int64 [N], ascending
        self.score: Tensor | None = None  # float32 [N]

    @property
    def needs(self) -> Needs:
        return Needs(labels=frozenset({"single"}))

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        rows = bank.index.argsort()
        self.index, self.score = bank.index[rows], torch.ones(len(rows))
        if self.config.source == "features":
            k = min(self.config.k, len(rows) - 1)
            model = OutOfDistribution({"k": k})
            found = model.fit_score(features=features_of(bank, rows), verbose=False)
            self.score = torch.from_numpy(found).float().nan_to_num(nan=1.0)
            return
        labelled = bank.labels.single[rows] != PAD
        rows, labels = rows[labelled], bank.labels.single[rows][labelled]
        if len(labels.unique()) < 2:
            return
        model = OutOfDistribution()
        found = model.fit_score(pred_probs=predicted(bank, rows), labels=labels.numpy(), verbose=False)
        self.score[labelled] = torch.from_numpy(found).float().clamp(0, 1)

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        assert self.index is not None
        assert self.score is not None
        at = torch.searchsorted(self.index, block.index.cpu()).clamp(max=len(self.index) - 1)
        score = self.score[at].to(block.features.device)
        return Judgement(score, score)

    def state_dict(self) -> State:
        return {} if self.index is None else {"index": self.index, "score": self.score}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.index, self.score = state.get("index"), state.get("score")
