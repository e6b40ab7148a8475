"""Measures of labels, of detection and of predictions: pure functions. A wrong label is a positive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from noisyrun.api.labels import PAD, Labels


def label_accuracy(labels: Tensor, truth: Tensor) -> float | None:
    """Share of samples whose label is the true one.

    Parameters
    ----------
    labels, truth
        int64 [N]. Samples whose truth is not known (`PAD`) do not count; one without a label counts as wrong.

    Returns
    -------
    float or None
        In [0, 1]; None when no truth is known.
    """
    known = truth != PAD
    return _share(labels[known] == truth[known])


def detection(
    score: Tensor, wrong: Tensor | None, truly_wrong: Tensor, classes: Tensor | None = None
) -> dict[str, float]:
    """How well wrong labels were found.

    Parameters
    ----------
    score
        float [N]: higher = the label is likelier right.
    wrong
        bool [N]: the methods' own decision; None where there is none. No threshold is ever put in its place.
    truly_wrong
        bool [N].
    classes
        int64 [N]: the observed class of each label, for ``class_error``.

    Returns
    -------
    dict
        ``noise_rate``, the share of wrong labels. Of the order by 1 − quality (−score serves): ``auroc``,
        ``average_precision``, ``precision_at_noise_rate`` and ``best_f1``, an upper bound whose threshold is chosen on
        `truly_wrong` itself; absent when all labels are right or all wrong. Of the decision, absent without one:
        ``f1``, ``precision``, ``recall`` and ``class_error``. Empty where there is no label.
    """
    # Here, as below: it takes two seconds and 80 MB, which only those pay who have clean labels.
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

    positive = _numpy(truly_wrong)
    if not len(positive):
        return {}
    measures = {"noise_rate": float(positive.mean())}
    if positive.any() and not positive.all():
        suspicion = -_numpy(score).astype(np.float64)
        measures["auroc"] = float(roc_auc_score(positive, suspicion))
        measures["average_precision"] = float(average_precision_score(positive, suspicion))
        measures |= _of_order(suspicion, positive)
    if wrong is not None:
        decided = _numpy(wrong).astype(bool)
        precision, recall, f1, _ = precision_recall_fscore_support(
            positive, decided, average="binary", zero_division=0.0
        )
        measures |= {"f1": float(f1), "precision": float(precision), "recall": float(recall)}
        if classes is not None:
            measures["class_error"] = class_error(decided, positive, _numpy(classes))
    return measures


def _of_order(suspicion: np.ndarray, positive: np.ndarray) -> dict[str, float]:
    """Measures of the labels from the most suspicious on; of equal ones the earlier comes first."""
    order = np.argsort(-suspicion, kind="stable")
    hits = positive[order].cumsum()
    total = int(hits[-1])
    # A threshold takes all labels of one score or none.
    ends = np.append(np.flatnonzero(np.diff(suspicion[order])), len(order) - 1)
    return {
        "precision_at_noise_rate": float(hits[total - 1]) / total,
        "best_f1": float((2 * hits[ends] / (ends + 1 + total)).max()),
    }


def class_error(decided: np.ndarray, truly_wrong: np.ndarray, classes: np.ndarray) -> float:
    """Average error over classes: mean over observed classes of the share of mistaken decisions about their labels.

    A right label called wrong and a wrong label called right are one mistake each.

    Parameters
    ----------
    decided, truly_wrong
        bool [N]: what was called wrong, and what is.
    classes
        int64 [N]: the observed class of each label. Classes that do not occur do not count.
    """
    counts = np.bincount(classes)
    mistakes = np.bincount(classes, decided != truly_wrong)
    return float((mistakes[counts > 0] / counts[counts > 0]).mean())


def truly_wrong(labels: Labels, truth: Labels) -> tuple[Tensor, Tensor]:
    """Which samples have a wrong label, and of which that is known.

    Multi-label: a sample counts as wrong when any class it is said to have is known to be absent.

    Returns
    -------
    wrong, known
        bool [N] each.
    """
    if truth.classes.shape[1] == 1 and labels.classes.shape[1] == 1 and truth.known is None:
        return labels.single != truth.single, (truth.single != PAD) & (labels.single != PAD)
    wrong, known = wrong_pairs(labels, truth)
    return wrong.any(1), known.any(1)


def wrong_pairs(labels: Labels, truth: Labels) -> tuple[Tensor, Tensor]:
    """Which of several labels a sample are wrong, and of which that is known.

    Returns
    -------
    wrong, known
        bool [N, k] each; False at padding.
    """
    real = labels.classes != PAD
    known = real if truth.known is None else _within(labels.classes, truth.known)
    return known & ~_within(labels.classes, truth.classes), known


def multi_label_f1(labels: Labels, truth: Labels) -> float | None:
    """F1 of labels as a finding of the true ones, over all known pairs together; None where nothing holds in either.

    Unlike the share of pairs that are right it does not live on the many classes that a sample is rightly not said
    to have.
    """
    wrong, known = wrong_pairs(labels, truth)
    hits = int((known & ~wrong).sum())
    said, true = int(known.sum()), int((truth.classes != PAD).sum())
    return 2 * hits / (said + true) if said + true else None


def multi_label_accuracy(labels: Labels, truth: Labels, num_classes: int, size: int = 4096) -> float | None:
    """Share of the known (sample, class) pairs that are labelled right.

    Parameters
    ----------
    size
        Samples at a time: [size, C] is the largest tensor formed.
    """
    right = total = 0
    for start in range(0, len(labels), size):
        rows = torch.arange(start, min(start + size, len(labels)))
        ours, theirs = labels.take(rows), truth.take(rows)
        known = theirs.known_mask(num_classes)
        same = (ours.multi_hot(num_classes) > 0) == (theirs.multi_hot(num_classes) > 0)
        right += int((same & known).sum())
        total += int(known.sum())
    return right / total if total else None


def top_k(logits: Tensor, truth: Tensor, k: int = 1) -> float | None:
    """Share of samples whose true class is among the k highest logits; a tie counts for the lower class index.

    Parameters
    ----------
    logits
        float [N, C].
    truth
        int64 [N]; `PAD`: not known, and left out.
    """
    known = truth != PAD
    best = logits[known].sort(dim=1, descending=True, stable=True).indices[:, :k]
    return _share((best == truth[known].unsqueeze(1)).any(1))


def average_precisions(scores: Tensor, labels: Tensor, known: Tensor | None = None) -> list[float | None]:
    """The average precision of each class.

    Parameters
    ----------
    scores
        float [N, C].
    labels
        bool [N, C]: the true classes.
    known
        bool [N, C]: pairs that count; all by default.

    Returns
    -------
    list of float or None
        C of them; None for a class without a known positive.
    """
    from sklearn.metrics import average_precision_score

    values, positives, mask = _arrays(scores, labels, known)
    return [
        float(average_precision_score(positives[mask[:, c], c], values[mask[:, c], c]))
        if positives[mask[:, c], c].any()
        else None
        for c in range(values.shape[1])
    ]


def mean_average_precision(scores: Tensor, labels: Tensor, known: Tensor | None = None) -> float | None:
    """Mean of `average_precisions` over the classes that have one (mAP); None when there is none left."""
    return mean(average_precisions(scores, labels, known))


def mean(values: Sequence[float | None]) -> float | None:
    """Mean of those that were measured; None when none was."""
    measured = [value for value in values if value is not None]
    return float(np.mean(measured)) if measured else None


def average_precision_all(scores: Tensor, labels: Tensor, known: Tensor | None = None) -> float | None:
    """Average precision over all known (sample, class) pairs together (AP_all); arguments as for mAP."""
    from sklearn.metrics import average_precision_score

    values, positives, mask = _arrays(scores, labels, known)
    if not positives[mask].any():
        return None
    return float(average_precision_score(positives[mask], values[mask]))


def effective_sample_size(weights: Tensor) -> float:
    """(Σw)² / Σw² (Kish), as a share of the number of weights, in [0, 1]; 0 when all weights are 0."""
    values = weights.double()
    squares = float((values * values).sum())
    return float(values.sum()) ** 2 / squares / max(len(values), 1) if squares > 0 else 0.0


def _within(classes: Tensor, others: Tensor) -> Tensor:
    """bool [N, k]: whether each of classes [N, k] is among others [N, q] of its row; False at padding."""
    found = torch.zeros_like(classes, dtype=torch.bool)
    for slot in range(others.shape[1]):
        found |= classes == others[:, slot : slot + 1]
    return found & (classes != PAD)


def _share(hits: Tensor) -> float | None:
    return float(hits.double().mean()) if len(hits) else None


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def _arrays(scores: Tensor, labels: Tensor, known: Tensor | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mask = torch.ones_like(labels, dtype=torch.bool) if known is None else known.bool()
    return _numpy(scores), _numpy(labels.bool()), _numpy(mask)
