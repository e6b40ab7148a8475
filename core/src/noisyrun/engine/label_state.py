"""What label phases decided about the training samples, by position; kept between phases and in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from noisyrun.api.labels import Labels, Targets
from noisyrun.api.phase import Exhibit
from noisyrun.api.prototypes import Prototypes


@dataclass(frozen=True)
class LabelState:
    """Targets and weights of the N training samples, on the CPU.

    Attributes
    ----------
    targets
        What the correctors made of the labels.
    weights
        float32 [N, k]: weight of each observed label, after scaling.
    target_weights
        float32 [N, kt]: weight of each corrected label, after scaling.
    score
        float32 [N]: higher = the observed label is likelier right.
    wrong
        bool [N] or None: the methods' own decision that the observed label is wrong.
    pair_score, pair_wrong
        float32 and bool [N, k], or None: of several labels a sample, the score and decision of each observed one.
    prototypes
        Of this label phase, for the next and for pictures; None when no builder was chosen.
    metrics
        Numbers of the label phase by name.
    predicted
        int64 [N, 2] or [N, 1]: the classifier's most probable classes at the label phase; None before any.
    exhibits
        What methods want looked at, by name.
    """

    targets: Targets
    weights: Tensor
    target_weights: Tensor
    score: Tensor
    wrong: Tensor | None = None
    prototypes: Prototypes | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    predicted: Tensor | None = None
    exhibits: Mapping[str, Exhibit] = field(default_factory=dict)
    pair_score: Tensor | None = None
    pair_wrong: Tensor | None = None

    @classmethod
    def initial(cls, labels: Labels) -> LabelState:
        """Before any label phase: observed labels, weight 1."""
        ones = torch.ones(labels.classes.shape)
        return cls(Targets.of(labels), ones, ones.clone(), torch.ones(len(labels)))
