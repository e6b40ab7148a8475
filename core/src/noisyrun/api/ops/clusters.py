"""k-means of one problem or of many, such as one a class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from noisyrun.api.ops.lloyd import Points, Room, Solutions, lloyd, seeds
from noisyrun.api.ops.rows import BLOCK_BYTES

#: Bytes of problems that a processor solves at once: what stays near it. Larger ones gain nothing by company.
_CACHED = 1 << 22


@dataclass(frozen=True)
class Clusters:
    """What k-means found.

    Attributes
    ----------
    centroids
        float32 [k, d]; 0 where a cluster is empty.
    assignment
        int64 [n]: cluster of each point, the one of the nearest centroid.
    sizes
        int64 [k]: points in each cluster. 0 only where there are fewer distinct points than clusters.
    inertia
        float64, scalar: sum of squared distances of the points to their centroids.
    """

    centroids: Tensor
    assignment: Tensor
    sizes: Tensor
    inertia: Tensor


def kmeans(
    points: Tensor,
    k: int,
    generator: torch.Generator,
    *,
    iterations: int = 100,
    tolerance: float = 1e-4,
    restarts: int = 1,
    memory: int = 8 * BLOCK_BYTES,
) -> Clusters:
    """Lloyd's k-means from greedy k-means++ seeds.

    Parameters
    ----------
    points
        Float [n, d] of any precision, finite, n ≥ 1.
    k
        Clusters.
    generator
        CPU generator that all draws come from: the same draws on every device.
    iterations
        Most rounds of assigning and averaging.
    tolerance
        Stop when the centroids' squared moves add up to no more than this share of the points' mean variance.
    restarts
        Runs from different seeds; the one of least inertia is kept.
    memory
        Bytes of temporary values beside the points.

    Raises
    ------
    ValueError
        For k < 1, no points, or points that are not finite.

    Notes
    -----
    An empty cluster takes the point farthest from its centroid. Distances are in float32 about the mean of the points,
    means in float64; the same points, generator and memory give the same answer.
    """
    [found] = kmeans_batch(
        [points],
        k,
        [generator],
        iterations=iterations,
        tolerance=tolerance,
        restarts=restarts,
        memory=memory,
    )
    return found


def kmeans_batch(
    problems: Iterable[Tensor],
    k: int,
    generators: Iterable[torch.Generator],
    *,
    iterations: int = 100,
    tolerance: float = 1e-4,
    restarts: int = 1,
    memory: int = 8 * BLOCK_BYTES,
) -> list[Clusters]:
    """Several problems of k-means, such as one a class.

    Many at once, in far fewer and larger operations: on a GPU as many as the memory allows, on a CPU as many small ones
    as stay in its cache, where a large one fills the machine by itself. What is not said here is as in `kmeans`.

    Parameters
    ----------
    problems
        Float [n, d] each, n ≥ 1 and different from one to the next; read as they are needed.
    generators
        One a problem, so that its draws are the same whichever others are solved with it, or on which process.
    """
    if k < 1 or restarts < 1:
        raise ValueError(f"k-means needs k ≥ 1 and restarts ≥ 1 (got {k} and {restarts})")
    found: list[Clusters] = []
    room = Room()
    for group, draws in _groups(problems, generators, k, memory):
        points = Points(group, memory, room)
        best = lloyd(points, seeds(points, k, draws), iterations, tolerance)
        for _ in range(restarts - 1):
            best.keep(lloyd(points, seeds(points, k, draws), iterations, tolerance))
        found += _by_problem(best, points)
    return found


def _groups(
    problems: Iterable[Tensor], generators: Iterable[torch.Generator], k: int, memory: int
) -> Iterator[tuple[list[Tensor], list[torch.Generator]]]:
    """The problems that are solved at once, with their generators."""
    group: list[Tensor] = []
    draws: list[torch.Generator] = []
    longest = 0
    for points, generator in zip(problems, generators, strict=True):
        if points.dim() != 2 or len(points) < 1:
            raise ValueError(f"k-means needs at least one point in every problem, [n, d] (got {list(points.shape)})")
        longest = max(longest, len(points))
        needed = 4 * longest * (points.shape[1] + k) * (len(group) + 1)
        most = min(memory // 2, _CACHED) if points.device.type == "cpu" else memory // 2
        if group and needed > most:
            yield group, draws
            group, draws, longest = [], [], len(points)
        group.append(points)
        draws.append(generator)
    if group:
        yield group, draws


def _by_problem(found: Solutions, points: Points) -> list[Clusters]:
    """The solution of each problem, where the given points are."""
    centroids = points.to_given(found.centroids).masked_fill_(found.sizes.unsqueeze(2) == 0, 0.0)
    inertia = found.inertia * points.unit.view(-1).square()
    counts = points.counts.tolist()
    return [Clusters(centroids[b], found.assignment[b, :n], found.sizes[b], inertia[b]) for b, n in enumerate(counts)]
