"""The papers' formulas in vectorised NumPy float64, as one would first write them: the mark that noisyrun is held to.

Nothing here is shared with noisyrun or its plugins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def unit(vectors: Floats) -> Floats:
    """Rows [n, d] scaled to unit length; a row of zeros stays."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


# --- SMP: Han, Luo, Wang, Deep Self-Learning From Noisy Labels, ICCV 2019 -----------------------------------------


def smp_prototypes(
    features: Floats, draws: list[Ints], p: int = 8, limit: float = 0.95, share: float = 0.4
) -> list[Ints]:
    """Rows of the prototypes of each class, chosen among the rows drawn of it (equations 5 to 7)."""
    return [rows[_smp_class(features[rows], p, limit, share)] for rows in draws]


def _smp_class(features: Floats, p: int, limit: float, share: float) -> Ints:
    length = np.linalg.norm(features, axis=1)
    similarity = features @ features.T / np.maximum(np.outer(length, length), 1e-24)
    ascending = np.sort(similarity, axis=None)
    cut = ascending[len(ascending) - int(share * len(ascending)) - 1]
    rho = np.sign(similarity - cut).sum(1)
    denser = rho[None, :] > rho[:, None]
    nearest = np.where(denser, similarity, -np.inf).max(1)
    eta = np.where(rho < rho.max(), nearest, similarity.min(1))
    by_density = np.argsort(-rho, kind="stable")
    by_eta = np.argsort(eta, kind="stable")
    chosen = [i for i in by_density if eta[i] < limit] + [i for i in by_eta if eta[i] >= limit]
    return np.array(chosen[:p])


def smp_scores(features: Floats, prototypes: list[Ints]) -> Floats:
    """Mean cosine of each sample with each class's prototypes, [N, C] (equation 8)."""
    directions = unit(features)
    return np.stack([(directions @ directions[rows].T).mean(1) for rows in prototypes], axis=1)


def smp_margin(scores: Floats, labels: Ints) -> Floats:
    """How much more alike a sample is to its own class than to the best of the others, [N]."""
    rows = np.arange(len(labels))
    others = scores.copy()
    others[rows, labels] = -np.inf
    return scores[rows, labels] - others.max(1)


# --- SINet: Cheng et al., Weakly Supervised Learning with Side Information, ECCV 2020 -----------------------------


def sinet_prototypes(
    features: Floats, logits: Floats, labels: Ints, relation: Floats, k: int = 50, temperature: float = 0.1
) -> Floats:
    """One prototype a class, [C, D]: mean of its samples by consistency (equations 4 and 5)."""
    classes = len(relation)
    confidence = np.exp(logits - logits.max(1, keepdims=True))
    confidence /= confidence.sum(1, keepdims=True)
    initial = np.stack(
        [
            features[rows[np.argsort(-confidence[rows, c], kind="stable")[:k]]].mean(0)
            for c in range(classes)
            for rows in [np.flatnonzero(labels == c)]
        ]
    )
    visual = _softmax(unit(features) @ unit(initial).T / temperature)
    semantic = _softmax(relation / temperature)[labels]
    divergence = (semantic * np.log(semantic / visual)).sum(1)
    consistency = 1 / (divergence + 1e-3) ** 2
    return np.stack(
        [
            (features[rows] * consistency[rows, None]).sum(0) / consistency[rows].sum()
            for c in range(classes)
            for rows in [np.flatnonzero(labels == c)]
        ]
    )


def _softmax(values: Floats) -> Floats:
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def sinet_distance(features: Floats, labels: Ints, prototypes: list[Floats]) -> Floats:
    """Distance of each sample to the nearest prototype of its label, unit lengths, [N]."""
    directions = unit(features)
    out = np.empty(len(features))
    for c, vectors in enumerate(prototypes):
        rows = labels == c
        gaps = directions[rows][:, None, :] - unit(vectors)[None]
        out[rows] = np.sqrt((gaps**2).sum(2)).min(1)
    return out


def sinet_weight(distance: Floats, alpha: float = 1.2, beta: float = 1.5) -> Floats:
    """max(0, α − distance)^β (equation 6)."""
    return np.maximum(0, alpha - distance) ** beta


# --- Measures -----------------------------------------------------------------------------------------------------


def auroc(positive: NDArray[np.bool_], score: Floats) -> float:
    """Area under the ROC curve by ranks, ties counting half."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]
    found = positive.sum()
    return float((rank[positive].sum() - found * (found + 1) / 2) / (found * (len(score) - found)))
