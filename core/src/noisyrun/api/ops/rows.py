"""Blocks of rows; cosines and the nearest by them; sums and means by segment; order statistics."""

from __future__ import annotations

import math
from collections.abc import Iterator

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
    if a is b:
        return _products(unit(a))
    return unit(a) @ unit(b).T


def _products(rows: Tensor) -> Tensor:
    """Dot products of all pairs of rows [n, d]: [n, n]."""
    if rows.device.type == "cpu" and rows.dtype in (torch.float32, torch.float64) and not rows.requires_grad:
        values = rows.numpy()  # it computes one half of the symmetric matrix and copies the other
        return torch.from_numpy(values @ values.T)
    return rows @ rows.T


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
