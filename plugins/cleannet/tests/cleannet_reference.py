"""CleanNet written out naively in NumPy float64: loops over references, queries and thresholds, nothing shared."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def reference_embedding(net: Mapping[str, Array], references: Array) -> tuple[Array, Array]:
    """Class embedding and attention of one set [P, D]: equations (2) to (4) between two layers and one."""
    hidden, scores = [], []
    for vector in references:
        first = np.tanh(net["reference.mlp.0.weight"] @ vector + net["reference.mlp.0.bias"])
        h = np.tanh(net["reference.mlp.3.weight"] @ first + net["reference.mlp.3.bias"])
        u = np.tanh(net["reference.attention.weight"] @ h + net["reference.attention.bias"])
        hidden.append(h)
        scores.append(float(u @ net["reference.context"]))
    powers = [math.exp(score) for score in scores]
    alpha = np.array([power / sum(powers) for power in powers])
    pooled = sum(a * h for a, h in zip(alpha, hidden))
    return np.tanh(net["reference.out.0.weight"] @ pooled + net["reference.out.0.bias"]), alpha


def query_embedding(net: Mapping[str, Array], query: Array) -> tuple[Array, Array]:
    """Embedding and reconstruction of one query [D]."""
    h = np.tanh(net["query.encode.0.weight"] @ query + net["query.encode.0.bias"])
    embedded = np.tanh(net["query.encode.3.weight"] @ h + net["query.encode.3.bias"])
    h = np.tanh(net["query.decode.0.weight"] @ embedded + net["query.decode.0.bias"])
    return embedded, net["query.decode.3.weight"] @ h + net["query.decode.3.bias"]


def cosine(a: Array, b: Array) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0


def loss(cos: float, relevance: int, error: float, omega: float, rho: float, beta: float, gamma: float) -> float:
    """Equations (6) to (10) of one query."""
    if relevance == 1:
        return 1 - cos + beta * error
    if relevance == 0:
        return omega * max(0.0, cos - rho) + beta * error
    return beta * error + (gamma * (1 - cos) if cos >= rho else 0.0)


def average_error(wrong: list[bool], relevance: list[int], classes: list[int]) -> float:
    rates = []
    for c in sorted(set(classes)):
        own = [i for i, other in enumerate(classes) if other == c]
        rates.append(sum(wrong[i] == (relevance[i] == 1) for i in own) / len(own))
    return sum(rates) / len(rates)


def least_error(cosines: list[float], relevance: list[int], classes: list[int]) -> float:
    """The least average error that any threshold reaches."""
    levels = [-2.0, *(c + 1e-9 for c in cosines)]
    return min(average_error([c < level for c in cosines], relevance, classes) for level in levels)
