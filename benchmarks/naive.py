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


def sinet_judge(features: Floats, labels: Ints, prototypes: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Weight (equation 6) of each label with one prototype a class, and which labels are called wrong, [N] both.

    Wrong: in the lower of Otsu's two groups, and nearer to the prototype of another class.
    """
    rows = np.arange(len(features))
    distances = np.sqrt(np.maximum(0, 2 - 2 * unit(features) @ unit(prototypes).T))
    own = distances[rows, labels]
    distances[rows, labels] = np.inf
    low = 1.2 - own < _otsu(1.2 - own)
    return sinet_weight(own), low & (distances.min(1) < own)


def _otsu(scores: Floats, bins: int = 256) -> float:
    counts, edges = np.histogram(scores, bins)
    middle = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()[:-1]
    above = len(scores) - below
    mass = (counts * middle).cumsum()
    gap = mass[:-1] / np.maximum(1, below) - (mass[-1] - mass[:-1]) / np.maximum(1, above)
    return float(edges[(below * above * gap**2).argmax() + 1])


# --- k-means: Arthur and Vassilvitskii, k-means++, SODA 2007; Lloyd ------------------------------------------------


def kmeans(points: Floats, k: int, draw: np.random.Generator, tolerance: float = 1e-4) -> tuple[Floats, Ints]:
    """Centroids [k, D] and assignment [n]."""
    squares = (points**2).sum(1)
    centroids = points[draw.integers(len(points), size=1)]
    nearest = ((points - centroids) ** 2).sum(1)
    while len(centroids) < k:
        share = nearest / nearest.sum() if nearest.sum() > 0 else np.full(len(points), 1 / len(points))
        new = points[draw.choice(len(points), p=share)]
        centroids = np.concatenate([centroids, new[None]])
        nearest = np.minimum(nearest, ((points - new) ** 2).sum(1))
    for _ in range(100):
        assignment = (squares[:, None] - 2 * points @ centroids.T + (centroids**2).sum(1)).argmin(1)
        members = assignment[:, None] == np.arange(k)
        sizes = members.sum(0)
        means = np.where(
            sizes[:, None] > 0, members.T.astype(float) @ points / np.maximum(1, sizes)[:, None], centroids
        )
        shift, centroids = ((means - centroids) ** 2).sum(), means
        if shift <= tolerance * points.var(0).mean():
            break
    return centroids, (squares[:, None] - 2 * points @ centroids.T + (centroids**2).sum(1)).argmin(1)


# --- CleanNet: Lee, He, Zhang, Yang, CVPR 2018 ---------------------------------------------------------------------


def cleannet_references(features: Floats, labels: Ints, classes: int, k: int = 50) -> list[Floats]:
    """Centroids of each class, [k, D]."""
    draw = np.random.default_rng(0)
    return [kmeans(features[labels == c], k, draw)[0] for c in range(classes)]


def cleannet_classes(references: Floats, mask: NDArray[np.bool_], net: dict[str, Floats]) -> Floats:
    """Class embeddings [C, E] of references [C, P, D] as the encoder sees them (equations 2 to 4)."""
    hidden = np.tanh(
        np.tanh(_linear(references, net, "reference.mlp.0")) @ net["reference.mlp.3.weight"].T
        + net["reference.mlp.3.bias"]
    )
    scores = np.tanh(_linear(hidden, net, "reference.attention")) @ net["reference.context"]
    shares = _softmax(np.where(mask, scores, -np.inf))
    return np.tanh(_linear((shares[:, :, None] * hidden).sum(1), net, "reference.out.0"))


def cleannet_weights(features: Floats, labels: Ints, embeddings: Floats, net: dict[str, Floats]) -> Floats:
    """max(0, cos) of each sample, as the encoder sees it, to the embedding of its class (equations 5 and 12), [N]."""
    hidden = np.tanh(_linear(features, net, "query.encode.0"))
    queries = np.tanh(_linear(hidden, net, "query.encode.3"))
    return np.maximum(0, (unit(queries) * unit(embeddings)[labels]).sum(1))


def _linear(values: Floats, net: dict[str, Floats], layer: str) -> Floats:
    return values @ net[f"{layer}.weight"].T + net[f"{layer}.bias"]


# --- URNet: Li, Song, Zhu and others, Learning from Noisy Web Data with Ubiquitous Reweighting, 2018 ----------------


def urnet_class(labels: Ints, classes: int, alpha: float = 0.5) -> Floats:
    """Weight of each sample by the size of its class, inverse sizes scaled to mean 1 (equations 3 and 4), [N]."""
    counts = np.bincount(labels, minlength=classes)
    share = np.where(counts > 0, len(labels) / ((counts > 0).sum() * np.maximum(1, counts)), 1.0)
    return ((1 - alpha) + alpha * share)[labels]


def urnet_clusters(features: Floats, labels: Ints, predicted: Ints, classes: int, confused: int = 4) -> Floats:
    """Weight of each sample by the size of its group among its class and the four most confused (5 to 7), [N]."""
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (labels, predicted), 1)
    np.fill_diagonal(confusion, 0)
    draw = np.random.default_rng(0)
    weights = np.zeros(len(labels))
    for c in range(classes):
        worst = np.argsort(-confusion[c], kind="stable")[:confused]
        rows = np.flatnonzero(np.isin(labels, [c, *worst[confusion[c, worst] > 0]]))
        groups = kmeans(features[rows], 5, draw)[1]
        own = labels[rows] == c
        weights[rows[own]] = (np.bincount(groups, minlength=5) / len(rows))[groups[own]]
    return weights


def urnet_instance(features: Floats, labels: Ints, texts: Floats, net: dict[str, Floats]) -> Floats:
    """max(0, cos) of each image to the text of its label, both in the model's space (equation 8), [N]."""
    hidden = np.maximum(0, _linear((features - net["image.mean"]) * net["image.scale"], net, "image.layers.0"))
    return np.maximum(0, (unit(_linear(hidden, net, "image.layers.2")) * unit(texts)[labels]).sum(1))


def urnet_label(labels: Ints, predicted: Ints, classes: int, beta: float = 0.8) -> Floats:
    """β·y + (1 − β)·ŷ as dense targets (equation 10), [N, C]."""
    every = np.eye(classes)
    return beta * every[labels] + (1 - beta) * every[predicted]


# --- Measures -----------------------------------------------------------------------------------------------------


def auroc(positive: NDArray[np.bool_], score: Floats) -> float:
    """Area under the ROC curve by ranks, ties counting half."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]
    found = positive.sum()
    return float((rank[positive].sum() - found * (found + 1) / 2) / (found * (len(score) - found)))
