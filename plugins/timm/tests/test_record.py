from __future__ import annotations

from importlib import import_module

import noisyrun_timm
from noisyrun.api import API_VERSION, Backbone, PluginConfig


def test_brings_one_backbone_whose_import_strings_lead_to_it() -> None:
    (record,) = noisyrun_timm.noisyrun_plugins()
    assert (record.kind, record.name, record.api) == ("backbone", "timm", API_VERSION)

    def load(where: str) -> type:
        module, _, attribute = where.partition(":")
        return getattr(import_module(module), attribute)

    config, method = load(record.config), load(record.factory)
    assert issubclass(config, PluginConfig)
    assert issubclass(method, Backbone)
    assert all(field.description for field in config.model_fields.values())
