"""Reweighting cluster: samples in large groups of confusable classes count more (section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from noisyrun.api import (
    PAD,
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
    ops,
)
from noisyrun_urnet import equations
from noisyrun_urnet.by_index import ByIndex
from noisyrun_urnet.config import ClustersConfig
from noisyrun_urnet.label import predicted_labels

#: Copies of the points that k-means and its caller hold at once, in four bytes a value.
_COPIES = 6


class Clusters(SampleWeighter[ClustersConfig]):
    """Weight of the group a sample falls into when its class is clustered with those it is most confused with.

    The weight belongs to the sample, by its observed label: read literally, equation 6 would make a corrected label
    count nothing. A sample without a label has the mean weight.

    Source: equations 5 to 7.
    """

    def __init__(self, config: ClustersConfig) -> None:
        super().__init__(config)
        self.weights: ByIndex | None = None

    @property
    def needs(self) -> Needs:
        return Needs(predictions=self.config.predictions, labels=frozenset({"single"}))

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        """Cluster every class with the four it is most confused with."""
        observed = bank.labels.single
        predicted = predicted_labels(bank, self.config.predictions)
        confused = equations.confused_classes(observed, predicted, bank.num_classes, self.config.confused)
        weights = torch.zeros(len(bank))
        for c in phase.progress(range(bank.num_classes), bank.num_classes, "clusters"):
            own = bank.of_class(c)
            if len(own) == 0:
                continue
            others = [bank.of_class(k) for k in confused[c].tolist() if k != PAD]
            # In order of the rows, and seeded by a sample: how the classes are numbered does not matter.
            rows = torch.cat([own, *others]).sort().values
            groups = self._cluster(bank, rows, phase, phase.generator(int(bank.index[own[0]])))
            sizes = torch.bincount(groups, minlength=self.config.groups)
            weights[own] = equations.group_weight(sizes, groups[torch.searchsorted(rows, own)])
        labelled = observed != PAD
        mean = float(weights[labelled].double().mean()) if bool(labelled.any()) else 1.0
        self.weights = ByIndex.of(bank, torch.where(labelled, weights, mean), mean)
        phase.log("confused_classes", float((confused != PAD).sum(1).double().mean()))

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        if self.weights is None:
            raise MethodError(self.key, "must be fitted before it weighs")
        weights = self.weights.take(block.index)
        # A sample among many is harder, not likelier right: the weights must not rank the labels.
        return Judgement(weights, torch.ones_like(weights))

    def state_dict(self) -> State:
        return {} if self.weights is None else self.weights.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weights = ByIndex.restored(state)

    def _cluster(self, bank: FeatureBank, rows: Tensor, phase: Phase, generator: torch.Generator) -> Tensor:
        """The group of each row, int64 [n], on the CPU.

        Where the rows do not fit in memory, k-means runs on as many as do, drawn at random, and the others go to the
        nearest of its centroids.
        """
        room = max(self.config.groups, phase.memory // (4 * bank.dim * _COPIES))
        some = rows
        if len(rows) > room:
            some = rows[torch.randperm(len(rows), generator=generator)[:room].sort().values]
        found = ops.kmeans(
            bank.take(some).features,
            self.config.groups,
            generator,
            iterations=self.config.iterations,
            memory=max(1, min(ops.BLOCK_BYTES, phase.memory // _COPIES)),
        )
        if some is rows:
            return found.assignment.cpu()
        empty = found.sizes == 0
        return torch.cat(
            [
                torch.cdist(block.features, found.centroids).masked_fill(empty, torch.inf).argmin(1).cpu()
                for block in bank.blocks(rows, size=room)
            ]
        )
