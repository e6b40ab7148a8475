"""Confident learning: labels that the out-of-sample classifier contradicts are wrong.

Northcutt, Jiang, Chuang: Confident Learning, JAIR 2021. https://arxiv.org/abs/1911.00068
Everything that judges is cleanlab's own; this file hands it arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from torch import Tensor

from noisyrun.api import (
    PAD,
    Block,
    FeatureBank,
    Judgement,
    Needs,
    Phase,
    Prototypes,
    SampleWeighter,
    SideInfo,
    State,
)
from noisyrun_cleanlab import probabilities
from noisyrun_cleanlab.config import CleanlabConfig


class Cleanlab(SampleWeighter[CleanlabConfig]):
    """Score: get_label_quality_scores. Decision: find_label_issues.

    cleanlab decides on the labels of a data set. Another label, which a corrector gave, is called wrong where another
    class is more probable.
    """

    def __init__(self, config: CleanlabConfig) -> None:
        super().__init__(config)
        self.index: Tensor | None = None  # int64 [n], ascending: the labelled samples
        self.labels: Tensor | None = None  # int64 [n]
        self.wrong: Tensor | None = None  # bool [n]
        self.probabilities: Tensor | None = None  # float32 [n, C]; those that scores are made of

    @property
    def needs(self) -> Needs:
        return Needs(labels=frozenset({"single"}))

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        observed = bank.labels.single
        rows = (observed != PAD).nonzero()[:, 0]
        # By stable index, so that folds do not depend on the order of rows.
        rows = rows[bank.index[rows].argsort()]
        self.index, self.labels = bank.index[rows], observed[rows]
        # cleanlab wants labels from 0 on without a gap: classes that no label names are left out.
        named, labels = np.unique(self.labels.numpy(), return_inverse=True)
        self.wrong = torch.zeros(len(rows), dtype=torch.bool)
        self.probabilities = torch.zeros(len(rows), bank.num_classes)
        if len(named) < 2:
            self.probabilities[:, named] = 1.0
            return
        if self.config.probabilities == "predictions":
            found = probabilities.predicted(bank, rows)[:, named].clip(min=1e-12)
            found /= found.sum(1, keepdims=True)
        else:
            found = probabilities.out_of_sample(probabilities.features_of(bank, rows), labels, self.config, phase)
        # One process: a fork of one that runs torch may hang, and its memory would not be counted.
        issues = find_label_issues(labels, found, filter_by=self.config.filter_by, n_jobs=1)
        self.wrong = torch.from_numpy(np.asarray(issues, dtype=bool))
        if self.config.adjust_pred_probs:
            found = probabilities.adjusted(found, probabilities.thresholds_of(found, labels))
        self.probabilities[:, named] = torch.from_numpy(found).float()

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        assert self.index is not None
        assert self.labels is not None
        assert self.wrong is not None
        assert self.probabilities is not None
        asked, judged = block.index.cpu(), labels.cpu()
        at = torch.searchsorted(self.index, asked).clamp(max=max(0, len(self.index) - 1))
        said = self.probabilities[at]
        quality = torch.from_numpy(_quality(said.numpy(), judged.numpy(), self.config.method)).float()
        other = said.argmax(1) != judged
        wrong = torch.where(self.labels[at] == judged, self.wrong[at], other)
        weights = (~wrong).float() if self.config.weights == "keep" else quality
        device = block.features.device
        return Judgement(weights.to(device), quality.to(device), wrong.to(device))

    def state_dict(self) -> State:
        if self.index is None:
            return {}
        return {
            "index": self.index,
            "labels": self.labels,
            "wrong": self.wrong,
            "probabilities": self.probabilities,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in ("index", "labels", "wrong", "probabilities"):
            setattr(self, name, state.get(name))


def _quality(said: np.ndarray, labels: np.ndarray, method: str) -> np.ndarray:
    """Label quality float [R], in [0, 1]; a class of probability 0 has quality 0, whatever the method makes of it."""
    if len(labels) == 0:
        return np.zeros(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        made = get_label_quality_scores(labels, said, method=method)
    return np.nan_to_num(made, nan=0.0).clip(0.0, 1.0)
