"""Settings of noise regularization. Defaults are the paper's; where it is silent, the description says so."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisyrun.api import PluginConfig


class NoiseregConfig(PluginConfig):
    """The clean net, the residual net and their losses."""

    alpha: float = Field(
        0.2, gt=0, le=100, description="Share of the clean loss beside the noisy one (equation 7); OpenImages: 0.1."
    )
    activation: Literal["sigmoid", "tanh", "relu"] = Field(
        "sigmoid", description="Between the two linear layers of either net; sigmoid wants ten times the learning rate."
    )
    hidden: int | None = Field(
        None,
        ge=1,
        description="Width between the two layers; that of the features by default (ours: the paper is silent).",
    )
    variant: Literal["joint", "h", "g"] = Field(
        "joint",
        description="Ablation of table 5. joint: the method; h: noisy labels alone (alpha 0), which predicts with h, "
        "since c and r are interchangeable there; g: clean labels alone, without the residual net.",
    )
    noisy_of_clean: bool = Field(
        False,
        description="Whether the noisy label that a clean sample may have counts in the noisy loss as well. In the "
        "paper the noisy set and the clean set are two sets, and noisy labels of the clean one 'are not required'.",
    )
