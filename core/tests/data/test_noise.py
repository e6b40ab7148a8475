import numpy as np
import pytest
import torch

from noisyrun.api import UserError
from noisyrun.config.noise import parse
from noisyrun.data import noise

N, C = 6000, 5
INDEX = torch.arange(N) * 2 + 3
LABELS = torch.arange(N) % C


def _slow_matrix(before: torch.Tensor, after: torch.Tensor) -> list[list[float]]:
    """Shares of flips, counted one by one."""
    counts = [[0] * C for _ in range(C)]
    for b, a in zip(before.tolist(), after.tolist()):
        counts[b][a] += 1
    return [[cell / sum(row) for cell in row] for row in counts]


def test_symmetric_flips_the_exact_number_and_always_to_another_class():
    after = noise.symmetric(LABELS, C, 0.4, INDEX, seed=1)
    assert int((after != LABELS).sum()) == round(0.4 * N)
    assert bool(((after >= 0) & (after < C)).all())


def test_symmetric_flips_are_uniform_over_the_other_classes():
    got = _slow_matrix(LABELS, noise.symmetric(LABELS, C, 0.4, INDEX, seed=1))
    for c in range(C):
        for k in range(C):
            # Five standard errors of a share over 1200 samples.
            assert abs(got[c][k] - (0.6 if c == k else 0.1)) < 0.07


def test_pair_flips_to_the_next_class_exactly():
    got = _slow_matrix(LABELS, noise.pair(LABELS, C, 0.3, INDEX, seed=1))
    for c in range(C):
        assert got[c][c] == pytest.approx(0.7)
        assert got[c][(c + 1) % C] == pytest.approx(0.3)


def test_asymmetric_follows_its_map_and_spares_classes_that_map_to_themselves():
    after = noise.asymmetric(LABELS, [3, 1, 2, 0, 4], 0.25, INDEX, seed=1)
    got = _slow_matrix(LABELS, after)
    assert got[0] == pytest.approx([0.75, 0, 0, 0.25, 0])
    assert got[3] == pytest.approx([0.25, 0, 0, 0.75, 0])
    assert [got[c][c] for c in (1, 2, 4)] == [1, 1, 1]


def test_matrix_noise_reproduces_the_matrix():
    matrix = np.array(
        [[0.5, 0.5, 0, 0, 0], [0.1, 0.6, 0.1, 0.1, 0.1], [0, 0, 1, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2], [1, 0, 0, 0, 0]]
    )
    after = noise.transition(LABELS, torch.from_numpy(matrix), INDEX, seed=2)
    got = np.array(_slow_matrix(LABELS, after))
    assert np.abs(got - matrix).max() < 0.07
    assert (got[matrix == 0] == 0).all()


def test_matrix_noise_draws_the_class_that_the_cumulated_row_says():
    matrix = torch.tensor([[0.25, 0.25, 0.5], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]], dtype=torch.float64)
    labels = torch.arange(300) % 3
    index = torch.arange(300)
    draws = noise.uniform(noise.key("noise", "matrix", 7), index).tolist()
    want = []
    for label, draw in zip(labels.tolist(), draws):
        total = 0.0
        for k, p in enumerate(matrix[label].tolist()):
            total += p
            if draw < total:
                want.append(k)
                break
    assert noise.transition(labels, matrix, index, seed=7).tolist() == want


def test_instance_noise_agrees_with_a_plain_loop():
    inputs = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    labels, index, rate, seed = torch.arange(60) % C, torch.arange(60) + 5, 0.4, 3
    after = noise.instance(labels, inputs, C, rate, index, seed)
    from statistics import NormalDist

    bell = NormalDist()
    shares = noise.uniform(noise.key("noise", "instance", seed), index).tolist()
    draws = noise.uniform(noise.key("noise", "instance", "class", seed), index).tolist()
    for i, label in enumerate(labels.tolist()):
        low, high = bell.cdf(-rate / 0.1), bell.cdf((1 - rate) / 0.1)
        q = rate + 0.1 * bell.inv_cdf(low + (high - low) * shares[i])
        stream = noise.key("noise", "projection", seed, label)
        weights = noise.normal(stream, torch.arange(6 * C)).reshape(6, C)
        scores = inputs[i].double() @ weights
        others = [k for k in range(C) if k != label]
        soft = torch.tensor([float(scores[k]) for k in others]).double().softmax(0).tolist()
        probs = [0.0] * C
        for k, p in zip(others, soft):
            probs[k] = q * p
        probs[label] = 1 - q
        total, want = 0.0, C - 1
        for k in range(C):
            total += probs[k]
            if draws[i] < total:
                want = k
                break
        assert int(after[i]) == want


def test_instance_noise_has_the_rate_in_expectation_and_depends_on_the_sample():
    inputs = torch.randn(N, 8, generator=torch.Generator().manual_seed(0))
    after = noise.instance(LABELS, inputs, C, 0.3, INDEX, seed=0)
    assert abs(float((after != LABELS).float().mean()) - 0.3) < 0.03
    other = noise.instance(LABELS, inputs.roll(1, 0), C, 0.3, INDEX, seed=0)
    assert not torch.equal(after, other)


@pytest.mark.parametrize("kind", ["symmetric", "pair", "matrix", "instance"])
def test_flips_are_seeded_and_samples_without_label_stay_so(kind):
    def draw(seed):
        labels = LABELS.clone()
        labels[:10] = -1
        if kind == "symmetric":
            return noise.symmetric(labels, C, 0.4, INDEX, seed)
        if kind == "pair":
            return noise.pair(labels, C, 0.4, INDEX, seed)
        if kind == "matrix":
            return noise.transition(labels, torch.full((C, C), 1 / C), INDEX, seed)
        return noise.instance(labels, torch.ones(N, 3), C, 0.4, INDEX, seed)

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert bool((draw(0)[:10] == -1).all())


def test_matrix_draws_of_a_sample_do_not_depend_on_the_others():
    matrix = torch.full((C, C), 1 / C)
    whole = noise.transition(LABELS, matrix, INDEX, seed=0)
    assert torch.equal(whole[100:200], noise.transition(LABELS[100:200], matrix, INDEX[100:200], seed=0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("symetric:0.4", "unknown kind 'symetric'"),
        ("symmetric", "needs a rate"),
        ("symmetric:x", "needs a rate"),
        ("symmetric:1.0", "must be in (0, 1)"),
        ("symmetric:-0.1", "must be in (0, 1)"),
        ("symmetric:nan", "must be in (0, 1)"),
        ("matrix:0.4", "takes no rate"),
    ],
)
def test_a_wrong_noise_setting_is_one_clear_line(text, words):
    with pytest.raises(UserError, match=r"--noise") as caught:
        parse(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_noise_none_is_no_noise():
    assert parse("none") is None
    assert parse(None) is None


def test_a_matrix_must_be_square_over_the_classes_and_its_rows_sum_to_one():
    with pytest.raises(UserError, match=r"2 × 2"):
        noise.check_matrix(np.eye(3), 2, "m.csv")
    with pytest.raises(UserError, match=r"row 1 must sum to 1"):
        noise.check_matrix(np.array([[1.0, 0], [0.5, 0.4]]), 2, "m.csv")
    with pytest.raises(UserError, match=r"row 0 holds a value that is no probability"):
        noise.check_matrix(np.array([[1.5, -0.5], [0, 1.0]]), 2, "m.csv")
