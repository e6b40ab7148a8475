"""The socket that says how much a label counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from noisyrun.api.errors import MethodError
from noisyrun.api.method import C, Method, check

if TYPE_CHECKING:
    from noisyrun.api.bank import Block, FeatureBank
    from noisyrun.api.phase import Phase
    from noisyrun.api.prototypes import Prototypes
    from noisyrun.api.side_info import SideInfo


@dataclass(frozen=True)
class Judgement:
    """What a weighter thinks of R (sample, label) pairs.

    Attributes
    ----------
    weights
        float32 [R], finite, ≥ 0: how much the pair counts in the loss.
    score
        float32 [R]: higher is likelier right; ranks the labels. The weights where a weighter gives none.
    wrong
        bool [R]: its own decision that the label is wrong; None where it makes none.
    """

    weights: Tensor
    score: Tensor | None = None
    wrong: Tensor | None = None


class SampleWeighter(Method[C]):
    """Says how much each (sample, label) pair counts. Several weighters multiply."""

    def __call__(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        """Weigh, and hold the answer against the contract. The host calls this.

        A class without a prototype gives no ground to judge by: its pairs weigh 1, and count as right, when the
        method needs prototypes.
        """
        made = self.weigh(block, labels, prototypes, side)
        if not isinstance(made, Judgement):
            made = Judgement(made)
        size, device = (len(block),), block.bank.device
        weights = check(self.key, "weights", made.weights, size, None, device, low=0.0).float()
        score = made.weights if made.score is None else made.score
        score = check(self.key, "score", score, size, None, device).float()
        wrong = made.wrong
        if wrong is not None:
            wrong = check(self.key, "wrong", wrong, size, torch.bool, device)
        if prototypes is not None and self.needs.prototypes:
            absent = ~prototypes.present.to(device)[labels]
            weights = weights.masked_fill(absent, 1.0)
            wrong = None if wrong is None else wrong & ~absent
        return Judgement(weights, score, wrong)

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        """Learn what `weigh` uses: optional; once a label phase, on one process, before any block is weighed."""

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Tensor | Judgement:
        """Weigh the pairs (row r of the block, labels[r]).

        Parameters
        ----------
        block
            Rows of the bank, one for each pair; a sample with several labels to judge appears once for each.
        labels
            int64 [R]: the label to judge in each row. Not necessarily the observed one.
        prototypes
            Prototypes of this label phase; None when no builder was chosen.
        side
            What the side-info encoders gave.

        Returns
        -------
        Tensor or Judgement
            Weights [R], finite and ≥ 0; or a Judgement that also carries a score and a decision.
        """
        raise MethodError(self.key, "must define weigh")
