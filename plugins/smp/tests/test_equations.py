"""Each equation of SMP against a slow float64 form and against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import smp_reference as slow
import torch

from noisyrun_smp import equations

#: Similarities of five samples: A, B, C alike, D near C, E apart.
#:
#:        A    B    C    D    E      sorted (25 values): 0.0 ×4 (EA, AE, EB, BE), 0.1 ×2 (EC), 0.2 ×2 (ED), 0.3 ×2 (AD),
#:   A  1.0  0.8  0.9  0.3  0.0      0.4 ×2 (BD), 0.6 ×2 (CD), 0.7 ×2 (BC), 0.8 ×2 (AB), 0.9 ×2 (AC), 1.0 ×5
#:   B  0.8  1.0  0.7  0.4  0.0
#:   C  0.9  0.7  1.0  0.6  0.1      40 % of 25 values are 10: those above the 15th, 0.7 (the 15th and 16th),
#:   D  0.3  0.4  0.6  1.0  0.2      are 0.8 ×2, 0.9 ×2, 1.0 ×5: nine, because 0.7 stands at both ranks 15 and 16.
#:   E  0.0  0.0  0.1  0.2  1.0
WORKED = torch.tensor(
    [
        [1.0, 0.8, 0.9, 0.3, 0.0],
        [0.8, 1.0, 0.7, 0.4, 0.0],
        [0.9, 0.7, 1.0, 0.6, 0.1],
        [0.3, 0.4, 0.6, 1.0, 0.2],
        [0.0, 0.0, 0.1, 0.2, 1.0],
    ],
    dtype=torch.float64,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_similarity_by_hand() -> None:
    # (3, 4) and (4, 3): 24 / 25. A zero vector is like nothing, itself included.
    found = equations.similarity(torch.tensor([[3.0, 4.0], [4.0, 3.0], [0.0, 0.0]]))
    assert torch.allclose(found, torch.tensor([[1.0, 0.96, 0.0], [0.96, 1.0, 0.0], [0.0, 0.0, 0.0]]))


def test_similarity_agrees_with_the_slow_form() -> None:
    features = draw(12, 6)
    assert np.allclose(equations.similarity(features).numpy(), slow.similarity(features.numpy()), atol=1e-12)


def test_threshold_by_hand() -> None:
    assert float(equations.similarity_threshold(WORKED, 0.4, "top")) == 0.7
    # Bottom: 40 % of 25 are 10 values below the 11th, 0.4 at ranks 11 and 12.
    assert float(equations.similarity_threshold(WORKED, 0.4, "bottom")) == 0.4


@pytest.mark.parametrize("side", ["top", "bottom"])
@pytest.mark.parametrize("share", [0.01, 0.4, 0.99])
def test_threshold_agrees_with_the_slow_form_and_leaves_the_share_beyond(share: float, side: str) -> None:
    matrix = draw(9, 9)
    found = float(equations.similarity_threshold(matrix, share, side))
    assert found == slow.threshold(matrix.numpy(), share, side)
    beyond = matrix > found if side == "top" else matrix < found
    assert int(beyond.sum()) == int(share * 81)


def test_density_by_hand() -> None:
    # S_c = 0.7, sign(0) = 0.
    # A: 1.0+ 0.8+ 0.9+ 0.3− 0.0− = 1;  B: 0.8+ 1.0+ 0.7=0 0.4− 0.0− = 0;  C: 0.9+ 0.7=0 1.0+ 0.6− 0.1− = 0
    # D: 1.0+ and four below = −3;      E: the same = −3
    assert equations.density(WORKED, torch.tensor(0.7, dtype=torch.float64)).tolist() == [1, 0, 0, -3, -3]


def test_density_leaves_the_similarities_as_they_were() -> None:
    before = WORKED.clone()
    equations.density(WORKED, torch.tensor(0.7, dtype=torch.float64))
    assert torch.equal(WORKED, before)


def test_eta_by_hand() -> None:
    # A is the densest: its lowest similarity, 0.0. B and C tie, so neither counts for the other (strictly denser: A):
    # 0.8 and 0.9. D and E tie: most alike among A, B, C: 0.6 and 0.1.
    rho = torch.tensor([1, 0, 0, -3, -3])
    assert equations.eta(WORKED, rho).tolist() == [0.0, 0.8, 0.9, 0.6, 0.1]


def test_all_that_tie_for_the_highest_density_take_their_lowest_similarity() -> None:
    rho = torch.tensor([1, 1, 0, -3, -3])
    assert equations.eta(WORKED, rho).tolist() == [0.0, 0.0, 0.9, 0.6, 0.1]


@pytest.mark.parametrize("seed", range(5))
def test_density_and_eta_agree_with_the_slow_form(seed: int) -> None:
    matrix = equations.similarity(draw(23, 4, seed=seed))
    matrix = (matrix * 8).round() / 8  # many ties
    cut = equations.similarity_threshold(matrix, 0.4)
    rho = equations.density(matrix, cut)
    assert rho.tolist() == slow.density(matrix.numpy(), float(cut))
    expected = slow.eta(matrix.numpy(), [int(r) for r in rho])
    assert equations.eta(matrix, rho).tolist() == expected
    some = torch.tensor([7, 0, 22])
    assert equations.eta(matrix, rho, some).tolist() == [expected[i] for i in some]


def test_selection_by_hand() -> None:
    rho, eta = torch.tensor([1, 0, 0, -3, -3]), torch.tensor([0.0, 0.8, 0.9, 0.6, 0.1])
    # Below 0.85: A (1), B (0), D (−3), E (−3). C is dense, but too much like A.
    assert equations.select_prototypes(rho, eta, 3, 0.85).tolist() == [0, 1, 3]
    assert equations.select_prototypes(rho, eta, 2, 0.95).tolist() == [0, 1]


def test_where_too_few_qualify_the_lowest_eta_fill_up() -> None:
    rho, eta = torch.tensor([1, 0, 0, -3, -3]), torch.tensor([0.0, 0.8, 0.9, 0.6, 0.1])
    # Below 0.5: A and E. Then, by η: D 0.6, B 0.8.
    assert equations.select_prototypes(rho, eta, 4, 0.5).tolist() == [0, 4, 3, 1]


def test_eta_at_the_limit_does_not_qualify() -> None:
    rho, eta = torch.tensor([2, 1, 0]), torch.tensor([0.5, 0.25, 0.25])
    assert equations.select_prototypes(rho, eta, 2, 0.5).tolist() == [1, 2]


def test_selection_of_more_than_there_are_gives_all() -> None:
    assert equations.select_prototypes(torch.tensor([1, 0]), torch.tensor([0.0, 0.99]), 8, 0.95).tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_selection_agrees_with_the_slow_form(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rho = torch.randint(-3, 3, (20,), generator=generator)
    eta = torch.rand(20, generator=generator, dtype=torch.float64)
    expected = slow.select(rho.tolist(), eta.tolist(), 8, 0.4)
    assert equations.select_prototypes(rho, eta, 8, 0.4).tolist() == expected


def test_density_peaks_by_hand() -> None:
    # Points on a line: 0, 1, 2 and 10, 11. All 25 distances: 0 ×5, 1 ×6, 2 ×2, 8 ×2, 9 ×4, 10 ×4, 11 ×2.
    # A share of 0.44 puts the cut at the 11th, 1; closer than 1 is only each point itself: ρ = 1 everywhere, so every
    # δ is the largest distance, and γ is that: 11, 10, 9, 10, 11.
    line = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0]]).double()
    assert equations.density_peaks(line, 2, 0.44).tolist() == [0, 4]
    # A share of 0.52 puts it at 2 (13th): ρ = 2, 3, 2, 2, 2. δ: point 1 its largest, 10; the others to point 1:
    # 1, 1, 9, 10. γ = 2, 30, 2, 18, 20.
    assert equations.density_peaks(line, 3, 0.52).tolist() == [1, 4, 3]


def test_density_peaks_agree_with_the_slow_form() -> None:
    features = draw(25, 3)
    assert equations.density_peaks(features, 6, 0.3).tolist() == slow.density_peaks(features.numpy(), 6, 0.3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_and_labels_agree_with_the_slow_form(dtype: torch.dtype) -> None:
    features, vectors = draw(30, 6), draw(5, 3, 6, seed=1)
    mask = torch.ones(5, 3, dtype=torch.bool)
    mask[1, 2] = mask[4, 1:] = False
    ragged = [vectors[c][mask[c]].numpy() for c in range(5)]
    means = equations.mean_unit(vectors.to(dtype), mask.to(dtype))
    mean = equations.mean_scores(features.to(dtype), means)
    unit = (vectors / vectors.norm(dim=2, keepdim=True)).to(dtype)
    highest = equations.max_scores(features.to(dtype), unit, mask)
    for found, reduce in ((mean, "mean"), (highest, "max")):
        expected = slow.scores(features.numpy(), ragged, reduce)
        assert np.allclose(found.double().numpy(), expected, atol=1e-6)
        assert equations.corrected_label(found).tolist() == expected.argmax(1).tolist()


def test_scores_by_hand() -> None:
    # Class 0: along x and along y; class 1: along (1, 1). A sample along x: (1 + 0) / 2 and √½.
    vectors = torch.tensor([[[2.0, 0.0], [0.0, 3.0]], [[1.0, 1.0], [0.0, 0.0]]])
    weights = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    x = torch.tensor([[5.0, 0.0]])
    mean = equations.mean_scores(x, equations.mean_unit(vectors, weights))
    assert torch.allclose(mean, torch.tensor([[0.5, 0.5**0.5]]))
    assert equations.corrected_label(mean).tolist() == [1]
    unit = torch.nn.functional.normalize(vectors, dim=2)
    assert torch.allclose(equations.max_scores(x, unit, weights > 0), torch.tensor([[1.0, 0.5**0.5]]))


def test_a_weighted_mean_counts_prototypes_by_their_weight() -> None:
    vectors = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    found = equations.mean_unit(vectors, torch.tensor([[3.0, 1.0]]))
    assert torch.allclose(found, torch.tensor([[0.75, 0.25]]))


def test_a_class_without_prototypes_has_no_highest_similarity() -> None:
    vectors = torch.zeros(2, 1, 3)
    found = equations.max_scores(torch.ones(1, 3), vectors, torch.tensor([[True], [False]]))
    assert found.tolist() == [[0.0, float("-inf")]]


def test_the_first_of_tied_classes_is_taken() -> None:
    assert equations.corrected_label(torch.tensor([[0.1, 0.7, 0.7]])).tolist() == [1]


def test_no_equation_changes_its_input() -> None:
    features, vectors = draw(6, 4), draw(3, 2, 4, seed=1)
    mask = torch.ones(3, 2, dtype=torch.bool)
    before = [t.clone() for t in (features, vectors, mask)]
    similarities = equations.similarity(features)
    kept = similarities.clone()
    cut = equations.similarity_threshold(similarities, 0.4)
    rho = equations.density(similarities, cut)
    equations.eta(similarities, rho)
    equations.mean_scores(features, equations.mean_unit(vectors, mask.double()))
    equations.max_scores(features, vectors, mask)
    equations.density_peaks(features, 2, 0.4)
    assert torch.equal(similarities, kept)
    assert all(torch.equal(a, b) for a, b in zip(before, (features, vectors, mask)))
