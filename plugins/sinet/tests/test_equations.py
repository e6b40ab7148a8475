"""Each equation against slow float64 arithmetic, and against a case worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from noisyrun_sinet.equations import class_relation, consistency, label_similarity, smoothed, weight


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_consistency(
    semantic: np.ndarray, visual: np.ndarray, psi: str, temperature: float, gamma: float, eps: float
) -> float:
    """Equation 4 for one sample, term by term."""
    if psi == "softmax":
        p, q = np.exp(semantic / temperature), np.exp(visual / temperature)
        p, q = p / p.sum(), q / q.sum()
        divergence = sum(a * math.log(a / b) for a, b in zip(p, q))
    else:
        p, q = np.maximum(semantic, 1e-6), np.maximum(visual, 1e-6)
        p, q = p / np.linalg.norm(p), q / np.linalg.norm(q)
        divergence = sum(a * math.log(a / b) - a + b for a, b in zip(p, q))
    return (divergence + eps) ** -gamma


def test_label_similarity_is_the_cosine() -> None:
    vectors = draw(5, 7)
    slow = np.array(
        [[(a @ b) / math.sqrt((a @ a) * (b @ b)) for b in vectors.double().numpy()] for a in vectors.double().numpy()]
    )
    np.testing.assert_allclose(label_similarity(vectors, vectors).numpy(), slow, atol=1e-6)


def test_label_similarity_by_hand() -> None:
    vectors = torch.tensor([[3.0, 4.0], [4.0, 3.0], [0.0, 0.0]])
    made = label_similarity(vectors[:2], vectors)
    assert torch.allclose(made, torch.tensor([[1.0, 0.96, 0.0], [0.96, 1.0, 0.0]]))


def test_class_relation_adds_the_two_graphs() -> None:
    assert class_relation(torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0, 0.25]])).tolist() == [[2.0, 0.75]]


@pytest.mark.parametrize("psi", ["softmax", "l2"])
@pytest.mark.parametrize(("temperature", "gamma", "eps"), [(0.1, 2.0, 1e-3), (1.0, 0.5, 0.1)])
def test_consistency_agrees_with_slow_arithmetic(psi: str, temperature: float, gamma: float, eps: float) -> None:
    semantic, visual = draw(6, 9).tanh(), draw(6, 9, seed=1).tanh()
    made = consistency(semantic, visual, psi, temperature, gamma, eps)
    slow = [
        slow_consistency(s, v, psi, temperature, gamma, eps)
        for s, v in zip(semantic.double().numpy(), visual.double().numpy())
    ]
    np.testing.assert_allclose(made.numpy(), slow, rtol=2e-4)


def test_consistency_by_hand() -> None:
    # softmax at T = 1 of [0, ln 3] is [1/4, 3/4], of [0, 0] it is [1/2, 1/2].
    divergence = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    made = consistency(torch.tensor([[0.0, math.log(3)]]), torch.zeros(1, 2), "softmax", 1.0, 2.0, 0.001)
    assert made.item() == pytest.approx((divergence + 0.001) ** -2, rel=1e-5)


@pytest.mark.parametrize("psi", ["softmax", "l2"])
def test_consistency_is_highest_where_the_vectors_agree(psi: str) -> None:
    semantic = draw(8).sigmoid()
    others = torch.cat([semantic.unsqueeze(0), draw(20, 8, seed=2).sigmoid()])
    scores = consistency(semantic, others, psi)
    assert scores.argmax().item() == 0
    assert scores[0].item() == pytest.approx(1e6, rel=1e-2)  # ε^−γ


def test_consistency_of_one_class_equals_consistency_of_its_row_repeated() -> None:
    semantic, visual = draw(9), draw(4, 9, seed=1)
    assert torch.allclose(consistency(semantic, visual), consistency(semantic.expand(4, 9), visual))


def test_consistency_ignores_the_order_of_the_classes() -> None:
    semantic, visual = draw(4, 9), draw(4, 9, seed=1)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(consistency(semantic, visual), consistency(semantic[:, order], visual[:, order]), rtol=1e-4)


@pytest.mark.parametrize("psi", ["softmax", "l2"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_consistency_of_half_precision_and_extreme_vectors_is_finite(psi: str, dtype: torch.dtype) -> None:
    visual = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0], [-1.0, -1.0, -1.0]]).to(dtype)
    made = consistency(torch.tensor([2.0, 0.0, -1.0], dtype=dtype), visual, psi)
    assert made.dtype == torch.float32
    assert bool(torch.isfinite(made).all())
    assert bool((made > 0).all())


def test_weight_agrees_with_slow_arithmetic() -> None:
    distances = torch.linspace(0, 2, 41)
    slow = [max(0.0, 1.2 - d) ** 1.5 for d in distances.double().tolist()]
    np.testing.assert_allclose(weight(distances, 1.2, 1.5).numpy(), slow, atol=1e-6)


def test_weight_by_hand() -> None:
    assert weight(torch.tensor([0.2, 1.2, 1.9]), 1.2, 1.5).tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)


def test_smoothed_by_hand() -> None:
    given, predicted = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.25, 0.5, 0.25]])
    assert torch.allclose(smoothed(given, predicted, 0.2), torch.tensor([[0.85, 0.1, 0.05]]))
