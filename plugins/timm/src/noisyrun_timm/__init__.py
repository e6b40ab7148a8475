"""Any timm model as a noisyrun backbone."""

from __future__ import annotations

from collections.abc import Iterator

from noisyrun.api import Plugin, hookimpl


@hookimpl
def noisyrun_plugins() -> Iterator[Plugin]:
    """The one backbone of this distribution."""
    yield Plugin(
        kind="backbone",
        name="timm",
        api="1.0",
        summary="Any timm model: ResNet, ConvNeXt, ViT and a thousand others, pre-trained or not.",
        factory="noisyrun_timm.backbone:TimmBackbone",
        config="noisyrun_timm.config:TimmConfig",
    )
