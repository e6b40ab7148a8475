"""URNet's equations once more, as they are printed: plain loops in float64, which the fast forms are held against."""

from __future__ import annotations

import math

import numpy as np

Vector = np.ndarray


def class_weight(counts: list[int], alpha: float, scale: str) -> list[float]:
    """Equations 3 and 4, with r scaled as `scale` says; every class has samples."""
    r = [1 / n for n in counts]
    if scale == "literal":
        whole = sum(r)
        r = [x / whole for x in r]
    else:
        mean = sum(n * x for n, x in zip(counts, r)) / sum(counts)
        r = [x / mean for x in r]
    return [(1 - alpha) + alpha * x for x in r]


def confused_classes(observed: list[int], predicted: list[int], classes: int, k: int) -> list[list[int]]:
    """The k largest off-diagonal counts of each row of the confusion matrix; the lower class where two tie."""
    matrix = np.zeros((classes, classes), dtype=int)
    for y, p in zip(observed, predicted):
        if y >= 0 and p >= 0:
            matrix[y, p] += 1
    found = []
    for j in range(classes):
        others = [c for c in range(classes) if c != j and matrix[j, c]]
        best = sorted(others, key=lambda c: (-matrix[j, c], c))[:k]
        found.append(best + [-1] * (k - len(best)))
    return found


def cosine(a: Vector, b: Vector) -> float:
    """Of two vectors."""
    length = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return float(a @ b) / length if length else 0.0


def correlation_loss(images: Vector, texts: Vector, wrong: Vector) -> float:
    """Equation 8, as a mean."""
    terms = [cosine(v, t) - cosine(v, w) for v, t, w in zip(images, texts, wrong)]
    return -sum(terms) / len(terms)


def bag_features(features: Vector, saliency: Vector, bags: list[int], mask: list[bool]) -> dict[int, Vector]:
    """F_bag of every bag that has a member."""
    found = {}
    for bag in sorted(set(bags)):
        rows = [i for i, (b, m) in enumerate(zip(bags, mask)) if b == bag and m]
        if rows:
            mass = [math.exp(saliency[i]) for i in rows]
            found[bag] = sum(features[i] * m for i, m in zip(rows, mass)) / sum(mass)
    return found
