"""Each equation of noise regularization against a slow float64 form and against cases worked by hand."""

from __future__ import annotations

import math

import noisereg_reference as slow
import pytest
import torch
from torch import Tensor

from noisyrun_noisereg import equations


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_mapping_agrees_with_the_slow_form(activation: str) -> None:
    features, inner, outer = draw(5, 4), (draw(3, 4, seed=1), draw(3, seed=2)), (draw(2, 3, seed=3), draw(2, seed=4))
    found = equations.mapping(features, inner, outer, equations.ACTIVATIONS[activation])
    lists = tuple((weight.tolist(), bias.tolist()) for weight, bias in (inner, outer))
    wanted = [slow.mapping(row, *lists, activation) for row in features.tolist()]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))


def test_mapping_by_hand() -> None:
    # ReLU of (1 − 2, 1 + 2) = (0, 3); 3 · 2 − 1 = 5.
    inner = (torch.tensor([[1.0, -1.0], [1.0, 1.0]]), torch.zeros(2))
    outer = (torch.tensor([[7.0, 2.0]]), torch.tensor([-1.0]))
    assert equations.mapping(torch.tensor([[1.0, 2.0]]), inner, outer, torch.relu).item() == 5.0


def test_probabilities_by_hand() -> None:
    # σ(ln 3) = 3/4; r and c are summed before the sigmoid: σ(ln 3 − ln 3) = 1/2.
    log3 = torch.tensor([[math.log(3.0)]])
    assert equations.clean_probability(log3).item() == pytest.approx(0.75)
    assert equations.noisy_probability(-log3, log3).item() == pytest.approx(0.5)


def test_cross_entropy_by_hand() -> None:
    # Probabilities 3/4 and 1/2; labels 1 and 0: ln 4/3 + ln 2. With the second unknown: ln 4/3.
    logits, labels = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[1.0, 0.0]])
    both, one = torch.tensor([[True, True]]), torch.tensor([[True, False]])
    assert equations.cross_entropy(logits, labels, both).item() == pytest.approx(math.log(4 / 3) + math.log(2))
    assert equations.cross_entropy(logits, labels, one).item() == pytest.approx(math.log(4 / 3))
    assert equations.cross_entropy(logits, labels, ~both).item() == 0.0


def test_cross_entropy_agrees_with_the_slow_form() -> None:
    logits, labels, known = draw(6, 5), draw(6, 5, seed=1).sigmoid(), draw(6, 5, seed=2) > -0.5
    known[:, 0] = True
    wanted = [
        slow.sample_loss([slow.sigma(x) for x in row], y, k)
        for row, y, k in zip(logits.tolist(), labels.tolist(), known.tolist())
    ]
    torch.testing.assert_close(
        equations.cross_entropy(logits, labels, known), torch.tensor(wanted, dtype=torch.float64)
    )


def test_cross_entropy_stays_finite_where_a_probability_would_be_0_or_1() -> None:
    logits = torch.tensor([[500.0, -500.0]], requires_grad=True)
    loss = equations.cross_entropy(logits, torch.tensor([[0.0, 1.0]]), torch.ones(1, 2, dtype=torch.bool))
    loss.sum().backward()
    assert loss.item() == 1000.0
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_a_mean_counts_its_own_samples_and_is_0_without_any() -> None:
    losses = torch.tensor([1.0, 2.0, 6.0])
    assert equations.mean_over(losses, torch.tensor([True, False, True])).item() == 3.5
    assert equations.mean_over(losses, torch.zeros(3, dtype=torch.bool)).item() == 0.0


def test_objective_by_hand() -> None:
    assert equations.objective(torch.tensor(5.0), torch.tensor(2.0), 0.2).item() == pytest.approx(3.0)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_gradients_are_those_of_finite_differences(activation: str) -> None:
    features, known = draw(3, 4), torch.ones(3, 2, dtype=torch.bool)
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.5, 1.0]], dtype=torch.float64)
    own = torch.tensor([True, False, True])

    def loss(w: Tensor, b: Tensor, v: Tensor, a: Tensor, r: Tensor) -> Tensor:
        c = equations.mapping(features, (w, b), (v, a), equations.ACTIVATIONS[activation])
        clean = equations.mean_over(equations.cross_entropy(c, labels, known), own)
        noise = equations.mean_over(equations.cross_entropy(equations.noisy_logits(r, c), 1 - labels, known), ~own)
        return equations.objective(clean, noise, 0.2)

    inputs = [
        draw(*shape, seed=seed).requires_grad_() for seed, shape in enumerate([(3, 4), (3,), (2, 3), (2,), (3, 2)])
    ]
    assert torch.autograd.gradcheck(loss, inputs)
