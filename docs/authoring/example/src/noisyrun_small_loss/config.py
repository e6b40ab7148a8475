"""Settings of small-loss. Imports no torch, so that help stays quick."""

from __future__ import annotations

from pydantic import Field

from noisyrun.api import PluginConfig


class SmallLossConfig(PluginConfig):
    """Which labels are kept."""

    keep: float = Field(
        0.7, gt=0, le=1, description="Share of the labels of each class to keep, those of smallest loss."
    )
