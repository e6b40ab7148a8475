"""Label phases on 20,000 × 512 features of 40 classes, each beside the naive formula and the machine's floor.

The floor is what the machine needs at best: to read the features once, or to multiply the matrices that cannot be
avoided. For k-means these are the distances of the rounds that it took. `label_phase_sizes.py` measures larger ones;
so does a GPU, 500,000 of 400 classes.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from label_phase_cases import CASES, Case, synthetic_bank
from label_phase_cases.case import all_features

from noisyrun.api import FeatureBank

DIM = 512
#: Samples and classes by kind of device.
SIZES = {"cpu": (20_000, 40), "cuda": (500_000, 400)}


@pytest.fixture(scope="module")
def bank(device: torch.device) -> FeatureBank:
    rows, classes = SIZES[device.type]
    return synthetic_bank(rows, DIM, classes, device)


@pytest.fixture(scope="module")
def made(bank: FeatureBank) -> dict[str, Case]:
    """Cases that were made already: some build prototypes first."""
    return {}


@pytest.fixture
def case(bank: FeatureBank, made: dict[str, Case], name: str) -> Case:
    if name not in made:
        made[name] = CASES[name](bank)
    return made[name]


@pytest.mark.parametrize("name", CASES)
def test_label_phase(measured: Any, bank: FeatureBank, name: str, case: Case) -> None:
    with torch.no_grad():
        assert case.work() is not None  # once, so that what it needs is known
        measured(name, case.work, floor=case.floor, items=len(bank), rounds=5)


@pytest.mark.parametrize("name", CASES)
def test_naive_form(measured: Any, bank: FeatureBank, name: str, case: Case) -> None:
    assert case.naive is not None
    features = all_features(bank)
    theirs = measured(name, lambda: case.naive(features), side="naive", rounds=1)
    with torch.no_grad():
        case.agrees(case.work(), theirs)
