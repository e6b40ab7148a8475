"""Visual prototypes: one a class, from the samples whose similarities agree with the class relation (section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from noisyrun.api import FeatureBank, Needs, Phase, PrototypeBuilder, Prototypes, SideInfo
from noisyrun_sinet.config import SinetPrototypesConfig
from noisyrun_sinet.equations import prototype
from noisyrun_sinet.scores import Candidates, Consistency, chunks, class_relation_of, initial_prototypes


class SinetPrototypes(PrototypeBuilder[SinetPrototypesConfig]):
    """Weighted mean of each class's features, weighted by their consistency with the class relation.

    Source: section 3.2, equations 4 and 5, table 3; built from a trusted clean subset where there is one (table 8).
    """

    @property
    def needs(self) -> Needs:
        return Needs(class_similarity=self._scores_count, clean=self.config.clean == "always")

    @property
    def _scores_count(self) -> bool:
        """A plain mean over all samples of a class asks for no scores."""
        return self.config.weighting == "weighting" or self.config.top is not None

    def build(self, bank: FeatureBank, side: SideInfo, phase: Phase) -> Prototypes:
        # Every score compares with the initial prototypes of all classes, so that classes cannot be built apart.
        relation = class_relation_of(side, self.key) if self._scores_count else None
        candidates = Candidates(bank, self.config.clean != "never")
        initial, present = initial_prototypes(bank, candidates, self.config.k)
        scores = Consistency(self.config, initial, present)
        vectors = torch.zeros(bank.num_classes, bank.dim, device=bank.device)
        for group in phase.progress(chunks(present), None, "prototypes"):
            semantic = None if relation is None else scores.semantic(relation, group)
            for i, c in enumerate(group.tolist()):
                rows = candidates.of_class(c)
                vectors[c] = self._of_class(bank, rows, scores, None if semantic is None else semantic[i])
        mask = torch.zeros(bank.num_classes, dtype=torch.bool, device=bank.device)
        mask[present] = True
        return Prototypes.of(vectors, mask)

    def _of_class(self, bank: FeatureBank, rows: Tensor, scores: Consistency, semantic: Tensor | None) -> Tensor:
        """v_c, float32 [D], block by block: the mean of block means, each counting as its scores add up."""
        top = self.config.top
        if semantic is not None and top is not None and len(rows) > top:
            found = torch.cat([scores.of_one(block.features, semantic) for block in bank.blocks(rows)])
            best = found.argsort(descending=True, stable=True)[:top]
            rows = rows[best.cpu().sort().values]
        mean = torch.zeros(bank.dim, device=bank.device)
        total = torch.zeros((), device=bank.device)
        for block in bank.blocks(rows):
            if semantic is None or self.config.weighting == "constant":
                counts = block.features.new_ones(len(block))
            else:
                counts = scores.of_one(block.features, semantic)
            total = total + counts.sum()
            mean = mean + (prototype(block.features, counts) - mean) * (counts.sum() / total)
        return mean
