from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bench_fakes as fakes
import pytest

from noisyrun.bench import claims, evidence
from noisyrun.bench.claims import Verdict
from noisyrun.bench.positions import Position

#: What seeds add.
SEEDS = (0.0, 0.01, -0.005)

SWEPT = [{"name": "S", "weighter": "s", "sweep": {"weighter.k": [1, 2, 4]}}]


def table(folder: Path, values: Mapping[str, float | Sequence[float]], **suite: Any) -> evidence.Table:
    """Evidence in which methods have an accuracy, the same for all data, by seed or with what seeds add."""

    def outcome(position: Position) -> Any:
        value = values.get(position.method)
        if value is None:
            return None
        return fakes.summary(value + SEEDS[position.seed] if isinstance(value, float) else value[position.seed])

    results = fakes.folder(folder, fakes.suite(**suite), outcome)
    return evidence.read(results, results.suite())


def verdict(folder: Path, values: Mapping[str, Any], claim: Mapping[str, Any], **suite: Any) -> Verdict:
    """What comes of one claim."""
    (found,) = claims.verdicts(table(folder, values, claim=[{"text": "A claim", **claim}], **suite))
    return found


@pytest.mark.parametrize(
    ("a", "b", "relation", "outcome"),
    [
        (0.9, 0.8, "better", "agrees"),
        (0.8, 0.9, "better", "disagrees"),
        ((0.9, 0.7, 0.8), 0.8, "better", "within noise"),
        ((0.9, 0.7, 0.8), 0.8, "alike", "agrees"),
        (0.9, 0.8, "alike", "disagrees"),
        (0.8, 0.8, "alike", "agrees"),
        (0.8, None, "better", "not measured"),
    ],
)
def test_a_claim_of_two_methods(tmp_path: Path, a: Any, b: Any, relation: str, outcome: str) -> None:
    found = verdict(tmp_path, {"A": a, "B": b}, {"better": "A", "worse": "B", "relation": relation})
    assert found.outcome == outcome


def test_the_difference_and_its_interval_are_said(tmp_path: Path) -> None:
    found = verdict(tmp_path, {"A": (0.9, 0.92, 0.94), "B": (0.8, 0.8, 0.8)}, {"better": "A", "worse": "B"})
    assert found.why == "+12.00 points, 95 % interval +7.03 to +16.97, over 3 pairs"
    assert found.paired is not None
    assert found.paired.mean == pytest.approx(0.12)


@pytest.mark.parametrize(
    ("a", "said"),
    [((0.81, 0.82, 0.99), "all above 0"), ((0.79, 0.78, 0.5), "all below 0"), ((0.79, 0.99, 0.99), "3 pairs")],
)
def test_that_all_pairs_lie_on_one_side_is_said_where_the_interval_does_not_tell(
    tmp_path: Path, a: tuple[float, ...], said: str
) -> None:
    found = verdict(tmp_path, {"A": a, "B": (0.8, 0.8, 0.8)}, {"better": "A", "worse": "B"})
    assert found.outcome == "within noise"
    assert found.why.endswith(said)


def test_of_one_seed_nothing_is_said(tmp_path: Path) -> None:
    found = verdict(tmp_path, {"A": 0.9, "B": 0.8}, {"better": "A", "worse": "B"}, seeds=1)
    assert found.outcome == "not measured"
    assert "noise cannot be told" in found.why


def test_seeds_that_change_nothing_are_one_pair(tmp_path: Path) -> None:
    def outcome(position: Position) -> Any:
        return fakes.summary(0.9 if position.method == "A" else 0.8, calibration={"nll": {"last": 1.0}})

    suite = fakes.suite(claim=[{"text": "x", "better": "A", "worse": "B"}])
    results = fakes.folder(tmp_path, suite, outcome)
    (found,) = claims.verdicts(evidence.read(results, results.suite()))
    assert (found.outcome, found.why) == (
        "not measured",
        "+10.00 points in the one pair there is: noise cannot be told",
    )


def test_a_measure_of_which_less_is_better(tmp_path: Path) -> None:
    claim = {"better": "A", "worse": "B", "measure": "seconds.total"}

    def outcome(position: Position) -> Any:
        return fakes.summary(0.5, seconds={"total": (1.0 if position.method == "A" else 5.0) + position.seed / 10})

    suite = fakes.suite(claim=[{"text": "A is quicker", **claim}])
    results = fakes.folder(tmp_path, suite, outcome)
    (found,) = claims.verdicts(evidence.read(results, results.suite()))
    assert found.outcome == "agrees"
    assert found.why.startswith("-4.0 s")


def test_a_claim_is_tested_on_its_data_and_in_every_comparison_of_them(tmp_path: Path) -> None:
    data = [{"name": "d", "noise": ["pair:0.2", "pair:0.4", "symmetric:0.4"]}, {"name": "e"}]

    def outcome(position: Position) -> Any:
        better = position.noise != "pair:0.4"
        if position.noise == "none" and position.method == "A":
            return None
        return fakes.summary(0.8 + SEEDS[position.seed] + (0.1 if better == (position.method == "A") else 0.0))

    suite = fakes.suite(
        data=data,
        claim=[
            {"text": "x", "better": "A", "worse": "B", "data": "d", "noise": "pair*"},
            {"text": "y", "better": "A", "worse": "B"},
        ],
    )
    results = fakes.folder(tmp_path, suite, outcome)
    pairs, everything = claims.verdicts(evidence.read(results, results.suite()))
    assert [(part.comparison, part.outcome) for part in pairs.parts] == [
        ("d, pair:0.2", "agrees"),
        ("d, pair:0.4", "disagrees"),
    ]
    assert pairs.outcome == "within noise"
    assert everything.paired is not None
    assert everything.paired.n == 9
    assert everything.why.endswith("; not measured on e")


