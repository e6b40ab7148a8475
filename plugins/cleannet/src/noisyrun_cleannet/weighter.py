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
        self._similar: ClassCosine | None = None

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
        if self._similar is None or self._similar.prototypes is not prototypes:
            self._similar = ClassCosine(prototypes, self.config.similarity)
        size = _PIECE[block.features.device.type == "cpu"]
        parts = zip(block.features.split(size), labels.split(size))
        return torch.cat([self._similar(prototypes.embed(part), named) for part, named in parts])

    def state_dict(self) -> State:
        return {"delta": self.delta}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.delta = state.get("delta", self.config.delta)


class ClassCosine:
    """Cosine of samples to the prototypes of their labels, whose directions are made once for all blocks.

    Parameters
    ----------
    prototypes
        Those of all classes.
    similarity
        Several prototypes: their ``mean`` cosine by weight, or the ``nearest``.
    """

    def __init__(self, prototypes: Prototypes, similarity: str = "mean") -> None:
        self.prototypes = prototypes
        self.vectors, self.mask = ops.unit(prototypes.vectors), prototypes.mask
        if similarity == "mean":
            # The mean of cosines is one dot product with the mean of unit vectors.
            share = prototypes.weights / prototypes.weights.sum(1, keepdim=True).clamp(min=1e-12)
            self.vectors = (self.vectors * share.unsqueeze(2)).sum(1, keepdim=True)
            self.mask = torch.ones_like(self.mask[:, :1])

    def __call__(self, embedded: Tensor, labels: Tensor) -> Tensor:
        """Of ``prototypes.embed(features)`` [R, E] and labels int64 [R].

        Returns
        -------
        Tensor
            float32 [R], from −1 to 1; 0 where the class has no prototype.
        """
        device = embedded.device
        self.vectors, self.mask = self.vectors.to(device), self.mask.to(device)
        queries = ops.unit(embedded.float())
        best = torch.full((len(queries),), -torch.inf, device=device)
        # One prototype of every class at a time: never a row for each of a sample's P.
        for vectors, mask in zip(self.vectors.unbind(1), self.mask.unbind(1)):
            cosines = vectors.index_select(0, labels).mul_(queries).sum(1)
            best = torch.where(mask[labels], torch.maximum(best, cosines), best)
        return best.masked_fill(best == -torch.inf, 0.0).clamp(-1, 1)
