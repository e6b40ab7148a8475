"""SMP written out naively in NumPy float64: loops, full matrices, nothing shared with the plugin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def similarity(features: Array) -> Array:
    m = len(features)
    out = np.zeros((m, m))
    for i in range(m):
        for j in range(m):
            lengths = np.linalg.norm(features[i]) * np.linalg.norm(features[j])
            out[i, j] = features[i] @ features[j] / lengths if lengths else 0.0
    return out


def threshold(similarities: Array, share: float, side: str) -> float:
    ascending = sorted(similarities.ravel())
    beyond = int(share * len(ascending))
    return ascending[len(ascending) - beyond - 1] if side == "top" else ascending[beyond]


def density(similarities: Array, cut: float) -> list[int]:
    return [sum(int(s > cut) - int(s < cut) for s in row) for row in similarities.tolist()]


def eta(similarities: Array, rho: list[int]) -> list[float]:
    out = []
    for i, row in enumerate(similarities.tolist()):
        denser = [s for j, s in enumerate(row) if rho[j] > rho[i]]
        out.append(max(denser) if denser else min(row))
    return out


def select(rho: list[int], etas: list[float], p: int, limit: float) -> list[int]:
    order = sorted(range(len(rho)), key=lambda i: (-rho[i], i))
    good = [i for i in order if etas[i] < limit]
    rest = sorted((i for i in order if etas[i] >= limit), key=lambda i: (etas[i], i))
    return (good + rest)[:p]


def density_peaks(features: Array, p: int, share: float) -> list[int]:
    m = len(features)
    distances = np.array([[np.linalg.norm(a - b) for b in features] for a in features])
    cut = sorted(distances.ravel())[max(1, int(share * m * m)) - 1]
    rho = [int((row < cut).sum()) for row in distances]
    gamma = []
    for i in range(m):
        denser = [distances[i, j] for j in range(m) if rho[j] > rho[i]]
        gamma.append(rho[i] * (min(denser) if denser else distances[i].max()))
    return sorted(range(m), key=lambda i: (-gamma[i], i))[:p]


def scores(features: Array, prototypes: list[Array], reduce: str) -> Array:
    """prototypes: one [P_c, D] a class, P_c may be 0."""
    out = np.full((len(features), len(prototypes)), -np.inf)
    for i, x in enumerate(features):
        for c, vectors in enumerate(prototypes):
            cosines = [x @ v / max(np.linalg.norm(x) * np.linalg.norm(v), 1e-300) for v in vectors]
            if cosines:
                out[i, c] = np.mean(cosines) if reduce == "mean" else max(cosines)
    return out


def prototypes_of(features: Array, p: int = 8, limit: float = 0.95, share: float = 0.4, side: str = "top") -> list[int]:
    matrix = similarity(features)
    rho = density(matrix, threshold(matrix, share, side))
    return select(rho, eta(matrix, rho), p, limit)