def rising(*values: float) -> dict[str, float]:
    """Accuracy by value of the sweep."""
    return {f"S (k={k})": value for k, value in zip((1, 2, 4), values)}


@pytest.mark.parametrize(
    ("values", "claim", "outcome"),
    [
        (rising(0.7, 0.8, 0.9), {"relation": "rises"}, "agrees"),
        (rising(0.7, 0.8, 0.9), {"relation": "falls"}, "disagrees"),
        (rising(0.9, 0.8, 0.7), {"relation": "falls"}, "agrees"),
        (rising(0.8, 0.9, 0.8), {"relation": "rises"}, "within noise"),
        (rising(0.8, 0.9, 0.7), {"relation": "best", "at": [2]}, "agrees"),
        (rising(0.8, 0.9, 0.7), {"relation": "best", "at": [1]}, "disagrees"),
        (rising(0.8, 0.9, 0.7), {"relation": "best", "at": [1, 2]}, "agrees"),
        (rising(0.9, 0.9, 0.7), {"relation": "best", "at": [2]}, "within noise"),
        (rising(0.9, 0.9, 0.7), {"relation": "plateau", "at": [1, 2]}, "agrees"),
        (rising(0.9, 0.9, 0.7), {"relation": "plateau"}, "disagrees"),
        ({"S (k=1)": 0.8, "S (k=2)": 0.9}, {"relation": "rises"}, "not measured"),
    ],
)
def test_a_claim_of_a_sweep(tmp_path: Path, values: dict[str, float], claim: dict[str, Any], outcome: str) -> None:
    found = verdict(tmp_path, values, {"sweep": "S", **claim}, method=SWEPT)
    assert found.outcome == outcome


def test_the_line_of_a_rise_is_the_least_squares_line_from_end_to_end(tmp_path: Path) -> None:
    import numpy as np

    values = {"S (k=1)": (0.7, 0.71, 0.7), "S (k=2)": (0.9, 0.9, 0.93), "S (k=4)": (0.8, 0.82, 0.8)}
    found = verdict(tmp_path, values, {"sweep": "S", "relation": "rises"}, method=SWEPT)
    slopes = [2 * np.polyfit([0, 1, 2], [values[name][seed] for name in values], 1)[0] for seed in range(3)]
    assert found.paired is not None
    assert found.paired.mean == pytest.approx(np.mean(slopes))
    assert "straight line from 1 to 4" in found.why


def test_over_the_other_settings_of_a_sweep_the_mean_counts(tmp_path: Path) -> None:
    sweep = [{"name": "S", "weighter": "s", "sweep": {"weighter.k": [1, 2], "weighter.m": [5, 6]}}]
    values = {"S (k=1, m=5)": 0.8, "S (k=1, m=6)": 0.6, "S (k=2, m=5)": 0.7, "S (k=2, m=6)": 0.9}
    claim = {"sweep": "S", "setting": "weighter.k", "relation": "best", "at": [2]}
    found = verdict(tmp_path, values, claim, method=sweep)
    assert found.paired is not None
    assert found.paired.mean == pytest.approx(0.1)


def test_a_sweep_over_lists(tmp_path: Path) -> None:
    sweep = [{"name": "S", "weighter": "s", "sweep": {"weighter.k": [[1, 2], [3, 4]]}}]
    values = {"S (k=[1, 2])": 0.9, "S (k=[3, 4])": 0.8}
    found = verdict(tmp_path, values, {"sweep": "S", "relation": "best", "at": [[1, 2]]}, method=sweep)
    assert found.outcome == "agrees"


PUBLISHED = {
    "source": "P, table 1",
    "data": "WebVision",
    "measure": "top-1",
    "figures": {"A": 70.5},
    "others": {"Z": 71.0},
    "differs": "another backbone",
}


def test_published_figures_stand_beside_ours_with_what_differs(tmp_path: Path) -> None:
    found = claims.published(table(tmp_path, {"A": 0.9}, published=[PUBLISHED], differs="ten epochs"))
    ours, other = found
    assert (ours.method, ours.figure, ours.where, ours.key) == ("A", 70.5, "digits", "accuracy.best_noisy_val")
    assert ours.ours is not None
    assert ours.ours.mean == pytest.approx(0.9 + sum(SEEDS) / 3)
    assert ours.differs == ("another backbone", "ten epochs")
    assert (other.method, other.where, other.ours) == ("Z", "", None)


def test_over_several_comparisons_ours_is_the_mean_by_seed(tmp_path: Path) -> None:
    data = [{"name": "d", "noise": ["pair:0.2", "pair:0.4"]}, {"name": "e"}]

    def outcome(position: Position) -> Any:
        if (position.noise, position.seed) == ("pair:0.4", 2):
            return None
        return fakes.summary({"pair:0.2": 0.6, "pair:0.4": 0.8, "none": 0.0}[position.noise] + SEEDS[position.seed])

    results = fakes.folder(tmp_path, fakes.suite(data=data, published=[{**PUBLISHED, "on": "d"}]), outcome)
    ours = claims.published(evidence.read(results, results.suite()))[0]
    assert ours.ours is not None
    assert ours.ours.values == pytest.approx({0: 0.7, 1: 0.71})
    assert ours.where == "d, pair:0.2; d, pair:0.4"


@pytest.mark.parametrize(("ours", "shown"), [("accuracy.last", "70.5"), ("detection.auroc", "0.705")])
def test_published_figures_are_shown_in_the_unit_of_ours(tmp_path: Path, ours: str, shown: str) -> None:
    found = claims.published(table(tmp_path, {}, published=[{**PUBLISHED, "ours": ours}]))
    assert found[0].shown == shown
