from __future__ import annotations

from importlib import import_module

import pytest

import noisyrun_text
from noisyrun.api import API_VERSION, PluginConfig, SideInfoEncoder

RECORDS = {record.name: record for record in noisyrun_text.noisyrun_plugins()}


def test_brings_three_side_info_encoders() -> None:
    assert sorted(RECORDS) == ["fasttext", "text", "tfidf"]
    assert {(record.kind, record.api) for record in RECORDS.values()} == {("side_info", API_VERSION)}


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_import_strings_lead_to_the_method_and_its_configuration(name: str) -> None:
    def load(where: str) -> type:
        module, _, attribute = where.partition(":")
        return getattr(import_module(module), attribute)

    config, method = load(RECORDS[name].config), load(RECORDS[name].factory)
    assert issubclass(config, PluginConfig)
    assert issubclass(method, SideInfoEncoder)
    assert all(field.description for field in config.model_fields.values())
    assert method(config()).config == config()
