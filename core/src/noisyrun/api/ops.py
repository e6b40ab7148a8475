"""Block operations that any plugin may use: one implementation each, for CPU and GPU.

All of them take and give tensors on one device, read large inputs in blocks, and never hold a full matrix of
rows × rows. Sums over many rows accumulate in float64, so that the result does not depend on how the rows were cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Bytes that one block of temporary values may take.
BLOCK_BYTES = 1 << 25

#: Keys that a block of cosines spans at most.
KEY_BLOCK = 1 << 14


def spans(rows: int, row_bytes: int, memory: int = BLOCK_BYTES) -> Iterator[slice]:
    """Slices that cover `rows` rows in order, each of at most `memory` bytes (and at least one row)."""
    step = max(1, memory // max(1, row_bytes))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


def unit(vectors: Tensor, eps: float = 1e-12) -> Tensor:
    """Vectors [..., d] scaled to unit length; a zero vector stays zero."""
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length.clamp(min=eps)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of every row of a [n, d] with every row of b [m, d]: [n, m]. A zero vector has cosine 0 with all."""
    return unit(a) @ unit(b).T


def top_cosine(
    queries: Tensor, keys: Tensor, k: int, *, exclude: Tensor | None = None, memory: int = BLOCK_BYTES
) -> tuple[Tensor, Tensor]:
    """The k keys of highest cosine to each query, without forming the matrix of all cosines.

    Parameters
    ----------
    queries
        Float [n, d].
    keys
        Float [m, d].
    k
        How many; fewer where there are fewer keys.
    exclude
        int64 [n]: a key that must not be found for each query (itself, say); −1 excludes none. It takes a place only
        when no other key is left, with similarity −inf.
    memory
        Bytes of one block of cosines.

    Returns
    -------
    tuple of Tensor
        Cosines [n, k], best first, and the keys' indices int64 [n, k]. A zero vector has cosine 0 with all.
    """
    n, m = len(queries), len(keys)
    k = min(k, m)
    if k < 1:
        raise ValueError(f"k must be at least 1 and there must be keys (got k = {k}, {m} keys)")
    values = queries.new_empty(n, k)
    indices = torch.empty(n, k, dtype=torch.int64, device=queries.device)
    width = min(m, max(k, KEY_BLOCK))
    scale = 1 / _lengths(keys)
    for rows in spans(n, width * queries.element_size(), memory):
        block = queries[rows]
        best: tuple[Tensor, Tensor] | None = None
        for start in range(0, m, width):
            columns = slice(start, min(m, start + width))
            scores = (block @ keys[columns].T).mul_(scale[columns])
            if exclude is not None:
                _forbid(scores, exclude[rows], columns)
            found = scores.topk(min(k, scores.shape[1]), dim=1)
            best = _merge(best, (found.values, found.indices + start), k)
        assert best is not None
        values[rows] = best[0] / _lengths(block).unsqueeze(1)
        indices[rows] = best[1]
    return values, indices


