"""What k-means cannot do without: to go through the points for its seeds and in its rounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from speed.machine import Pass
from torch import Tensor

from noisyrun.api.ops import lloyd


class Counted:
    """Work with k-means, whose passes over its points are counted the first time it is done.

    Attributes
    ----------
    passes
        For each seed the distances to its candidates, and in each round those to the centroids that moved. None before.
    """

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.passes: list[Pass] = []

    def __call__(self) -> Any:
        if self.passes:
            return self.work()
        candidates, nearest = lloyd._FromPoints.__call__, lloyd._Distances.nearest

        def to_candidates(self_: Any, picks: Tensor) -> Tensor:
            self._count(self_.points, picks.shape[1])
            return candidates(self_, picks)

        def to_centroids(self_: Any, centroids: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
            self._count(self_.points, len(moved))
            return nearest(self_, centroids, moved)

        with (
            mock.patch.object(lloyd._FromPoints, "__call__", to_candidates),
            mock.patch.object(lloyd._Distances, "nearest", to_centroids),
        ):
            return self.work()

    def _count(self, points: lloyd.Points, centroids: int) -> None:
        dim = points.shape[2]
        numbers = (points.counts * dim).to("cpu", torch.float64)
        self.passes += [Pass(4.0 * size, 2.0 * size * centroids) for size in numbers.tolist()]
