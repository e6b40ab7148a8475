"""Configuration of the timm backbone. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from noisyrun.api import PluginConfig


class TimmConfig(PluginConfig):
    """A model of timm, and where its weights come from."""

    model: str = Field(
        "resnet18", min_length=1, description="Model, as timm calls it; a tag names its weights: resnet50.a1_in1k."
    )
    pretrained: bool = Field(
        False, description="Start from timm's weights, taken from this machine's cache or huggingface.co."
    )
    weights: Path | None = Field(
        None, description="Start from these weights of the same model: a *.safetensors file. Its head is left out."
    )
    drop_rate: float = Field(0.0, ge=0, lt=1, description="Dropout within the model, before its features are given.")
    drop_path_rate: float = Field(0.0, ge=0, lt=1, description="Stochastic depth: chance that a block is skipped.")
    small_stem: bool | None = Field(
        None,
        description="ResNets only: a first convolution of stride 1 and no pooling after it, for small images. By "
        "default for images of up to 64 pixels, unless weights are given (a 7×7 stem's would be lost).",
    )
    grad_checkpointing: bool = Field(False, description="Compute activations again in place of keeping them.")

    @model_validator(mode="after")
    def _one_source(self) -> TimmConfig:
        if self.pretrained and self.weights is not None:
            raise ValueError("pretrained and weights: give one of the two")
        return self
