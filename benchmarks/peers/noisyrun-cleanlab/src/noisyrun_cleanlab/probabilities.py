"""Predicted probabilities [n, C] of a bank's labelled samples, from one of three places."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from cleanlab.count import estimate_cv_predicted_probabilities, get_confident_thresholds
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from noisyrun.api import FeatureBank, Phase
from noisyrun_cleanlab.config import CleanlabConfig


def predicted(bank: FeatureBank, rows: torch.Tensor) -> np.ndarray:
    """What the classifier says, float32 [n, C]; classes beyond its K most probable share the rest evenly."""
    classes, probs = bank.top_classes[rows], bank.top_probs[rows]
    others = bank.num_classes - classes.shape[1]
    rest = (1 - probs.sum(1, keepdim=True)).clamp(min=0) / max(1, others)
    filled = (rest if others else torch.zeros_like(rest)).expand(-1, bank.num_classes).clone()
    made = filled.scatter_(1, classes, probs)
    return (made / made.sum(1, keepdim=True)).numpy()


def features_of(bank: FeatureBank, rows: torch.Tensor) -> np.ndarray:
    """Features float32 [n, D] of some rows, whole in memory: scikit-learn has no other way."""
    return np.concatenate([block.features.cpu().numpy() for block in bank.blocks(rows)])


def out_of_sample(features: np.ndarray, labels: np.ndarray, config: CleanlabConfig, phase: Phase) -> np.ndarray:
    """Probabilities [n, C] of a model that has not seen the sample; labels are 0 to C − 1, each at least once."""
    if config.probabilities == "knn":
        return _neighbours(features, labels, config)
    model = LogisticRegression(C=config.C, max_iter=config.max_iter)
    with warnings.catch_warnings():
        # Rare classes, which cleanlab puts into several folds, and an end of the iterations that was asked for.
        warnings.filterwarnings("ignore", category=UserWarning)
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        return estimate_cv_predicted_probabilities(
            features,
            labels,
            make_pipeline(StandardScaler(), model) if config.standardise else model,
            cv_n_folds=config.cv_n_folds,
            seed=int(torch.randint(2**31, (), generator=phase.generator("folds"))),
        )


def _neighbours(features: np.ndarray, labels: np.ndarray, config: CleanlabConfig) -> np.ndarray:
    """Shares of the labels among the neighbours, with the sample's own label taken out, as Datalab has it."""
    k = min(config.k, len(labels) - 1)
    model = KNeighborsClassifier(n_neighbors=k + 1, metric=config.metric).fit(features, labels)
    shares = model.predict_proba(features)
    own = np.arange(len(labels)), labels
    # Among many samples at one place the sample itself may not be one of its neighbours.
    shares[own] = np.clip(shares[own] - 1 / (k + 1), 0, None)
    return shares / shares.sum(1, keepdims=True)


def adjusted(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Probabilities less each class's threshold, shifted and scaled to be probabilities again, as cleanlab does."""
    shifted = probabilities - thresholds + thresholds.max()
    return shifted / shifted.sum(1, keepdims=True)


def thresholds_of(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean self-confidence of each class, float [C]."""
    return np.asarray(get_confident_thresholds(labels, probabilities))
