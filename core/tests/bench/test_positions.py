from __future__ import annotations

from typing import Any

import bench_fakes as made
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisyrun.api.errors import UserError
from noisyrun.bench.positions import ALWAYS, Position, positions


def settings_of(position: Position) -> dict[str, Any]:
    """What the layers say together, the highest last."""
    return {name: value for _, values in position.layers for name, value in values.items()}


def test_the_table_is_data_by_noise_by_method_by_seed() -> None:
    suite = made.suite(
        seeds=[3, 5],
        data=[{"name": "d", "noise": ["none", "pair:0.2"]}, {"name": "e"}],
        method=[{"name": "A", "weighter": "a"}],
    )
    found = [(one.data, one.noise, one.method, one.seed) for one in positions(suite)]
    assert found[:4] == [("d", "none", "cross entropy", 3), ("d", "none", "cross entropy", 5)] + [
        ("d", "none", "A", seed) for seed in (3, 5)
    ]
    assert [one.comparison for one in positions(suite)][::4] == ["d", "d, pair:0.2", "e"]


@settings(max_examples=30, deadline=None)
@given(
    noises=st.lists(st.sampled_from(["none", "pair:0.1", "symmetric:0.2"]), min_size=1, max_size=3, unique=True),
    sweeps=st.lists(st.integers(0, 3), max_size=3, unique=True),
    seeds=st.integers(1, 3),
)
def test_every_place_is_there_once(noises: list[str], sweeps: list[int], seeds: int) -> None:
    method: dict[str, Any] = {"name": "A", "weighter": "a"}
    if sweeps:
        method["sweep"] = {"weighter.k": sweeps, "epochs": [1, 2]}
    found = positions(made.suite(seeds=seeds, data=[{"name": "d", "noise": noises}], method=[method]))
    keys = {(one.data, one.noise, one.method, one.seed) for one in found}
    assert len(found) == len(keys) == len(noises) * seeds * (1 + (2 * len(sweeps) if sweeps else 1))


def test_a_method_is_laid_over_data_over_the_suite_and_seed_and_noise_over_all() -> None:
    suite = made.suite(
        seeds=[4],
        settings={"epochs": 1, "batch_size": 1, "seed": 9},
        data=[{"name": "d", "noise": "pair:0.2", "epochs": 2, "batch_size": 2}],
        method=[{"name": "A", "weighter": "a", "batch_size": 3}],
    )
    plain, own = positions(suite)
    assert settings_of(plain) == {"epochs": 2, "batch_size": 2, "seed": 4, "noise": "pair:0.2", **ALWAYS}
    assert settings_of(own) == {**settings_of(plain), "weighter": "a", "batch_size": 3}


def test_settings_for_some_of_the_data_are_laid_over_there_alone_and_are_told() -> None:
    suite = made.suite(
        seeds=1,
        data=[{"name": "d", "noise": ["pair:0.2", "pair:0.4"]}],
        method=[{"name": "A", "weighter": "a", "epochs": 3, "on": [{"noise": "*0.4", "epochs": 7}]}],
    )
    found = {one.noise: one for one in positions(suite) if one.method == "A"}
    assert {noise: (settings_of(one)["epochs"], one.tuned) for noise, one in found.items()} == {
        "pair:0.2": (3, False),
        "pair:0.4": (7, True),
    }


def test_a_sweep_is_a_method_for_every_combination_named_by_its_values() -> None:
    suite = made.suite(seeds=1, method=[{"name": "A", "sweep": {"weighter.a.k": [1, 2], "epochs": [3]}}])
    found = {one.method: dict(one.swept) for one in positions(suite)}
    assert found == {
        "cross entropy": {},
        "A (k=1, epochs=3)": {"weighter.a.k": 1, "epochs": 3},
        "A (k=2, epochs=3)": {"weighter.a.k": 2, "epochs": 3},
    }


def test_a_setting_that_is_none_is_refused_with_the_method_that_has_it() -> None:
    wrong = positions(made.suite(method=[{"name": "A", "epoch": 3}]))[-1]
    with pytest.raises(UserError, match=r"A: .*method A: epoch.*did you mean epochs"):
        wrong.config()


def test_a_position_resolves_to_the_configuration_of_a_run() -> None:
    suite = made.suite(
        seeds=[6], settings={"epochs": 2}, data=[{"name": "d", "dataset": "digits"}], method=[{"name": "plain"}]
    )
    (only,) = positions(suite)
    config = only.config()
    assert (config.settings.seed, config.settings.epochs, config.settings.dataset) == (6, 2, "digits")
    assert config.settings.baseline is False
    assert dict(config.sockets["lifecycle"]) == {}
