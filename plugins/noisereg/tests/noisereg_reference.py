"""Noise regularization written slowly, in float64 and plain loops, straight from the paper's equations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Vector = Sequence[float]
Matrix = Sequence[Vector]

ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "relu": lambda x: max(0.0, x),
}


def linear(x: Vector, weight: Matrix, bias: Vector) -> list[float]:
    return [sum(w * v for w, v in zip(row, x)) + b for row, b in zip(weight, bias)]


def mapping(x: Vector, inner: tuple[Matrix, Vector], outer: tuple[Matrix, Vector], activation: str) -> list[float]:
    """Equations 1 and 3."""
    return linear([ACTIVATIONS[activation](v) for v in linear(x, *inner)], *outer)


def sigma(x: float) -> float:
    """Equations 2 and 4."""
    return 1 / (1 + math.exp(-x))


def sample_loss(probabilities: Vector, labels: Vector, known: Sequence[bool]) -> float:
    """A term of equations 5 and 6, over the classes that are known."""
    terms = [
        -(y * math.log(p) + (1 - y) * math.log(1 - p))
        for p, y, is_known in zip(probabilities, labels, known)
        if is_known
    ]
    return sum(terms)


def objective(
    g: Matrix, h: Matrix, clean: Sequence[tuple[int, Vector]], noisy: Sequence[tuple[int, Vector]], alpha: float
) -> float:
    """Equation 7, all classes known; the sets are (row, labels)."""
    everything = [True] * len(g[0])
    l_clean = sum(sample_loss(g[j], v, everything) for j, v in clean) / len(clean)
    l_noise = sum(sample_loss(h[i], y, everything) for i, y in noisy) / len(noisy)
    return alpha * l_clean + l_noise
