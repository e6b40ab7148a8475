"""What k-means cannot do without: the distances that its seeds and its rounds compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

from torch import Tensor

from noisyrun.api.ops import lloyd


class Counted:
    """Work with k-means, whose matrix products are counted the first time it is done.

    Attributes
    ----------
    products
        Floating-point operations of the distances in the rounds that it took, and for its seeds: real points times
        centroids (those that moved, or candidates) times width. 0 before.
    """

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.products = 0.0

    def __call__(self) -> Any:
        if self.products:
            return self.work()
        distances = lloyd._square_distances

        def counted(points: Tensor, squares: Tensor, centroids: Tensor) -> Tensor:
            self.products += 2.0 * float((squares > 0).sum()) * centroids.shape[1] * centroids.shape[2]
            return distances(points, squares, centroids)

        with mock.patch.object(lloyd, "_square_distances", counted):
            return self.work()
