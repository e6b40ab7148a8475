"""Block operations against slow float64 formulas and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs

from noisyrun.api import ops


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- unit vectors and cosines -------------------------------------------------------------------------------------


def test_unit_scales_to_length_one_and_keeps_a_zero_vector() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert torch.allclose(ops.unit(vectors), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_cosine_agrees_with_a_loop_in_double() -> None:
    a, b = draw(5, 7), draw(4, 7, seed=1)
    slow = [
        [
            float(x.double() @ y.double()) / (math.sqrt(x.double() @ x.double()) * math.sqrt(y.double() @ y.double()))
            for y in b
        ]
        for x in a
    ]
    assert np.allclose(ops.cosine(a, b).numpy(), slow, atol=1e-6)


@pytest.mark.parametrize("memory", [1, 400, 1 << 25])
def test_top_cosine_finds_the_same_keys_however_the_blocks_are_cut(memory: int) -> None:
    queries, keys = draw(37, 8), draw(53, 8, seed=1)
    values, indices = ops.top_cosine(queries, keys, 4, memory=memory)
    full = ops.cosine(queries.double(), keys.double())
    best = full.topk(4, dim=1)
    assert torch.equal(indices, best.indices)
    assert torch.allclose(values.double(), best.values, atol=1e-6)


def test_top_cosine_merges_blocks_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "KEY_BLOCK", 10)
    queries, keys = draw(6, 8), draw(43, 8, seed=1)
    values, indices = ops.top_cosine(queries, keys, 3, exclude=torch.tensor([0, 12, 42, -1, 20, 9]))
    full = ops.cosine(queries, keys)
    for row, key in enumerate([0, 12, 42, -1, 20, 9]):
        if key >= 0:
            full[row, key] = -math.inf
    assert torch.equal(indices, full.topk(3, dim=1).indices)
    assert torch.allclose(values, full.topk(3, dim=1).values, atol=1e-6)


def test_top_cosine_leaves_out_the_query_itself() -> None:
    points = draw(20, 5)
    _, indices = ops.top_cosine(points, points, 1, exclude=torch.arange(20))
    assert not (indices[:, 0] == torch.arange(20)).any()


def test_top_cosine_gives_all_keys_where_there_are_fewer_than_k() -> None:
    values, indices = ops.top_cosine(draw(3, 4), draw(2, 4, seed=1), 5)
    assert values.shape == indices.shape == (3, 2)


def test_top_cosine_of_a_zero_vector_is_zero() -> None:
    values, _ = ops.top_cosine(torch.zeros(1, 4), draw(3, 4), 2)
    assert torch.equal(values, torch.zeros(1, 2))


def test_top_cosine_refuses_no_keys() -> None:
    with pytest.raises(ValueError, match="there must be keys"):
        ops.top_cosine(draw(2, 4), torch.zeros(0, 4), 1)


# --- segments -----------------------------------------------------------------------------------------------------


def test_segment_sum_and_mean_agree_with_a_loop_in_double() -> None:
    values, weights = draw(200, 6), torch.rand(200, generator=generator(2))
    segments = torch.randint(-1, 5, (200,), generator=generator(3))
    segments[segments == 3] = 4  # segment 3 is empty
    for given in (None, weights):
        by = torch.ones(200) if given is None else given
        total = np.zeros((5, 6))
        mass = np.zeros(5)
        for row in range(200):
            if segments[row] >= 0:
                total[segments[row]] += values[row].double().numpy() * float(by[row])
                mass[segments[row]] += float(by[row])
        assert np.allclose(ops.segment_sum(values, segments, 5, given).numpy(), total, atol=1e-5)
        mean = np.divide(total, mass[:, None], out=np.zeros_like(total), where=mass[:, None] > 0)
        assert np.allclose(ops.segment_mean(values, segments, 5, given).numpy(), mean, atol=1e-6)


def test_segment_means_do_not_depend_on_how_the_rows_were_cut() -> None:
    values, segments = draw(1000, 4).half().float(), torch.randint(0, 3, (1000,), generator=generator(1))
    whole, parts = ops.SegmentSum(3, 4), ops.SegmentSum(3, 4)
    whole.add(values, segments)
    for start in range(0, 1000, 37):
        parts.add(values[start : start + 37], segments[start : start + 37])
    assert torch.equal(whole.means(), parts.means())


def test_a_long_segment_loses_no_digits() -> None:
    # In float32 the running sum would stop growing at 2**24.
    values = torch.ones(2**24 + 1000, 1)
    total = ops.segment_sum(values, torch.zeros(len(values), dtype=torch.int64), 1)
    assert float(total) == pytest.approx(2**24 + 1000, rel=1e-7)


# --- order statistics ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 7, 60])
def test_kth_value_is_that_of_the_sorted_values(k: int) -> None:
    values = draw(6, 10)
    assert ops.kth_value(values, k) == values.flatten().sort().values[k - 1]


def test_kth_value_refuses_a_rank_beyond_the_values() -> None:
    with pytest.raises(ValueError, match="from 1 to 4"):
        ops.kth_value(torch.zeros(2, 2), 5)


# --- k-means ------------------------------------------------------------------------------------------------------


def inertia(points: np.ndarray, centroids: np.ndarray) -> float:
    return float(((points[:, None].astype(np.float64) - centroids[None]) ** 2).sum(2).min(1).sum())


@pytest.mark.parametrize("k", [2, 8, 30])
def test_kmeans_reaches_scikit_learns_inertia(k: int) -> None:
    points = load_digits().data.astype(np.float32)
    ours = ops.kmeans(torch.from_numpy(points), k, generator(k), restarts=4)
    theirs = KMeans(k, n_init=4, random_state=0).fit(points)
    assert float(ours.inertia) <= 1.01 * theirs.inertia_
    assert float(ours.inertia) == pytest.approx(inertia(points, ours.centroids.numpy()), rel=1e-5)


def test_kmeans_finds_separate_blobs_far_from_the_origin() -> None:
    points, truth = make_blobs(300, n_features=5, centers=6, cluster_std=0.05, center_box=(-1, 1), random_state=1)
    points = (points + 1000).astype(np.float32)
    found = ops.kmeans(torch.from_numpy(points), 6, generator())
    pairs = set(zip(found.assignment.tolist(), truth.tolist()))
    assert len(pairs) == 6
    assert found.sizes.tolist() == [50] * 6


def test_kmeans_assigns_each_point_to_its_nearest_centroid() -> None:
    points = draw(400, 3)
    found = ops.kmeans(points, 7, generator(), memory=1000)
    distances = torch.cdist(points.double(), found.centroids.double())
    assert torch.equal(found.assignment, distances.argmin(1))
    assert torch.equal(found.sizes, torch.bincount(found.assignment, minlength=7))


def test_kmeans_is_the_same_for_the_same_generator() -> None:
    points = draw(100, 4)
    first, second = (ops.kmeans(points, 5, generator(3)) for _ in range(2))
    assert torch.equal(first.centroids, second.centroids)


def test_kmeans_leaves_clusters_empty_where_there_are_fewer_distinct_points() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    found = ops.kmeans(points, 3, generator())
    assert sorted(found.sizes.tolist()) == [0, 2, 2]
    assert float(found.inertia) == pytest.approx(0, abs=1e-10)
    assert torch.equal(found.centroids[found.sizes == 0], torch.zeros(1, 2))


def test_a_cluster_that_falls_empty_takes_the_farthest_point() -> None:
    points = torch.tensor([[[0.0], [0.1], [0.2], [9.0]]])
    assignment = torch.zeros(1, 4, dtype=torch.int64)
    means, sizes = ops._centroids(points, assignment, points[:, :, 0].square(), 2)
    assert sizes.tolist() == [[3, 1]]
    assert torch.allclose(means[0, :, 0], torch.tensor([0.1, 9.0]))


def test_kmeans_of_a_batch_ignores_padding() -> None:
    a, b = draw(60, 4), draw(25, 4, seed=1) + 5
    points = torch.zeros(2, 60, 4)
    points[0], points[1, :25] = a, b
    points[1, 25:] = 1e6  # must not be seen
    mask = torch.ones(2, 60, dtype=torch.bool)
    mask[1, 25:] = False
    found = ops.kmeans_batch(points, mask, 5, generator(), restarts=8)
    assert (found.assignment[1, 25:] == -1).all()
    assert found.sizes.sum(1).tolist() == [60, 25]
    for one, group in enumerate((a, b)):
        alone = KMeans(5, n_init=20, random_state=0).fit(group.numpy())
        assert float(found.inertia[one]) <= 1.03 * alone.inertia_


def test_kmeans_refuses_a_problem_without_points() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        ops.kmeans(torch.zeros(0, 3), 2, generator())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_gives_what_the_cpu_gives() -> None:
    points = draw(500, 16)
    cpu, gpu = (ops.kmeans(p, 6, generator(), restarts=2) for p in (points, points.cuda()))
    assert float(gpu.inertia) == pytest.approx(float(cpu.inertia), rel=1e-3)
    assert torch.equal(ops.top_cosine(points, points, 3)[1], ops.top_cosine(points.cuda(), points.cuda(), 3)[1].cpu())
    assert float(ops.kth_value(points, 100)) == float(ops.kth_value(points.cuda(), 100))
