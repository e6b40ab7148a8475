"""Block operations against slow float64 formulas and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs

from noisyrun.api import ops
from noisyrun.api.ops import clusters, lloyd


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_cosine_of_rows_with_themselves_is_that_with_a_copy(dtype: torch.dtype) -> None:
    rows = draw(40, 7).to(dtype)
    rows[3] = 0
    found = ops.cosine(rows, rows)
    assert torch.allclose(found, ops.cosine(rows, rows.clone()), atol=1e-6)
    assert torch.equal(found, found.T)
    assert found.dtype == dtype


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


def kmeans_data() -> dict[str, np.ndarray]:
    """Data sets of k-means' own difficulties: grey digits, blobs that overlap, and nothing to find at all."""
    uniform = np.random.default_rng(0).random((600, 12))
    blobs = make_blobs(500, n_features=48, centers=12, cluster_std=4.0, random_state=0)[0]
    return {"digits": load_digits().data, "blobs": blobs, "uniform": uniform}


@pytest.mark.parametrize("name", ["digits", "blobs", "uniform"])
@pytest.mark.parametrize(("k", "restarts"), [(5, 1), (40, 1), (12, 10)])
def test_kmeans_reaches_scikit_learns_inertia(name: str, k: int, restarts: int) -> None:
    points = kmeans_data()[name].astype(np.float32)
    seeds = range(8) if restarts == 1 else range(1)  # one run is a matter of luck: means are compared
    ours = [ops.kmeans(torch.from_numpy(points), k, generator(s), restarts=restarts) for s in seeds]
    theirs = [KMeans(k, n_init=restarts, random_state=s).fit(points).inertia_ for s in seeds]
    assert np.mean([float(one.inertia) for one in ours]) <= 1.01 * np.mean(theirs)
    assert float(ours[0].inertia) == pytest.approx(inertia(points, ours[0].centroids.numpy()), rel=1e-5)


def test_kmeans_takes_the_rounds_that_scikit_learn_takes_from_the_same_seeds() -> None:
    points = load_digits().data.astype(np.float32)
    made = lloyd.Points([torch.from_numpy(points)], 1 << 25)
    start = lloyd.seeds(made, 10, [generator()])
    found = lloyd.lloyd(made, start, 300, 0.0)
    theirs = KMeans(10, init=made.to_given(start)[0].numpy(), n_init=1, tol=0).fit(points)
    assert found.assignment[0].tolist() == theirs.labels_.tolist()
    assert np.abs(made.to_given(found.centroids)[0].numpy() - theirs.cluster_centers_).max() < 1e-4


