"""What the rules of a benchmark learn from the plugins themselves."""

from __future__ import annotations

from typing import Any

import pytest

from noisyrun.bench.evidence import Evidence, Uses, flat
from noisyrun.bench.store import Place
from noisyrun.config.resolve import resolve

GIVEN = {"verify": "0.05", "clean": "0.05", "tracking": "none"}


@pytest.mark.parametrize(
    ("settings", "uses"),
    [
        ({}, set()),
        ({"prototypes": "smp", "weighter": "sinet"}, set()),
        ({"recipe": "urnet"}, set()),
        ({"recipe": "cleannet"}, {"verification"}),
        ({"recipe": "noisereg"}, {"clean"}),
        ({"train.finetune_epochs": 2}, {"clean"}),
    ],
)
def test_of_methods_given_checked_labels_those_that_learn_from_them_are_told(
    settings: dict[str, Any], uses: set[str]
) -> None:
    config = resolve({**settings, **GIVEN}).as_dict()
    place = Place(method="A", data="d", noise="none", seed=0, cell="0" * 16)
    found = Evidence(place, None, {"config": config}, {}, flat(config))
    assert Uses().of(found) == uses
