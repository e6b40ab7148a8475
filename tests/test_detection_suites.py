"""The suites of detection and of the CIFAR-N challenge: each row a run that can start, by the rules they state."""

from __future__ import annotations

from pathlib import Path

import pytest

from noisyrun.bench.positions import positions
from noisyrun.bench.suite import Suite, load
from noisyrun.plugins import Switches, discover

SUITES = Path(__file__).resolve().parents[1] / "benchmarks" / "suites"
DETECTION = ("detection-features", "detection-logits")
CHALLENGE = ("challenge-cifar-n", "challenge-cifar-n-small")


def suite(name: str, tmp_path: Path) -> Suite:
    return load(SUITES / f"{name}.toml", tmp_path)


@pytest.mark.parametrize("name", [*DETECTION, *CHALLENGE])
def test_every_row_is_a_configuration(name: str, tmp_path: Path) -> None:
    registry = discover(Switches.of())
    peer = "cleanlab" in registry.names("weighter")
    rows = [one for one in positions(suite(name, tmp_path)) if peer or "cleanlab" not in one.method]
    assert {one.config(registry).settings.seed for one in rows} == set(suite(name, tmp_path).seeds)


@pytest.mark.parametrize("name", DETECTION)
def test_detection_has_cleanlab_and_both_data_sets(name: str, tmp_path: Path) -> None:
    given = suite(name, tmp_path)
    assert given.task == "detect"
    assert sum("cleanlab" in one.name for one in given.method) >= 3
    assert len(given.data) == 2


@pytest.mark.parametrize("name", CHALLENGE)
def test_the_challenge_states_its_rules(name: str, tmp_path: Path) -> None:
    given = suite(name, tmp_path)
    rules = given.fairness
    assert (rules.cap, rules.clean_labels, rules.verification, rules.pretrained) == (10.0, False, False, False)
    assert rules.one_setting
    assert not any(one.on for one in given.method)
    assert given.headline == "accuracy.best_noisy_val"
    assert len(given.seeds) == 5
    assert len(given.data) == 3
