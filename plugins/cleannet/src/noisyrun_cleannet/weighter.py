"""CleanNet as a weighter and a detector: the cosine of a sample to its class (sections 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from noisyrun.api import (
    Block,
    FeatureBank,
    Judgement,
    Needs,
    Phase,
    Prototypes,
    SampleWeighter,
    SideInfo,
    State,
    UserError,
    ops,
)
from noisyrun_cleannet import equations
from noisyrun_cleannet.config import CleanNetWeighterConfig
from noisyrun_cleannet.verification import pairs_of

#: Samples that are embedded at a time: on a GPU, and on a CPU, in whose cache what lies between the layers stays.
_PIECE = (1 << 15, 1 << 10)


class CleanNetWeighter(SampleWeighter[CleanNetWeighterConfig]):
    """Weighs a label by the cosine of its sample to the class, and calls it wrong below a threshold δ.

    Works on any builder's prototypes, in the space they live in. δ is chosen on held-out verification labels; without
    any, soft weights are given all the same, and nothing is called wrong.
    """

    def __init__(self, config: CleanNetWeighterConfig) -> None:
        super().__init__(config)
        self.delta: float | None = config.delta

    @property
    def needs(self) -> Needs:
        unknown = self.config.weights == "hard" and self.config.delta is None
        given = self.config.verification == "given"
        return Needs(
            prototypes=True,
            verification=unknown and given,
            predictions=None if given else self.config.predictions,
        )

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        """Choose δ: least average error over classes on the verification labels held out."""
        assert prototypes is not None  # `needs` says so
        self.delta = self.config.delta
        held = pairs_of(bank, "held", self.config, phase).verified
        held = held.take(prototypes.present.cpu()[held.classes])
        if len(held) == 0:
            if self.delta is None and self.config.weights == "hard":
                raise UserError(f"{self.key}: no verification label is held out to choose δ on; set --weighter.delta")
            return
        cosines, start = torch.empty(len(held)), 0
        for block in bank.blocks(held.rows):
            stop = start + len(block)
            labels = held.classes[start:stop].to(bank.device)
            cosines[start:stop] = self._cosines(block, labels, prototypes).cpu()
            start = stop
        if self.delta is None:
            self.delta, error = equations.best_threshold(cosines, held.relevance, held.classes)
        else:
            error = equations.average_error(~equations.relevant(cosines, self.delta), held.relevance, held.classes)
        phase.log("delta", self.delta)
        phase.log("held_error", error)

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        assert prototypes is not None  # `needs` says so
        cosines = self._cosines(block, labels, prototypes)
        wrong = None if self.delta is None else ~equations.relevant(cosines, self.delta)
        if self.config.weights == "soft":
            return Judgement(equations.soft_weight(cosines), cosines, wrong)
        if self.delta is None:
            raise UserError(f"{self.key}: hard weights need a threshold; set --weighter.delta")
        return Judgement(equations.hard_weight(cosines, self.delta), cosines, wrong)

    def _cosines(self, block: Block, labels: Tensor, prototypes: Prototypes) -> Tensor:
        embedded = block.features
        if prototypes.project is not None:
            parts = embedded.split(_PIECE[embedded.device.type == "cpu"])
            embedded = torch.cat([prototypes.embed(part) for part in parts])
        return class_cosine(embedded, labels, prototypes, self.config.similarity)

    def state_dict(self) -> State:
        return {"delta": self.delta}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.delta = state.get("delta", self.config.delta)


def class_cosine(embedded: Tensor, labels: Tensor, prototypes: Prototypes, similarity: str = "mean") -> Tensor:
    """Cosine of each sample to the prototypes of its label.

    Parameters
    ----------
    embedded
        float [R, E]: ``prototypes.embed(features)``.
    labels
        int64 [R].
    similarity
        Several prototypes: their ``mean`` cosine by weight, or the ``nearest``.

    Returns
    -------
    Tensor
        float32 [R], from −1 to 1; 0 where the class has no prototype.
    """
    queries = ops.unit(embedded.float())
    device = queries.device
    if similarity == "mean":
        # The mean of cosines is one dot product with the mean of unit vectors.
        share = prototypes.weights / prototypes.weights.sum(1, keepdim=True).clamp(min=1e-12)
        means = (ops.unit(prototypes.vectors) * share.unsqueeze(2)).sum(1).to(device)
        return (queries * means[labels]).sum(1).clamp(-1, 1)
    best = torch.full((len(queries),), -torch.inf, device=device)
    # One prototype of every class at a time: never a row for each of a sample's P.
    for place in range(prototypes.vectors.shape[1]):
        vectors = ops.unit(prototypes.vectors[:, place]).to(device)
        cosines = (queries * vectors[labels]).sum(1)
        mask = prototypes.mask[:, place].to(device)
        best = torch.where(mask[labels], torch.maximum(best, cosines), best)
    return best.masked_fill(best == -torch.inf, 0.0).clamp(-1, 1)
