"""Small methods to run label phases with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from noisyrun.api import (
    Block,
    FeatureBank,
    Judgement,
    LabelCorrector,
    Needs,
    Phase,
    PluginConfig,
    PrototypeBuilder,
    Prototypes,
    SampleWeighter,
    SideInfo,
    Targets,
    ops,
)

NO_SIDE = SideInfo()


class Means(PrototypeBuilder[PluginConfig]):
    """The mean feature of each class, class by class."""

    key = "prototypes.means"

    def build_class(self, c: int, bank: FeatureBank, rows: Tensor, side: SideInfo, phase: Phase) -> Prototypes:
        return Prototypes.of(bank.take(rows).features.mean(0).unsqueeze(0))


class Nearest(LabelCorrector[PluginConfig]):
    """The class of the nearest prototype, sure by the margin of the cosine."""

    key = "corrector.nearest"
    says_how_sure = True
    alpha = 0.5

    @property
    def needs(self) -> Needs:
        return Needs(prototypes=True)

    def correct(self, block: Block, targets: Targets, prototypes: Prototypes | None, side: SideInfo) -> Targets:
        assert prototypes is not None
        scores = ops.cosine(block.features, prototypes.vectors[:, 0]).masked_fill(~prototypes.present, -2)
        best = scores.topk(2, dim=1).values
        sure = best[:, 0] - best[:, 1] if self.says_how_sure else None
        return Targets.hard(scores.argmax(1), self.alpha, sure)


class Fixed(LabelCorrector[PluginConfig]):
    """Gives the targets it was made with, by row."""

    key = "corrector.fixed"

    def __init__(self, targets: Targets) -> None:
        super().__init__(PluginConfig())
        self.targets = targets

    def correct(self, block: Block, targets: Targets, prototypes: Prototypes | None, side: SideInfo) -> Targets:
        return self.targets.take(block.rows)


class By(SampleWeighter[PluginConfig]):
    """Weighs pairs by a function of row and label, and remembers which it was asked about."""

    def __init__(
        self,
        weigh: Callable[[Tensor, Tensor], Tensor],
        wrong: Callable[[Tensor, Tensor], Tensor] | None = None,
        key: str = "weighter.by",
        score: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(PluginConfig())
        self.key = key
        self._functions = weigh, wrong, score
        self.asked: list[tuple[int, int]] = []

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        self.asked += list(zip(block.rows.tolist(), labels.tolist()))
        weights, wrong, score = self._functions
        rows = block.rows
        return Judgement(
            weights(rows, labels).float(),
            None if score is None else score(rows, labels).float(),
            None if wrong is None else wrong(rows, labels),
        )


class Draws(By):
    """Weighs by a draw from the phase's generator."""

    def __init__(self, key: str = "weighter.draws") -> None:
        super().__init__(lambda rows, labels: self.drawn[rows], key=key)

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        self.drawn = torch.rand(len(bank), generator=phase.generator("draw"))
