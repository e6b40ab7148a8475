"""Visual prototypes: one a class, from the samples whose similarities agree with the class relation (section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from noisyrun.api import FeatureBank, Needs, Phase, PrototypeBuilder, Prototypes, SideInfo, UserError
from noisyrun_sinet.config import SinetPrototypesConfig
from noisyrun_sinet.scores import (
    Candidates,
    Consistency,
    best_of_class,
    class_relation_of,
    initial_prototypes,
    weighted_means,
)


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
        candidates = Candidates(bank, self.config.clean != "never")
        rows, classes = candidates.pairs()
        if len(rows) == 0:
            raise UserError("no sample has a label: there is nothing to build prototypes from")
        mask = torch.zeros(bank.num_classes, dtype=torch.bool, device=bank.device)
        mask[classes.to(bank.device)] = True
        if not self._scores_count:
            return Prototypes.of(weighted_means(bank, rows, classes, phase), mask)
        relation = class_relation_of(side, self.key)
        scores = Consistency(self.config, *initial_prototypes(bank, candidates, self.config.k, phase))

        def weights(features: Tensor, labels: Tensor) -> Tensor:
            return scores.of_pairs(features, labels, relation)

        if self.config.top is not None:
            found, start = torch.empty(len(rows)), 0
            for block in phase.progress(bank.blocks(rows), None, "scores"):
                part = slice(start, start + len(block))
                found[part] = weights(block.features, classes[part].to(bank.device)).cpu()
                start = part.stop
            best = best_of_class(found, classes, self.config.top)
            rows, classes = rows[best], classes[best]
        if self.config.weighting == "constant":
            return Prototypes.of(weighted_means(bank, rows, classes, phase), mask)
        size = scores.size(torch.empty(0, bank.dim, device=bank.device))
        return Prototypes.of(weighted_means(bank, rows, classes, phase, weights, size), mask)
