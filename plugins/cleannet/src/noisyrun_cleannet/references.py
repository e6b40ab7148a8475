"""Reference sets: the few features that stand for each class before anything is learned (section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from noisyrun.api import PAD, FeatureBank, Phase, UserError, ops
from noisyrun_cleannet.config import CleanNetPrototypesConfig


@dataclass(frozen=True)
class References:
    """Reference sets of all classes, on one device.

    Attributes
    ----------
    vectors
        float32 [C, P, D]; 0 where masked.
    mask
        bool [C, P]: which exist; none of a class without samples.
    rows
        int64 [C, P]: the sample each is, or for a centroid the one nearest to it; `PAD` where masked.
    """

    vectors: Tensor
    mask: Tensor
    rows: Tensor

    @property
    def present(self) -> Tensor:
        """bool [C]: classes that have references."""
        return self.mask.any(1)

    def of(self, classes: Tensor) -> References:
        """Those of some classes, int64 [U]."""
        return References(self.vectors[classes], self.mask[classes], self.rows[classes])


def choose_references(bank: FeatureBank, config: CleanNetPrototypesConfig, phase: Phase) -> References:
    """Reference sets of all classes: k-means centroids, or samples drawn at random.

    A class with no more samples than references takes them all. One whose features exceed a quarter of the phase's
    memory is clustered by a random subset.

    Raises
    ------
    UserError
        When the references of all classes exceed half of the phase's memory.
    """
    count, size = bank.num_classes, config.reference_size
    most = phase.memory // 2
    if 4 * count * size * bank.dim > most:
        raise UserError(
            f"--prototypes.reference_size: {size} references of {count} classes need "
            f"{4 * count * size * bank.dim / 1e9:.2g} GB, more than --bank.memory allows; set it to at most "
            f"{max(1, most // (4 * count * bank.dim))}, or raise --bank.memory"
        )
    vectors = torch.zeros(count, size, bank.dim, device=bank.device)
    mask = torch.zeros(count, size, dtype=torch.bool)
    rows = torch.full((count, size), PAD)
    for c, found, samples in reference_sets(bank, config, phase):
        vectors[c, : len(found)] = found
        mask[c, : len(found)] = True
        rows[c, : len(found)] = samples
    return References(vectors, mask.to(bank.device), rows.to(bank.device))


def reference_sets(
    bank: FeatureBank, config: CleanNetPrototypesConfig, phase: Phase
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Each class, up to `reference_size` vectors [q, D] and the rows [q] they are or are nearest to."""
    size = config.reference_size
    # The points themselves take up to a quarter of the memory, what k-means holds beside them another.
    most = max(size, phase.memory // 4 // (4 * bank.dim))
    waiting: dict[int, Tensor] = {}
    for c in phase.progress(range(bank.num_classes), bank.num_classes, "reference sets"):
        rows, generator = bank.of_class(c), phase.generator("references", c)
        if len(rows) <= size or config.references == "random":
            rows = _draw(rows, size, generator)
            yield c, bank.take(rows).features, rows
            continue
        rows = _draw(rows, most, generator)
        if waiting and sum(map(len, waiting.values())) + len(rows) > most:
            yield from _centroids(waiting, bank, size, phase)
            waiting = {}
        waiting[c] = rows
    yield from _centroids(waiting, bank, size, phase)


def _centroids(
    classes: Mapping[int, Tensor], bank: FeatureBank, size: int, phase: Phase
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Centroids of some classes, rows [n] each: together no more than memory holds."""
    points = [bank.take(rows).features for rows in classes.values()]
    generators = [phase.generator("k-means", c) for c in classes]
    clusters = ops.kmeans_batch(points, size, generators, memory=phase.memory // 4)
    for (c, rows), own, found in zip(classes.items(), points, clusters):
        kept = (found.sizes > 0).cpu()
        yield c, found.centroids[kept.to(found.centroids.device)], rows[_nearest(own, found).cpu()[kept]]


def _draw(rows: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """At most so many of the rows, drawn at random, ascending."""
    if len(rows) <= most:
        return rows
    return rows[torch.randperm(len(rows), generator=generator)[:most].sort().values]


def _nearest(points: Tensor, found: ops.Clusters) -> Tensor:
    """int64 [k]: of each cluster the point nearest to its centroid; 0 for an empty one."""
    far = (points - found.centroids[found.assignment]).square().sum(1)
    # Sorted by distance within clusters, the first of each.
    by_distance = far.argsort(stable=True)
    order = by_distance[found.assignment[by_distance].argsort(stable=True)]
    starts = (found.sizes.cumsum(0) - found.sizes).clamp(max=len(points) - 1)
    return order[starts]
