"""All that a plugin may import: interfaces, data types, block operations, the Plugin record.

Names are resolved on first use, so that a plugin's entry module, which needs only `Plugin` and `hookimpl`,
costs neither torch nor pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from noisyrun.api.errors import MethodError, NoisyrunError, UserError
from noisyrun.api.needs import BAGS, MIX, UNIFORM, Batches, Needs
from noisyrun.api.plugin import API_VERSION, KINDS, Plugin, Recipe, hookimpl, hookspec

if TYPE_CHECKING:
    from noisyrun.api import ops
    from noisyrun.api.backbone import Backbone, FeatureExtractor
    from noisyrun.api.bank import Block, FeatureBank
    from noisyrun.api.config import PluginConfig
    from noisyrun.api.corrector import LabelCorrector
    from noisyrun.api.hooks import EpochResult, LabelPhaseResult, Lifecycle, RunInfo, RunResult
    from noisyrun.api.labels import PAD, Labels, Targets
    from noisyrun.api.method import Method, State
    from noisyrun.api.online import Batch, OnlinePart
    from noisyrun.api.phase import Exhibit, Phase
    from noisyrun.api.prototypes import PrototypeBuilder, Prototypes
    from noisyrun.api.side_info import (
        CosineRows,
        DenseRows,
        Rows,
        SideInfo,
        SideInfoEncoder,
        SumRows,
        Text,
        TextEncoder,
    )
    from noisyrun.api.stage import Stage
    from noisyrun.api.task import Task
    from noisyrun.api.weighter import Judgement, SampleWeighter

_HOME = {
    "Backbone": "backbone",
    "FeatureExtractor": "backbone",
    "Block": "bank",
    "FeatureBank": "bank",
    "PluginConfig": "config",
    "LabelCorrector": "corrector",
    "EpochResult": "hooks",
    "LabelPhaseResult": "hooks",
    "Lifecycle": "hooks",
    "RunInfo": "hooks",
    "RunResult": "hooks",
    "PAD": "labels",
    "Labels": "labels",
    "Targets": "labels",
    "Method": "method",
    "State": "method",
    "Batch": "online",
    "OnlinePart": "online",
    "Exhibit": "phase",
    "Phase": "phase",
    "PrototypeBuilder": "prototypes",
    "Prototypes": "prototypes",
    "CosineRows": "side_info",
    "DenseRows": "side_info",
    "Rows": "side_info",
    "SideInfo": "side_info",
    "SideInfoEncoder": "side_info",
    "SumRows": "side_info",
    "Text": "side_info",
    "TextEncoder": "side_info",
    "Stage": "stage",
    "Task": "task",
    "Judgement": "weighter",
    "SampleWeighter": "weighter",
}

__all__ = [
    "API_VERSION",
    "BAGS",
    "KINDS",
    "MIX",
    "PAD",
    "UNIFORM",
    "Backbone",
    "Batch",
    "Batches",
    "Block",
    "CosineRows",
    "DenseRows",
    "EpochResult",
    "Exhibit",
    "FeatureBank",
    "FeatureExtractor",
    "Judgement",
    "LabelCorrector",
    "LabelPhaseResult",
    "Labels",
    "Lifecycle",
    "Method",
    "MethodError",
    "Needs",
    "NoisyrunError",
    "OnlinePart",
    "Phase",
    "Plugin",
    "PluginConfig",
    "PrototypeBuilder",
    "Prototypes",
    "Recipe",
    "Rows",
    "RunInfo",
    "RunResult",
    "SampleWeighter",
    "SideInfo",
    "SideInfoEncoder",
    "Stage",
    "State",
    "SumRows",
    "Targets",
    "Task",
    "Text",
    "TextEncoder",
    "UserError",
    "hookimpl",
    "hookspec",
    "ops",
]


def __getattr__(name: str) -> Any:
    if name == "ops":
        return import_module("noisyrun.api.ops")
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'noisyrun.api' has no attribute {name!r}") from None
    value = getattr(import_module(f"noisyrun.api.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
