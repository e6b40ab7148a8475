"""Settings of URNet's parts. Defaults are the paper's; where it is silent, the description says "ours"."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisyrun.api import PluginConfig

_PREDICTIONS = (
    "Predictions to read: the name under which a stage kept them (the paper's: those of the baseline trained by cross "
    "entropy), or none for those of the classifier as it stands at the label phase."
)


class ClassSizeConfig(PluginConfig):
    """``urnet-class``: equations 2 to 4."""

    alpha: float = Field(0.5, ge=0, le=1, description="0: every sample counts alike; 1: every class does.")
    scale: Literal["mean", "literal"] = Field(
        "mean",
        description="mean: the inverse class size is scaled to mean 1 over the samples (ours); literal: to sum 1 over "
        "the classes, as printed, where alpha fades as the number of classes grows.",
    )


class ClustersConfig(PluginConfig):
    """``urnet-cluster``: equations 5 to 7."""

    predictions: str | None = Field(None, min_length=1, description=_PREDICTIONS)
    confused: int = Field(4, ge=0, description="Most confused classes that are clustered together with each class.")
    groups: int = Field(5, ge=1, description="Groups that k-means makes of them.")
    iterations: int = Field(100, ge=1, description="Most rounds of k-means; the paper is silent.")


class InstanceConfig(PluginConfig):
    """``urnet-instance``: equations 8 and 9. Sizes and optimiser are ours: the paper gives none."""

    top: int = Field(30, ge=1, description="Top-ranked samples of each class that the image-text model learns from.")
    rank: Literal["auto", "search", "confidence"] = Field(
        "auto",
        description="What ranks them: the rank in their search (the paper's), the classifier's probability of the "
        "observed label, or the search where the data has it.",
    )
    hidden: int = Field(512, ge=1, description="Units of the first fully connected layer on each side (ours).")
    width: int = Field(256, ge=1, description="Units of the second one: the space where both sides meet (ours).")
    epochs: int = Field(20, ge=1, description="Passes over those samples, a random wrong label drawn in each (ours).")
    batch_size: int = Field(256, ge=1, description="Samples of a step (ours).")
    lr: float = Field(1e-3, gt=0, description="Learning rate of Adam (ours).")


class BagsConfig(PluginConfig):
    """``urnet-bag``: section 4.4."""

    size: int = Field(3, ge=2, description="Samples in a bag, all of one class.")
    hidden: int = Field(256, ge=1, description="Units of the first of the two layers that give the saliency (ours).")
    share: float = Field(1.0, gt=0, description="Weight of the bags' cross entropy beside the loop's loss (ours: 1).")


class SourceTrustConfig(PluginConfig):
    """``urnet-source``: table 1, "remove noise out of top 15"."""

    unreliable: tuple[str, ...] = Field(
        ("flickr",), min_length=1, description="Names of the sources of which only the top-ranked samples count."
    )
    top: int = Field(15, ge=1, description="How many of each class and unreliable source count, best rank first.")


class LabelMixConfig(PluginConfig):
    """``urnet-label``: equation 10."""

    predictions: str | None = Field(None, min_length=1, description=_PREDICTIONS)
    beta: float = Field(0.8, ge=0, le=1, description="Share of the observed label; the rest is the predicted one's.")
