"""Settings of cleanlab's detectors. Imports neither torch nor cleanlab, so that help stays quick."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from noisyrun.api import PluginConfig

Filter = Literal[
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
]


class CleanlabConfig(PluginConfig):
    """Predicted probabilities, and what cleanlab makes of them."""

    probabilities: Literal["predictions", "cross-validation", "knn"] = Field(
        "cross-validation",
        description="Where predicted probabilities come from. predictions: what the classifier says, of its --bank.top "
        "most probable classes (the rest is shared by the others); cross-validation: logistic regression on the "
        "features, out of sample, as CleanLearning does; knn: nearest neighbours, as Datalab does from features alone.",
    )
    cv_n_folds: int = Field(5, ge=2, description="cross-validation: folds.")
    max_iter: int = Field(100, ge=1, description="cross-validation: iterations of the logistic regression.")
    C: float = Field(1.0, gt=0, description="cross-validation: inverse of the strength of its penalty.")
    standardise: bool = Field(
        False, description="cross-validation: bring each feature to mean 0 and variance 1 first, fold by fold."
    )
    k: int = Field(10, ge=1, description="knn: neighbours.")
    metric: Literal["euclidean", "cosine"] = Field("euclidean", description="knn: distance.")
    method: Literal["self_confidence", "normalized_margin", "confidence_weighted_entropy"] = Field(
        "self_confidence", description="Label quality score (get_label_quality_scores)."
    )
    adjust_pred_probs: bool = Field(
        False,
        description="Subtract each class's mean self-confidence before scoring; not for confidence_weighted_entropy.",
    )
    filter_by: Filter = Field("prune_by_noise_rate", description="Which labels are called wrong (find_label_issues).")
    weights: Literal["keep", "quality"] = Field(
        "keep", description="Weight of a label: 0 where it is called wrong and 1 elsewhere, or its quality."
    )

    @model_validator(mode="after")
    def _cleanlab_refuses(self) -> CleanlabConfig:
        if self.adjust_pred_probs and self.method == "confidence_weighted_entropy":
            raise ValueError("adjust_pred_probs does not go with method confidence_weighted_entropy")
        return self


class CleanlabOutlierConfig(PluginConfig):
    """Out-of-distribution score of a sample."""

    source: Literal["features", "predictions"] = Field(
        "features",
        description="features: distance to the nearest neighbours; predictions: entropy of what the classifier says, "
        "adjusted by its confidence in each class.",
    )
    k: int = Field(10, ge=1, description="features: neighbours.")
