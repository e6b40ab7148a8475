"""Detection baselines without a learned comparison: all labels right, the mean of a class, a classifier's best classes.

Source: section 4.2, table 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from noisyrun.api import (
    Block,
    FeatureBank,
    Judgement,
    MethodError,
    Needs,
    Phase,
    Prototypes,
    SampleWeighter,
    SideInfo,
    State,
    UserError,
    ops,
)
from noisyrun_cleannet.baselines_config import AverageConfig, FilteringConfig, NaiveConfig
from noisyrun_cleannet.config import CleanNetPrototypesConfig, VerificationConfig
from noisyrun_cleannet.equations import average_error, best_threshold
from noisyrun_cleannet.references import reference_sets
from noisyrun_cleannet.verification import Pairs, pairs_of


class NaiveWeighter(SampleWeighter[NaiveConfig]):
    """Takes every label for right: what a detector has to beat."""

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        ones = torch.ones(len(block), device=block.bank.device)
        return Judgement(ones, ones, torch.zeros_like(ones, dtype=torch.bool))


class AverageWeighter(SampleWeighter[AverageConfig]):
    """A label is wrong when its sample's features are far from the mean of its class's references, by cosine."""

    def __init__(self, config: AverageConfig) -> None:
        super().__init__(config)
        self.means: Tensor | None = None
        self.present: Tensor | None = None
        self.delta: float | None = config.delta

    @property
    def needs(self) -> Needs:
        return Needs() if self.config.delta is not None else needs_of(self.config)

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        """The mean of each class's references, and the threshold from the held-out verification labels."""
        self.means, self.present = self._means(bank, phase)
        if self.config.delta is not None:
            return
        held = held_out(bank, self.config, phase, "delta")
        cosines = [self._cosine(bank.take(part.rows).features, part.classes) for part in in_blocks(bank, held, phase)]
        self.delta, error = best_threshold(torch.cat(cosines).cpu(), held.relevance, held.classes)
        phase.log("delta", self.delta)
        phase.log("held_error", error)

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        if self.delta is None:
            raise MethodError(self.key, "must be fitted before it weighs")
        cosines = self._cosine(block.features, labels)
        assert self.present is not None
        # A class without samples has no references to judge by.
        wrong = (cosines < self.delta) & self.present[labels]
        return Judgement((~wrong).float(), cosines, wrong)

    def state_dict(self) -> State:
        if self.means is None or self.present is None:
            return {}
        return {"delta": self.delta, "means": self.means.cpu(), "present": self.present.cpu()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.delta = state.get("delta", self.config.delta)
        self.means = state.get("means")
        self.present = state.get("present")

    def _means(self, bank: FeatureBank, phase: Phase) -> tuple[Tensor, Tensor]:
        """float32 [C, D], and bool [C]: which classes have one."""
        if self.config.references != "all":
            config = CleanNetPrototypesConfig(
                references=self.config.references, reference_size=self.config.reference_size
            )
            means = torch.zeros(bank.num_classes, bank.dim, device=bank.device)
            for c, found, _ in reference_sets(bank, config, phase):
                means[c] = found.sum(0) / max(1, len(found))
            return means, (bank.class_counts() > 0).to(bank.device)
        total = ops.SegmentSum(bank.num_classes, bank.dim, bank.device)
        for block in phase.progress(bank.blocks(), None, "class means"):
            rows, classes = block.labels.pairs()
            total.add(block.features[rows], classes)
        return total.means(), total.totals > 0

    def _cosine(self, features: Tensor, labels: Tensor) -> Tensor:
        """Cosine of features [R, D] with the means of their labels, int64 [R]: float32 [R]."""
        if self.means is None or self.present is None:
            raise MethodError(self.key, "must be fitted before it weighs")
        self.means, self.present = self.means.to(features.device), self.present.to(features.device)
        means = ops.unit(self.means.index_select(0, labels.to(features.device)))
        return means.mul_(ops.unit(features.float())).sum(1)


class FilteringWeighter(SampleWeighter[FilteringConfig]):
    """A label is wrong when it is none of the classifier's K best classes for its sample."""

    def __init__(self, config: FilteringConfig) -> None:
        super().__init__(config)
        self.k: int | None = config.k

    @property
    def needs(self) -> Needs:
        given = needs_of(self.config) if self.config.k is None else Needs()
        return given if self.config.classifier is None else replace(given, predictions=self.config.classifier)

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        """K from the held-out verification labels."""
        name = self.config.classifier
        best = bank.top_classes if name is None else bank.predictions(name)[0]
        width = best.shape[1]
        if self.config.k is not None:
            if self.config.k > width and width < bank.num_classes:
                raise UserError(
                    f"--{self.key}.k: is {self.config.k}, but only the {width} best classes of each sample are kept; "
                    f"keep more (--bank.top {self.config.k})"
                )
            return
        held = held_out(bank, self.config, phase, "k")
        place = place_of(best[held.rows], held.classes)
        errors = [average_error(place >= k, held.relevance, held.classes) for k in range(1, width + 1)]
        self.k = 1 + errors.index(min(errors))
        phase.log("k", self.k)
        phase.log("held_error", min(errors))

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        if self.k is None:
            raise MethodError(self.key, "must be fitted before it weighs")
        name = self.config.classifier
        best, probs = (block.top_classes, block.top_probs) if name is None else block.predictions(name)
        score = ((best == labels.unsqueeze(1)) * probs).sum(1)
        wrong = place_of(best, labels) >= self.k
        return Judgement((~wrong).float(), score.float(), wrong)

    def state_dict(self) -> State:
        return {"k": self.k}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.k = state.get("k", self.config.k)


def place_of(best: Tensor, labels: Tensor) -> Tensor:
    """int64 [R]: place, from 0, of each label, int64 [R], among the best classes int64 [R, K]; K where it is none."""
    found = best == labels.unsqueeze(1)
    return torch.where(found.any(1), found.long().argmax(1), best.shape[1])


def needs_of(config: VerificationConfig) -> Needs:
    """What those need who read verification labels."""
    if config.verification == "given":
        return Needs(verification=True)
    return Needs(predictions=config.predictions)


def held_out(bank: FeatureBank, config: VerificationConfig, phase: Phase, setting: str) -> Pairs:
    """The held-out verified (sample, label) pairs.

    Raises
    ------
    UserError
        When there are none.
    """
    held = pairs_of(bank, "held", config, phase).verified
    if len(held) == 0:
        raise UserError(
            f"{phase.method}: no verification labels are held out to choose {setting} by; verify more (--verify), or "
            f"give it (--{phase.method}.{setting})"
        )
    return held


def in_blocks(bank: FeatureBank, pairs: Pairs, phase: Phase) -> Iterator[Pairs]:
    """The pairs in pieces whose features take no more than an eighth of the phase's memory."""
    for rows in ops.spans(len(pairs), 4 * bank.dim, phase.memory // 8):
        yield pairs.take(torch.arange(rows.start, rows.stop))
