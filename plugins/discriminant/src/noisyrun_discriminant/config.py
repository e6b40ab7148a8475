"""Settings of the discriminant. Imports no torch, so that help stays quick."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisyrun.api import PluginConfig


class DiscriminantConfig(PluginConfig):
    """Regularised discriminant analysis."""

    ridge: float = Field(
        10.0,
        gt=0,
        description="Added to every variance within classes, as a multiple of their mean: the larger, the more all "
        "directions count alike. Chosen on imagenet100-32 with 40 % symmetric noise.",
    )
    predictions: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the bank's classifier in the score: 0.5 takes the mean of both log-probabilities. For "
        "banks that have given logits.",
    )
    weights: Literal["keep", "soft"] = Field(
        "keep",
        description="Weight of a label: 0 where it is called wrong and 1 elsewhere, or a logistic function of how far "
        "its margin is from the threshold.",
    )
