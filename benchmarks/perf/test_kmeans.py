"""k-means of many classes at once beside scikit-learn's, called class by class: same points, k, restarts and threads.

The floor is what one round from nothing needs: every point with every centroid. Inertia is compared too, or speed would
prove little.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from noisyrun.api import ops

#: Classes, samples of each, width and k: CleanNet's reference sets, URNet's groups of five classes, much smaller ones.
SHAPES = {
    "50 of a class": (20, 500, 512, 50),
    "5 of five classes": (10, 2500, 512, 5),
    "8 of 200, 64 wide": (40, 200, 64, 8),
}


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Any:
    """As many threads for torch as for scikit-learn."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    with threadpool_limits(request.param):
        yield request.param
    torch.set_num_threads(before)


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


def ours(points: list[torch.Tensor], k: int, restarts: int) -> float:
    generators = [torch.Generator().manual_seed(c) for c in range(len(points))]
    return float(sum(one.inertia for one in ops.kmeans_batch(points, k, generators, restarts=restarts)))


def theirs(points: list[torch.Tensor], k: int, restarts: int) -> float:
    found = [KMeans(k, n_init=restarts, random_state=c).fit(one.numpy()) for c, one in enumerate(points)]
    return float(sum(one.inertia_ for one in found))


@pytest.mark.parametrize("side", ["noisyrun", "base"])
@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("name", SHAPES)
def test_kmeans_beside_scikit_learn(
    benchmark: Any, name: str, restarts: int, side: str, threads: int, machine: Any
) -> None:
    shape = SHAPES[name]
    points, k = classes(shape), shape[3]
    benchmark.group = f"k-means {name}, {restarts}×, {threads} thr."
    cost = sum(2 * len(one) * shape[2] * k for one in points)
    benchmark.extra_info.update({"side": side, "floor": cost / machine.single})
    work = ours if side == "noisyrun" else theirs
    inertia = benchmark.pedantic(work, args=(points, k, restarts), rounds=3, warmup_rounds=1)
    if side == "noisyrun":
        assert inertia <= 1.01 * theirs(points, k, restarts)
    assert np.isfinite(inertia)