def test_kmeans_worked_by_hand() -> None:
    found = ops.kmeans(torch.tensor([[0.0], [1.0], [10.0], [13.0]]), 2, generator())
    assert sorted(found.centroids.flatten().tolist()) == [0.5, 11.5]
    assert float(found.inertia) == pytest.approx(0.5 + 4.5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_kmeans_reads_every_precision(dtype: torch.dtype) -> None:
    points = (draw(200, 6) + 3).to(dtype)
    found = ops.kmeans(points, 4, generator())
    same = ops.kmeans(points.float(), 4, generator())
    assert found.centroids.dtype == torch.float32
    assert torch.equal(found.assignment, same.assignment)
    assert torch.allclose(found.centroids, same.centroids, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_kmeans_does_not_depend_on_the_unit(scale: float) -> None:
    points = draw(100, 4)
    found, scaled = (ops.kmeans(p, 5, generator()) for p in (points, points * scale))
    assert torch.equal(found.assignment, scaled.assignment)
    assert torch.allclose(found.centroids, scaled.centroids / scale, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("memory", [1 << 12, 1 << 17])
def test_kmeans_in_blocks_finds_what_it_finds_at_once(memory: int) -> None:
    points = draw(700, 8)
    whole, blocks = (ops.kmeans(points, 6, generator(), memory=m) for m in (1 << 25, memory))
    assert torch.equal(whole.assignment, blocks.assignment)
    assert torch.allclose(whole.centroids, blocks.centroids, atol=1e-6)


def test_kmeans_keeps_to_its_memory() -> None:
    points, budget = draw(2_000, 1024), 1 << 21  # a copy of the points alone would take four times as much
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as watched:
        ops.kmeans(points, 8, generator(), iterations=2, memory=budget)
    held = most = 0
    for event in watched.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    # What is kept of every point: its squared length, its cluster, its distance to the seeds tried.
    assert 0 < most < budget + 2_000 * 120


def test_kmeans_leaves_clusters_empty_where_there_are_fewer_distinct_points() -> None:
    points = torch.tensor([[0.1, 0.7], [1.0, 1.0], [1.0, 1.0], [0.1, 0.7]])
    found = ops.kmeans(points, 3, generator())
    assert sorted(found.sizes.tolist()) == [0, 2, 2]
    assert float(found.inertia) == pytest.approx(0, abs=1e-10)
    assert torch.equal(found.centroids[found.sizes == 0], torch.zeros(1, 2))


def test_kmeans_of_fewer_points_than_clusters_gives_each_its_own() -> None:
    points = draw(3, 2)
    found = ops.kmeans(points, 8, generator())
    assert found.sizes.sum() == 3
    assert torch.allclose(found.centroids[found.assignment], points, atol=1e-6)


def test_a_cluster_that_falls_empty_takes_the_farthest_point() -> None:
    points = lloyd.Points([torch.tensor([[0.0], [0.1], [0.2], [9.0]])], 1 << 20)
    lost = torch.tensor([[[0.0], [1e3]]])  # the second is far from every point
    found = lloyd.lloyd(points, (lost - points.means) / points.unit.float(), 10, 1e-4)
    assert sorted(found.sizes.flatten().tolist()) == [1, 3]
    assert torch.allclose(points.to_given(found.centroids).flatten().sort().values, torch.tensor([0.1, 9.0]))


def test_kmeans_of_a_class_does_not_depend_on_the_others() -> None:
    classes = [draw(n, 5, seed=n) for n in (40, 7, 90, 1)]
    together = ops.kmeans_batch(classes, 6, [generator(n) for n in range(4)], restarts=2)
    for n, points in enumerate(classes):
        alone = ops.kmeans(points, 6, generator(n), restarts=2)
        assert torch.equal(together[n].centroids, alone.centroids)
        assert torch.equal(together[n].assignment, alone.assignment)


def test_small_problems_are_solved_together_and_large_ones_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = []

    class Spied(lloyd.Points):
        def __init__(self, problems: list[torch.Tensor], memory: int, room: lloyd.Room) -> None:
            groups.append(len(problems))
            super().__init__(problems, memory, room)

    monkeypatch.setattr(clusters, "Points", Spied)
    small, large = [draw(50, 4, seed=n) for n in range(6)], [draw(9_000, 64, seed=n) for n in range(2)]
    found = ops.kmeans_batch(small + large, 3, [generator(n) for n in range(8)], iterations=2)
    assert groups == [6, 1, 1]
    assert [len(one.assignment) for one in found] == [50] * 6 + [9_000] * 2


def test_kmeans_of_padded_problems_is_that_of_each() -> None:
    classes = [draw(60, 4), draw(25, 4, seed=1) + 5, draw(3, 4, seed=2)]
    points = lloyd.Points(classes, 1 << 20)
    start = lloyd.seeds(points, 5, [generator(n) for n in range(3)])
    found = lloyd.lloyd(points, start, 100, 1e-4)
    for n, alone in enumerate(classes):
        one = ops.kmeans(alone, 5, generator(n))
        assert found.assignment[n, : len(alone)].tolist() == one.assignment.tolist()
        assert (found.assignment[n, len(alone) :] == -1).all()
        assert float(found.inertia[n] * points.unit[n] ** 2) == pytest.approx(float(one.inertia), rel=1e-5, abs=1e-9)


def test_kmeans_asks_for_one_generator_a_problem() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ops.kmeans_batch([draw(5, 2), draw(5, 2)], 2, [generator()])


@pytest.mark.parametrize(
    ("points", "message"),
    [(torch.zeros(0, 3), "at least one point"), (torch.tensor([[1.0], [math.nan]]), "finite"), (draw(4), "n, d")],
)
def test_kmeans_refuses_what_it_cannot_cluster(points: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ops.kmeans(points, 2, generator())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_gives_what_the_cpu_gives() -> None:
    points = draw(500, 16)
    cpu, gpu = (ops.kmeans(p, 6, generator(), restarts=2) for p in (points, points.cuda()))
    assert float(gpu.inertia) == pytest.approx(float(cpu.inertia), rel=1e-3)
    classes = [draw(n, 16, seed=n) for n in (90, 200, 3)]
    draws = [[generator(n) for n in range(3)] for _ in range(2)]
    together = ops.kmeans_batch([one.cuda() for one in classes], 6, draws[0])
    for one, ours in zip(together, ops.kmeans_batch(classes, 6, draws[1])):
        assert float(one.inertia) == pytest.approx(float(ours.inertia), rel=1e-2)
    assert torch.equal(ops.top_cosine(points, points, 3)[1], ops.top_cosine(points.cuda(), points.cuda(), 3)[1].cpu())
    assert float(ops.kth_value(points, 100)) == float(ops.kth_value(points.cuda(), 100))
