"""k-means of many classes at once beside scikit-learn's, called class by class: same points, k, restarts and threads.

The floor is the distances of the rounds that were run. Inertia is compared too, or speed would prove little.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from label_phase_cases.kmeans_cost import Counted
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from noisyrun.api import ops

#: Classes, samples of each, width and k: CleanNet's reference sets, URNet's groups of five classes, much smaller ones.
SHAPES = {
    "20 of 500 × 512, k 50": (20, 500, 512, 50),
    "10 of 2,500 × 512, k 5": (10, 2500, 512, 5),
    "40 of 200 × 64, k 8": (40, 200, 64, 8),
}


def classes(shape: tuple[int, int, int, int]) -> list[torch.Tensor]:
    """Rectified Gaussian mixtures, of sizes that differ from class to class."""
    count, rows, dim, _ = shape
    draw = torch.Generator().manual_seed(0)
    made = []
    for c in range(count):
        size = rows - (rows // 4) * (c % 3)
        centres = torch.randn(20, dim, generator=draw)
        which = torch.randint(20, (size,), generator=draw)
        made.append((centres[which] + 1.5 * torch.randn(size, dim, generator=draw)).relu_())
    return made


def ours(points: list[torch.Tensor], k: int) -> float:
    generators = [torch.Generator().manual_seed(c) for c in range(len(points))]
    return float(sum(one.inertia for one in ops.kmeans_batch(points, k, generators)))


def theirs(points: list[torch.Tensor], k: int) -> float:
    with threadpool_limits(torch.get_num_threads()):
        found = [KMeans(k, n_init=1, random_state=c).fit(one.cpu().numpy()) for c, one in enumerate(points)]
    return float(sum(one.inertia_ for one in found))


@pytest.mark.parametrize("side", ["noisyrun", "scikit-learn"])
@pytest.mark.parametrize("name", SHAPES)
def test_kmeans_beside_scikit_learn(measured: Any, device: torch.device, name: str, side: str) -> None:
    shape = SHAPES[name]
    points, k = [one.to(device) for one in classes(shape)], shape[3]
    case, rounds = f"k-means, {name}", 3
    if side == "scikit-learn":
        assert np.isfinite(measured(case, lambda: theirs(points, k), side=side, rounds=rounds))
        return
    work = Counted(lambda: ours(points, k))
    work()
    reads = sum(one.nbytes for one in points)
    inertia = measured(case, work, floor=lambda machine: machine.floor(reads, passes=work.passes), rounds=rounds)
    assert inertia <= 1.01 * theirs(points, k)
