"""Reweighting cluster: samples in large groups of confusable classes count more (section 4.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
#: Classes that are handed to k-means at once; on a GPU it solves as many together as the memory allows.
_TOGETHER = 64


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
        classes = [c for c in range(bank.num_classes) if len(bank.of_class(c))]
        chunks = [classes[i : i + _TOGETHER] for i in range(0, len(classes), _TOGETHER)]
        for chunk in phase.progress(chunks, len(chunks), "clusters"):
            groups = [bank.of_class(c) for c in chunk]
            # In order of the rows, and seeded by a sample: how the classes are numbered does not matter.
            scenes = [
                torch.cat([own, *(bank.of_class(k) for k in confused[c].tolist() if k != PAD)]).sort().values
                for c, own in zip(chunk, groups)
            ]
            seeds = [phase.generator(int(bank.index[own[0]])) for own in groups]
            for own, rows, found in zip(groups, scenes, self._cluster(bank, scenes, seeds, phase)):
                sizes = torch.bincount(found, minlength=self.config.groups)
                weights[own] = equations.group_weight(sizes, found[torch.searchsorted(rows, own)])
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

    def _cluster(
        self, bank: FeatureBank, scenes: Sequence[Tensor], seeds: Sequence[torch.Generator], phase: Phase
    ) -> Iterator[Tensor]:
        """The group of each row of several sets of rows, int64 [n] on the CPU, set after set.

        Where rows do not fit in memory, k-means runs on as many as do, drawn at random, and the others go to the
        nearest of its centroids.
        """
        room = max(self.config.groups, phase.memory // (4 * bank.dim * _COPIES))
        some = [
            rows if len(rows) <= room else rows[torch.randperm(len(rows), generator=seed)[:room].sort().values]
            for rows, seed in zip(scenes, seeds)
        ]
        solved = ops.kmeans_batch(
            (bank.take(rows).features for rows in some),
            self.config.groups,
            seeds,
            iterations=self.config.iterations,
            memory=max(1, phase.memory // 4),
        )
        for rows, part, found in zip(scenes, some, solved):
            yield found.assignment.cpu() if part is rows else _nearest(bank, rows, found, room)


def _nearest(bank: FeatureBank, rows: Tensor, found: ops.Clusters, room: int) -> Tensor:
    """The nearest cluster of each row, int64 [n], on the CPU."""
    empty = found.sizes == 0
    blocks = bank.blocks(rows, size=room)
    near = [torch.cdist(b.features, found.centroids).masked_fill(empty, torch.inf).argmin(1).cpu() for b in blocks]
    return torch.cat(near)
