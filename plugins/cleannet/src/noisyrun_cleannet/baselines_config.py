"""Settings of the detection baselines. Defaults are the paper's; where it is silent, the description says so."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisyrun.api import PluginConfig
from noisyrun_cleannet.config import VerificationConfig


class NaiveConfig(PluginConfig):
    """The naive baseline has no settings."""


class AverageConfig(VerificationConfig):
    """The average baseline: how far from the mean of its class's references a sample may be."""

    references: Literal["k-means", "random", "all"] = Field(
        "k-means",
        description="Whose mean stands for a class: CleanNet's reference set (k-means centroids, or samples drawn at "
        "random), or all samples with its label.",
    )
    reference_size: int = Field(50, ge=1, description="References a class; all samples where a class has fewer.")
    delta: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="A label is wrong where the cosine of its sample with that mean is below this; by "
        "default the threshold of least average error over classes on the held-out verification labels.",
    )


class FilteringConfig(VerificationConfig):
    """Classification filtering: a label is right when it is among the classifier's best classes."""

    k: int | None = Field(
        None,
        ge=1,
        description="How many of a sample's best classes count; by default the number of least average error over "
        "classes on the held-out verification labels.",
    )
    classifier: str | None = Field(
        None,
        description="Name of a stage's keep_predictions to filter by; the current classifier's by default.",
    )


class VerifiedConfig(VerificationConfig):
    """One binary classifier a class, learned from verification labels."""

    method: Literal["mlp", "knn", "svm", "label-propagation", "label-spreading"] = Field(
        "mlp",
        description="mlp: a perceptron with one hidden layer; knn: nearest neighbours; svm: support vectors with a "
        "Gaussian kernel; label-propagation, label-spreading: on a Gaussian graph of verified and unverified samples.",
    )
    grid: tuple[float, ...] | None = Field(
        None,
        min_length=1,
        description="Values to choose the method's one setting from, the same for all classes, by average error over "
        "classes on the held-out verification labels. mlp: weight decay; knn: neighbours; svm: cost C; label-*: width "
        "of the graph's kernel, gamma times the number of features. By default a short grid (the paper is silent).",
    )
    hidden: int = Field(128, ge=1, description="mlp: units of the hidden layer; the paper is silent.")
    most: int = Field(
        2000, ge=2, description="Most verified samples of a class to learn from, drawn at random; the paper takes all."
    )
    unverified: int = Field(
        500,
        ge=0,
        description="label-*: most unverified samples of a class in its graph, drawn at random; the paper is silent.",
    )
