"""The work of k-means, for several problems at once: k-means++ seeds, then Lloyd's rounds.

Source: Arthur and Vassilvitskii, k-means++, SODA 2007, with several candidates a seed, of which the best is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from noisyrun.api.ops.rows import spans

#: What a processor's cache holds, in bytes.
_CACHE = 1 << 20
#: A product of all pairs of n points is as quick as n / 4 single ones, which read all points each.
_PAIRS = 4


class Room:
    """Memory for points that serves one group of problems after another: fresh memory is slow on a processor."""

    def __init__(self) -> None:
        self._numbers = torch.empty(0)

    def take(self, batch: int, rows: int, dim: int, device: torch.device) -> Tensor:
        """float32 [B, n, d], the same memory every time."""
        size = batch * rows * dim
        if len(self._numbers) < size or self._numbers.device != device:
            self._numbers = torch.empty(0)
            self._numbers = torch.empty(size, device=device)
        return self._numbers[:size].view(batch, rows, dim)


class Points:
    """The points of B problems about their means, in a unit that makes sums exact.

    The unit is the power of two in which the points are whole numbers, rounded finer than float32 and small enough for
    float64 sums of n of them to be exact. Sums then do not depend on the order of their terms, and what is added to a
    cluster and taken from it again leaves no trace.

    Attributes
    ----------
    shape
        B, n (of the largest problem) and d.
    memory
        Bytes that one block of temporary values may take; `cached`: that it had better not exceed, where it is gone
        through more than once.
    counts
        int64 [B]: points of each problem.
    mask
        bool [B, n]: which points exist; `whole` says that all do.
    squares
        float64 [B, n]: their squared lengths; 0 where there is no point.
    """

    def __init__(self, problems: list[Tensor], memory: int, room: Room | None = None) -> None:
        first = problems[0]
        batch, longest, dim = len(problems), max(map(len, problems)), first.shape[1]
        self.shape = (batch, longest, dim)
        self.memory = memory // 4
        self.cached = min(self.memory, _CACHE) if first.device.type == "cpu" else self.memory
        self.counts = torch.tensor([len(points) for points in problems], device=first.device)
        self.mask = torch.arange(longest, device=first.device) < self.counts.unsqueeze(1)
        self.whole = all(len(points) == longest for points in problems)
        exact = torch.float64 if first.dtype == torch.float64 else torch.float32
        self.means = torch.stack([points.mean(0, dtype=exact) for points in problems]).unsqueeze(1)
        self.unit = torch.stack([_reach(*pair) for pair in zip(problems, self.means)]).view(-1, 1, 1)
        if not bool((self.unit < 2.0**100).all()):  # nor is it for NaN
            raise ValueError("k-means needs finite points, none above 1e30")
        # By each problem's own count: what it is solved with does not matter.
        finest = torch.tensor([2.0 ** (52 - len(points).bit_length()) for points in problems], device=first.device)
        self.unit = self.unit.clamp(min=2.0**-60).log2().ceil().exp2() / finest.double().view(-1, 1, 1)
        self.squares = torch.zeros(batch, longest, dtype=torch.float64, device=first.device)
        #: All points about their means, where they fit in half the memory; if not, as they were given.
        self._made: Tensor | None = None
        self._given = first.new_empty(batch, 0, dim)
        if 8 * batch * longest * dim <= memory:
            self._made = (room or Room()).take(batch, longest, dim, first.device)
        elif batch == 1:
            self._given = first.unsqueeze(0)
        else:
            self._given = torch.nn.utils.rnn.pad_sequence(problems, batch_first=True)
        for b, points in enumerate(problems):
            # Block by block, so that all that is done to one is done near the processor.
            for rows in spans(len(points), 12 * dim, self.cached):
                place = None if self._made is None else self._made[b, rows]
                block = self._about_mean(points[rows], self.means[b], self.unit[b], place)
                self.squares[b, rows] = block.double().square_().sum(1)
            if self._made is not None:
                self._made[b, len(points) :] = 0.0

    def blocks(self, width: int, memory: int | None = None) -> Iterator[tuple[slice, Tensor]]:
        """Slices of rows, and those points of every problem, float32 [B, r, d]; each point may take `width` values."""
        batch, n, dim = self.shape
        memory = self.memory if memory is None else memory
        for rows in spans(n, 4 * batch * (width + (4 * dim if self._made is None else 0)), memory):
            if self._made is None:
                yield rows, self._about_mean(self._given[:, rows], self.means, self.unit)
            else:
                yield rows, self._made[:, rows]

    def pick(self, which: Tensor, rows: Tensor) -> Tensor:
        """float32 [r, d]: points by problem and place, int64 [r] both."""
        at = which * self.shape[1] + rows
        if self._made is not None:
            return self._made.flatten(0, 1).index_select(0, at)
        return self._about_mean(
            self._given.flatten(0, 1).index_select(0, at), self.means[which, 0], self.unit[which, 0]
        )

    def pairs(self) -> Tensor | None:
        """float32 [B, n, n]: products of all pairs of points; None where they do not lie in memory."""
        return None if self._made is None else torch.bmm(self._made, self._made.transpose(1, 2))

    def masked(self, values: Tensor, fill: float) -> Tensor:
        """Values [B, n], changed in place where there is no point."""
        return values if self.whole else values.masked_fill_(~self.mask, fill)

    def _about_mean(self, given: Tensor, means: Tensor, unit: Tensor, place: Tensor | None = None) -> Tensor:
        """float32, in its place where there is one."""
        # The factor, a power of two, is exact in any precision; one of another precision than the points is slow.
        factor = (1 / unit).to(means.dtype)
        if place is not None and means.dtype == torch.float32:
            return torch.sub(given, means, out=place).mul_(factor).round_()
        made = (given - means).mul_(factor).round_()
        return made.float() if place is None else place.copy_(made)

    def to_given(self, centroids: Tensor) -> Tensor:
        """float32: centroids [B, k, d] where the given points are."""
        return (centroids * self.unit + self.means).float()


def _reach(points: Tensor, mean: Tensor) -> Tensor:
    """Largest coordinate of points [n, d] about their mean, or a little more."""
    low, high = points.aminmax()
    return torch.maximum(mean.max() - low, high - mean.min()).double()


def _square_distances(points: Tensor, squares: Tensor, centroids: Tensor) -> Tensor:
    """[B, k, n] squared distances of points [B, n, d] (squared lengths [B, n]) to centroids [B, k, d]."""
    lengths = centroids.square().sum(2, keepdim=True)
    crossed = torch.baddbmm(lengths, centroids, points.transpose(1, 2), alpha=-2.0)
    return crossed.add_(squares.unsqueeze(1)).clamp_(min=0.0)


# --- Seeds --------------------------------------------------------------------------------------------------------


def seeds(points: Points, k: int, generators: list[torch.Generator]) -> Tensor:
    """Greedy k-means++, [B, k, d]: of a few points drawn by squared distance, the one that lowers the inertia most."""
    batch, _, dim = points.shape
    device = points.mask.device
    tries = 2 + int(math.log(k))
    draws = torch.stack([torch.rand(k, tries, generator=one, dtype=torch.float64) for one in generators], 1).to(device)
    every = torch.arange(batch, device=device).unsqueeze(1)
    chosen = torch.empty(batch, k, dim, device=device)
    nearest = points.mask.float()  # the first seed: any point, all alike
    distances = _FromPoints(points, k * tries)
    for slot in range(k):
        picks = _drawn(nearest, draws[slot] if slot else draws[slot, :, :1]).minimum(points.counts.unsqueeze(1) - 1)
        # A point has distance 0 to itself, whatever rounding says.
        found = distances(picks).scatter_(2, picks.unsqueeze(2), 0.0)
        lowered = found.minimum(nearest.unsqueeze(1)) if slot else found.mul_(nearest.unsqueeze(1))
        best = lowered.sum(2, dtype=torch.float64).argmin(1)
        chosen[:, slot] = points.pick(every[:, 0], picks[every[:, 0], best])
        nearest = lowered[every[:, 0], best]
    return chosen


class _FromPoints:
    """Squared distances of all points to some of them.

    Parameters
    ----------
    times
        For how many points they will be asked.
    """

    def __init__(self, points: Points, times: int) -> None:
        batch, n, _ = points.shape
        self.points = points
        self.squares = points.squares.float()
        self.which = torch.arange(batch, device=points.mask.device).unsqueeze(1)
        #: Products of all pairs, where that is quicker than to go through the points for a few of them at a time.
        self.pairs: Tensor | None = None
        if n <= _PAIRS * times and 4 * batch * n * n <= points.memory:
            self.pairs = points.pairs()

    def __call__(self, picks: Tensor) -> Tensor:
        """[B, t, n] from the points at places int64 [B, t]."""
        lengths = self.squares.gather(1, picks).unsqueeze(2)
        if self.pairs is not None:
            crossed = self.pairs[self.which, picks]
            return crossed.mul_(-2.0).add_(lengths).add_(self.squares.unsqueeze(1)).clamp_(min=0.0)
        batch, n, dim = self.points.shape
        rows_of = self.points.pick(self.which.expand_as(picks).flatten(), picks.flatten())
        candidates = rows_of.view(batch, -1, dim)
        distances = torch.empty(batch, picks.shape[1], n, device=picks.device)
        for rows, block in self.points.blocks(2 * picks.shape[1]):
            distances[:, :, rows] = _square_distances(block, self.squares[:, rows], candidates)
        return distances


def _drawn(mass: Tensor, draws: Tensor) -> Tensor:
    """Places int64 [B, t] of draws float64 [B, t] in [0, 1), each place as likely as its mass [B, n] says.

    Sums of integers, unlike those of floating-point numbers, are the same on every device and every time.
    """
    share = mass.double() / mass.amax(1, keepdim=True).clamp(min=1e-30)
    upto = share.mul_(2.0 ** (62 - mass.shape[1].bit_length())).long().cumsum(1)
    return torch.searchsorted(upto, (draws * upto[:, -1:]).long(), right=True)


# --- Rounds -------------------------------------------------------------------------------------------------------


@dataclass
class Solutions:
    """Centroids float32 [B, k, d], assignment int64 [B, n], sizes int64 [B, k], inertia float64 [B]."""

    centroids: Tensor
    assignment: Tensor
    sizes: Tensor
    inertia: Tensor

    def keep(self, other: Solutions) -> None:
        """Take the other's solution of each problem where its inertia is less."""
        take = other.inertia < self.inertia
        self.centroids[take] = other.centroids[take]
        self.assignment[take] = other.assignment[take]
        self.sizes[take] = other.sizes[take]
        self.inertia[take] = other.inertia[take]


