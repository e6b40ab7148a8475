"""Settings of the core's own backbones. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisyrun.api.config import PluginConfig


class SmallCNNConfig(PluginConfig):
    """``--backbone.FIELD`` of small-cnn."""

    width: int = Field(32, ge=1, description="Channels of the first stage; doubled from stage to stage.")
    depth: int = Field(
        3, ge=1, le=6, description="Stages; each after the first halves the image while it is over 4 px."
    )
    blocks: int = Field(1, ge=0, description="Residual blocks of two convolutions in each stage after the first.")
    norm: Literal["batch", "group"] = Field("batch", description="Normalisation: by batch, or by groups of channels.")


class FeaturesConfig(PluginConfig):
    """``--backbone.FIELD`` of features."""

    hidden: tuple[int, ...] = Field(
        (), description="Widths of the hidden layers before the head; none by default, which is a linear classifier."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout after each hidden layer.")