def _lengths(vectors: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return lengths.clamp(min=1e-12)


def _forbid(scores: Tensor, exclude: Tensor, columns: slice) -> None:
    inside = ((exclude >= columns.start) & (exclude < columns.stop)).nonzero()[:, 0]
    scores[inside, exclude[inside] - columns.start] = -math.inf


def _merge(best: tuple[Tensor, Tensor] | None, new: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, Tensor]:
    if best is None:
        return new
    values = torch.cat([best[0], new[0]], dim=1)
    indices = torch.cat([best[1], new[1]], dim=1)
    top = values.topk(min(k, values.shape[1]), dim=1)
    return top.values, indices.gather(1, top.indices)


class SegmentSum:
    """Sums and means of rows by segment (by class, say), fed block by block.

    Accumulates in float64, so that a class of a million samples loses nothing and the order of blocks does not show.

    Parameters
    ----------
    count
        Number of segments.
    dim
        Width of a row.
    device
        Where the rows come from.
    """

    def __init__(self, count: int, dim: int, device: torch.device | str = "cpu") -> None:
        self.sums = torch.zeros(count, dim, dtype=torch.float64, device=device)
        #: float64 [count]: total weight of each segment.
        self.totals = torch.zeros(count, dtype=torch.float64, device=device)

    def add(self, values: Tensor, segments: Tensor, weights: Tensor | None = None) -> None:
        """Add rows [n, d] to their segments, int64 [n] (negative: to none), with weights [n] (1 by default)."""
        inside = segments >= 0
        if not bool(inside.all()):
            values, segments = values[inside], segments[inside]
            weights = None if weights is None else weights[inside]
        ones = torch.ones(len(values), dtype=torch.float64, device=values.device)
        mass = ones if weights is None else weights.double()
        self.totals.index_add_(0, segments, mass)
        for rows in spans(len(values), 8 * self.sums.shape[1]):
            block = values[rows].double()
            if weights is not None:
                block = block * mass[rows].unsqueeze(1)
            self.sums.index_add_(0, segments[rows], block)

    def means(self) -> Tensor:
        """float32 [count, dim]: weighted mean of each segment; 0 where its total weight is 0."""
        share = self.totals.unsqueeze(1)
        return torch.where(share > 0, self.sums / share.clamp(min=1e-300), 0.0).float()


def segment_sum(values: Tensor, segments: Tensor, count: int, weights: Tensor | None = None) -> Tensor:
    """Sum of the rows of values [n, d] in each segment: float32 [count, d]. See `SegmentSum`."""
    total = SegmentSum(count, values.shape[1], values.device)
    total.add(values, segments, weights)
    return total.sums.float()


def segment_mean(values: Tensor, segments: Tensor, count: int, weights: Tensor | None = None) -> Tensor:
    """(Weighted) mean of the rows of values [n, d] in each segment: float32 [count, d], 0 where it is empty."""
    total = SegmentSum(count, values.shape[1], values.device)
    total.add(values, segments, weights)
    return total.means()


def kth_value(values: Tensor, k: int) -> Tensor:
    """The k-th smallest of all values of a tensor (k from 1), as a scalar tensor on its device."""
    if not 1 <= k <= values.numel():
        raise ValueError(f"k must be from 1 to {values.numel()} (got {k})")
    if values.device.type == "cpu":  # a partial sort: ten times as fast as kthvalue there
        return torch.tensor(np.partition(values.detach().numpy(), k - 1, axis=None)[k - 1], dtype=values.dtype)
    return values.flatten().kthvalue(k).values


@dataclass(frozen=True)
class Clusters:
    """What k-means found.

    Attributes
    ----------
    centroids
        float32 [k, d], or [B, k, d] of several problems; 0 where a cluster is empty.
    assignment
        int64 [n] or [B, n]: cluster of each point; −1 where a problem has no such point.
    sizes
        int64 [k] or [B, k]: points in each cluster. 0 only where there are fewer distinct points than clusters.
    inertia
        float64, scalar or [B]: sum of squared distances of the points to their centroids.
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
    memory: int = BLOCK_BYTES,
) -> Clusters:
    """Lloyd's k-means from greedy k-means++ seeds.

    Parameters
    ----------
    points
        Float [n, d], n ≥ 1.
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
        Bytes of one block of distances.

    Notes
    -----
    Source: Arthur and Vassilvitskii, k-means++, SODA 2007. An empty cluster takes the point farthest from its
    centroid.
    """
    mask = torch.ones(1, len(points), dtype=torch.bool, device=points.device)
    found = kmeans_batch(
        points.unsqueeze(0),
        mask,
        k,
        generator,
        iterations=iterations,
        tolerance=tolerance,
        restarts=restarts,
        memory=memory,
    )
    return Clusters(found.centroids[0], found.assignment[0], found.sizes[0], found.inertia[0])


def kmeans_batch(
    points: Tensor,
    mask: Tensor,
    k: int,
    generator: torch.Generator,
    *,
    iterations: int = 100,
    tolerance: float = 1e-4,
    restarts: int = 1,
    memory: int = BLOCK_BYTES,
) -> Clusters:
    """Several problems of k-means at once, such as one a class: on a GPU, far fewer and larger operations.

    Parameters
    ----------
    points
        Float [B, n, d], each problem padded to the largest.
    mask
        bool [B, n]: which points exist; at least one in every problem.

    See `kmeans` for the rest.
    """
    if k < 1 or points.shape[1] < 1 or not bool(mask.any(1).all()):
        raise ValueError(f"k-means needs k ≥ 1 and at least one point in every problem (k = {k})")
    # Distances come from |x|² − 2xc + |c|²: about the mean of the points, that loses the fewest digits.
    count = mask.sum(1).double().view(-1, 1, 1)
    mean = (points.double() * mask.unsqueeze(2)).sum(1, keepdim=True) / count
    centred = ((points - mean.to(points.dtype)) * mask.unsqueeze(2)).float()
    best: Clusters | None = None
    for _ in range(restarts):
        found = _lloyd(centred, mask, _seeds(centred, mask, k, generator), iterations, tolerance, memory)
        best = found if best is None else _better(best, found)
    assert best is not None
    centroids = torch.where(best.sizes.unsqueeze(2) > 0, best.centroids + mean.float(), 0.0)
    return Clusters(centroids, best.assignment, best.sizes, best.inertia)


def _better(a: Clusters, b: Clusters) -> Clusters:
    """Of each problem, the solution of less inertia."""
    take = b.inertia < a.inertia
    return Clusters(
        torch.where(take.view(-1, 1, 1), b.centroids, a.centroids),
        torch.where(take.view(-1, 1), b.assignment, a.assignment),
        torch.where(take.view(-1, 1), b.sizes, a.sizes),
        torch.where(take, b.inertia, a.inertia),
    )


def _seeds(points: Tensor, mask: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Greedy k-means++: of a few points drawn by squared distance, keep the one that lowers the inertia most."""
    batch, _, dim = points.shape
    trials = 2 + int(math.log(k))
    squares = points.square().sum(2)
    seeds = points.new_zeros(batch, k, dim)
    nearest = mask.double()  # the first seed: any point, all alike
    for slot in range(k):
        tries = trials if slot else 1
        draws = torch.rand(batch, tries, generator=generator, dtype=torch.float64).to(points.device)
        mass = nearest.cumsum(1)
        picks = torch.searchsorted(mass, draws * mass[:, -1:], right=True).clamp_(max=points.shape[1] - 1)
        candidates = points.gather(1, picks.unsqueeze(2).expand(-1, -1, dim))
        distances = _square_distances(points, squares, candidates).double() * mask.unsqueeze(2)
        # A point has distance 0 to itself, whatever rounding says.
        distances.scatter_(1, picks.unsqueeze(1), 0.0)
        lowered = distances if slot == 0 else torch.minimum(distances, nearest.unsqueeze(2))
        choice = lowered.sum(1).argmin(1).view(-1, 1, 1)
        seeds[:, slot] = candidates.gather(1, choice.expand(-1, 1, dim))[:, 0]
        nearest = lowered.gather(2, choice.expand(-1, points.shape[1], 1))[:, :, 0]
    return seeds


def _square_distances(points: Tensor, squares: Tensor, centroids: Tensor) -> Tensor:
    """[B, n, k] squared distances of points [B, n, d] (their squared lengths [B, n] given) to centroids [B, k, d]."""
    cross = torch.baddbmm(centroids.square().sum(2).unsqueeze(1), points, centroids.transpose(1, 2), alpha=-2.0)
    return cross.add_(squares.unsqueeze(2)).clamp_(min=0.0)


def _lloyd(points: Tensor, mask: Tensor, centroids: Tensor, iterations: int, tolerance: float, memory: int) -> Clusters:
    squares = points.square().sum(2)
    variance = squares.double().sum(1) / mask.sum(1) / points.shape[2]
    assignment, distances = _assign(points, squares, mask, centroids, memory)
    for _ in range(iterations):
        moved, sizes = _centroids(points, assignment, distances, centroids.shape[1])
        shift = torch.where(sizes.unsqueeze(2) > 0, moved - centroids, 0.0).square().sum((1, 2))
        before, centroids = assignment, torch.where(sizes.unsqueeze(2) > 0, moved, centroids)
        assignment, distances = _assign(points, squares, mask, centroids, memory)
        if bool(((assignment == before).all(1) | (shift <= tolerance * variance)).all()):
            break
    sizes = _sizes(assignment, centroids.shape[1])
    exact = _inertia(points, assignment, centroids, memory)
    return Clusters(centroids, assignment, sizes, exact)


def _assign(points: Tensor, squares: Tensor, mask: Tensor, centroids: Tensor, memory: int) -> tuple[Tensor, Tensor]:
    """Nearest centroid of each point, int64 [B, n] (−1: no point), and the squared distance to it."""
    batch, n, _ = points.shape
    assignment = torch.empty(batch, n, dtype=torch.int64, device=points.device)
    distances = points.new_empty(batch, n)
    for rows in spans(n, batch * centroids.shape[1] * 4, memory):
        near = _square_distances(points[:, rows], squares[:, rows], centroids).min(2)
        distances[:, rows], assignment[:, rows] = near.values, near.indices
    return assignment.masked_fill_(~mask, -1), distances.masked_fill_(~mask, 0.0)


def _sizes(assignment: Tensor, k: int) -> Tensor:
    batch = len(assignment)
    slots = assignment + k * torch.arange(batch, device=assignment.device).unsqueeze(1)
    return torch.bincount(slots[assignment >= 0], minlength=batch * k).view(batch, k)


def _centroids(points: Tensor, assignment: Tensor, distances: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Mean of each cluster [B, k, d] and their sizes [B, k]. `assignment` is changed where a cluster was empty."""
    batch, n, dim = points.shape
    sizes = _sizes(assignment, k)
    if bool((sizes == 0).any()):
        _fill_empty(assignment, distances, sizes)
        sizes = _sizes(assignment, k)
    offsets = k * torch.arange(batch, device=points.device).unsqueeze(1)
    segments = torch.where(assignment >= 0, assignment + offsets, -1)
    means = segment_mean(points.reshape(batch * n, dim), segments.flatten(), batch * k)
    return means.view(batch, k, dim), sizes


def _fill_empty(assignment: Tensor, distances: Tensor, sizes: Tensor) -> None:
    """Give each empty cluster the point farthest from its centroid, as long as that distance is above 0."""
    for b in (sizes == 0).any(1).nonzero()[:, 0].tolist():
        empty = (sizes[b] == 0).nonzero()[:, 0]
        far = distances[b].topk(min(len(empty), distances.shape[1]))
        points = far.indices[far.values > 0]
        assignment[b, points] = empty[: len(points)]


def _inertia(points: Tensor, assignment: Tensor, centroids: Tensor, memory: int) -> Tensor:
    total = torch.zeros(len(points), dtype=torch.float64, device=points.device)
    for rows in spans(points.shape[1], len(points) * points.shape[2] * 8, memory):
        own = centroids.gather(1, assignment[:, rows].clamp(min=0).unsqueeze(2).expand(-1, -1, points.shape[2]))
        off = (points[:, rows].double() - own.double()).square().sum(2)
        total += (off * (assignment[:, rows] >= 0)).sum(1)
    return total