def lloyd(points: Points, centroids: Tensor, iterations: int, tolerance: float) -> Solutions:
    """Assign and average until the centroids rest; a problem whose centroids rest is left as it is."""
    enough = tolerance * points.squares.sum(1) / points.counts / points.shape[2]
    distances = _Distances(points, centroids.shape[1])
    members = _Members(points, centroids.shape[1])
    moving = torch.ones_like(points.counts, dtype=torch.bool)
    moved = torch.arange(centroids.shape[1], device=moving.device)
    for turn in range(iterations + 1):
        assignment, near = distances.nearest(centroids, moved)
        members.assign(assignment)
        if turn == iterations or not bool(moving.any()):
            break
        filled = members.fill_empty(moving, centroids, near)
        means = torch.where(moving.view(-1, 1, 1), members.means(centroids), centroids)
        shifts = (means - centroids).square_().sum(2)
        centroids = means
        moved = shifts.any(0).nonzero()[:, 0]
        if len(moved) == 0:  # the assignment would be the same
            break
        moving &= (shifts.sum(1) > enough) | filled
    return Solutions(centroids, members.assignment, members.sizes, members.inertia(centroids))


class _Distances:
    """Squared distances of all points to all centroids: only those to centroids that moved are computed again.

    In later rounds few centroids move. Where the distances do not fit in memory, they are made anew block by block.
    """

    def __init__(self, points: Points, k: int) -> None:
        batch, n, _ = points.shape
        self.points = points
        self.squares = points.squares.float()
        self.table: Tensor | None = None
        if 4 * batch * k * n <= points.memory:
            self.table = torch.empty(batch, k, n, device=points.mask.device)

    def nearest(self, centroids: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest centroid of each point, and the squared distance to it.

        Parameters
        ----------
        centroids
            float32 [B, k, d].
        moved
            int64 [m]: the centroids that moved in any problem since the last call; all of them at first.

        Returns
        -------
        tuple of Tensor
            int64 [B, n], −1 where there is no point; and float32 [B, n], 0 there.
        """
        found = [
            self._block(rows, block, centroids, moved).min(1)
            for rows, block in self.points.blocks(2 * len(centroids[0]))
        ]
        near = torch.cat([one.values for one in found], 1)
        assignment = torch.cat([one.indices for one in found], 1)
        return self.points.masked(assignment, -1), self.points.masked(near, 0.0)

    def _block(self, rows: slice, block: Tensor, centroids: Tensor, moved: Tensor) -> Tensor:
        """Distances [B, k, r] of a block of points."""
        squares = self.squares[:, rows]
        if self.table is None:
            return _square_distances(block, squares, centroids)
        part = self.table[:, :, rows]
        part.index_copy_(1, moved, _square_distances(block, squares, centroids.index_select(1, moved)))
        return part


class _Members:
    """Which cluster each point is in, with the sums of the clusters, kept up as points change place.

    Attributes
    ----------
    assignment
        int64 [B, n]; −1: in none.
    sizes
        int64 [B, k].
    sums
        float64 [B, k, d], exact.
    """

    def __init__(self, points: Points, k: int) -> None:
        batch, n, dim = points.shape
        device = points.mask.device
        self.points = points
        self.assignment = torch.full((batch, n), -1, device=device)
        self.sizes = torch.zeros(batch, k, dtype=torch.int64, device=device)
        self.sums = torch.zeros(batch, k, dim, dtype=torch.float64, device=device)
        self._empty = True

    def assign(self, assignment: Tensor) -> None:
        """Move the points whose cluster is another than before."""
        batch, k, dim = self.sums.shape
        which, rows = (assignment != self.assignment).nonzero(as_tuple=True)
        new = which * k + assignment[which, rows]
        # At first no point is in any cluster, and later each is in one.
        old = None if self._empty else which * k + self.assignment[which, rows]
        sums, sizes = self.sums.view(-1, dim), self.sizes.view(-1)
        for part in spans(len(rows), 12 * dim, self.points.cached):
            values = self.points.pick(which[part], rows[part]).double()
            sums.index_add_(0, new[part], values)
            if old is not None:
                sums.index_add_(0, old[part], values.neg_())
        sizes += new.bincount(minlength=batch * k)
        if old is not None:
            sizes -= old.bincount(minlength=batch * k)
        self._empty = False
        self.assignment = assignment

    def fill_empty(self, moving: Tensor, centroids: Tensor, near: Tensor) -> Tensor:
        """Give each empty cluster of the problems bool [B] the point farthest from its centroid, unless on it.

        Returns
        -------
        Tensor
            bool [B]: problems where some were given one.
        """
        lacking = (self.sizes == 0).any(1) & moving
        if not bool(lacking.any()):
            return lacking
        assignment = self.assignment.clone()
        for b in lacking.nonzero()[:, 0].tolist():
            empty = (self.sizes[b] == 0).nonzero()[:, 0]
            own = near[b, : int(self.points.counts[b])]
            far = own.topk(min(len(empty), len(own))).indices
            gaps = self.points.pick(torch.full_like(far, b), far) - centroids[b, self.assignment[b, far]]
            far = far[(gaps != 0).any(1)]
            assignment[b, far] = empty[: len(far)]
        filled = (assignment != self.assignment).any(1)
        self.assign(assignment)
        return filled

    def means(self, centroids: Tensor) -> Tensor:
        """Means of the clusters, float32 [B, k, d]; the centroid as it was where a cluster is empty."""
        sizes = self.sizes.unsqueeze(2)
        return torch.where(sizes > 0, (self.sums / sizes.clamp(min=1).double()).float(), centroids)

    def inertia(self, centroids: Tensor) -> Tensor:
        """float64 [B]: Σ|x − c|² = Σ|x|² − 2 Σ c·(sum of its points) + Σ size·|c|²."""
        exact = centroids.double()
        gain = (self.sizes.unsqueeze(2).double() * exact - 2 * self.sums).mul_(exact).sum((1, 2))
        return (self.points.squares.sum(1) + gain).clamp_(min=0.0)
