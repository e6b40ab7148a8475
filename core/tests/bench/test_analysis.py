from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bench_fakes as fakes
import pytest

from noisyrun.api.errors import UserError
from noisyrun.bench.analysis import Analysis, Row, analyse
from noisyrun.bench.positions import Position
from noisyrun.bench.store import Results

NOISES = ["pair:0.1", "pair:0.2", "pair:0.3"]
ACCURACY = {"cross entropy": (0.7, 0.71, 0.72), "A": (0.9, 0.91, 0.93), "B": (0.92, 0.88, 0.9)}


def analysis(folder: Path, outcome: fakes.Outcome | None = None, **suite: Any) -> Analysis:
    """Of methods whose accuracy is in `ACCURACY`, by seed."""
    return analyse(fakes.folder(folder, fakes.suite(**suite), outcome or usual))


def usual(position: Position) -> Mapping[str, Any] | str | None:
    return fakes.summary(ACCURACY[position.method][position.seed])


def rows(found: Analysis, comparison: int = 0) -> dict[str, Row]:
    return {row.method: row for row in found.comparisons[comparison].rows}


def test_what_is_no_results_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no results of a suite"):
        analyse(Results(tmp_path))


def test_a_folder_whose_positions_are_of_another_suite_is_refused(tmp_path: Path) -> None:
    results = fakes.folder(tmp_path, fakes.suite(), usual)
    results.save_suite(
        results.suite().model_copy(update={"suite": fakes.suite(method=[{"name": "C", "weighter": "c"}])})
    )
    with pytest.raises(UserError, match="its suite has no A on digits"):
        analyse(results)


def test_a_row_holds_every_measure_with_its_spread(tmp_path: Path) -> None:
    row = rows(analysis(tmp_path))["A"]
    found = row.values["accuracy.last"]
    assert found.values == dict(enumerate(ACCURACY["A"]))
    assert found.mean == pytest.approx(0.91333333)
    assert set(row.values) == {
        *("accuracy.last", "accuracy.best_noisy_val", "accuracy.oracle", "seconds.train", "seconds.total"),
        "calibration.nll.last",
    }


def test_rows_are_in_the_order_of_the_suite_with_cross_entropy_among_them(tmp_path: Path) -> None:
    found = analysis(tmp_path)
    assert [(row.method, row.reference) for row in found.comparisons[0].rows] == [
        ("cross entropy", True),
        ("A", False),
        ("B", False),
    ]
    assert found.comparisons[0].reference is found.comparisons[0].rows[0]


def test_the_best_is_the_best_mean_and_who_is_not_told_apart_from_it_is_shown(tmp_path: Path) -> None:
    found = rows(analysis(tmp_path))
    assert {name: (row.rank, row.best, row.within_noise) for name, row in found.items()} == {
        "cross entropy": (3.0, False, False),
        "A": (1.0, True, True),
        "B": (2.0, False, True),
    }


def test_the_best_of_what_is_better_low(tmp_path: Path) -> None:
    found = rows(
        analysis(
            tmp_path,
            measure="calibration.ece.last",
            outcome=lambda position: fakes.summary(
                0.5, calibration={"ece": {"last": ACCURACY[position.method][position.seed]}}
            ),
        )
    )
    assert found["cross entropy"].best


def test_with_one_seed_noise_cannot_be_told(tmp_path: Path) -> None:
    found = rows(analysis(tmp_path, seeds=1))
    assert (found["B"].best, found["B"].within_noise) == (True, True)
    assert (found["A"].rank, found["A"].within_noise) == (2.0, None)
    assert found["A"].against["accuracy.last"].outcome == "unknown"


def test_ties_share_the_first_rank(tmp_path: Path) -> None:
    found = rows(analysis(tmp_path, outcome=lambda position: fakes.summary(0.5)))
    assert {(row.rank, row.best, row.within_noise) for row in found.values()} == {(2.0, True, True)}


def test_who_lost_a_seed_has_no_rank_and_cannot_be_the_best(tmp_path: Path) -> None:
    found = rows(analysis(tmp_path, lambda one: "boom" if (one.method, one.seed) == ("A", 0) else usual(one)))
    assert (found["A"].rank, found["A"].best) == (None, False)
    assert found["A"].unfinished == {0: "failed: boom"}
    assert found["A"].values["accuracy.last"].n == 2
    assert found["B"].best


def test_against_cross_entropy_pair_by_pair_corrected_for_the_number_of_methods(tmp_path: Path) -> None:
    found = rows(analysis(tmp_path))
    pair = found["A"].against["accuracy.best_noisy_val"]
    assert (pair.n, pair.outcome, pair.p, pair.holm) == (3, "better", 0.25, 0.5)
    assert pair.mean == pytest.approx(0.20333333)
    assert found["cross entropy"].against == {}


def test_measures_that_have_no_better_are_not_compared(tmp_path: Path) -> None:
    found = analysis(tmp_path, lambda _: fakes.summary(0.5, label_accuracy={"before": 0.6}))
    assert "label_accuracy.before" not in rows(found)["A"].against
    assert found.comparisons[0].facts["wrong labels"] == "40.0 %"


def test_cost_is_a_multiple_of_cross_entropy_on_the_same_machine(tmp_path: Path) -> None:
    def outcome(position: Position) -> Any:
        times = {"cross entropy": 2.0, "A": 5.0, "B": 8.0}[position.method] * (1 + position.seed)
        return fakes.summary(
            0.5, seconds={"total": times}, machine={"host": "B's" if position.method == "B" else "one"}
        )

    found = rows(analysis(tmp_path, outcome))
    assert {name: row.cost for name, row in found.items()} == {"cross entropy": 1.0, "A": 2.5, "B": None}


def test_curves_are_means_over_seeds_of_the_epochs_that_all_have(tmp_path: Path) -> None:
    def outcome(position: Position) -> Any:
        epochs = [1, 2, 3] if position.seed else [1, 3]
        history = [
            {"stage": "s", "epoch": epoch, "step": 9, "test_accuracy": epoch / 10 + position.seed, "loss": None}
            for epoch in epochs
        ]
        return fakes.summary(0.5, history=history, rounds=[{"epoch": 1, "round": 1}])

    row = rows(analysis(tmp_path, outcome))["A"]
    assert set(row.curves) == {"test_accuracy"}
    curve = row.curves["test_accuracy"]
    assert curve.epochs == (1, 3)
    assert curve.mean == pytest.approx((1.1, 1.3))
    assert (curve.low, curve.high) == (pytest.approx((0.1, 0.3)), pytest.approx((2.1, 2.3)))
    assert row.phases == (2,)


def test_classes_are_averaged_over_seeds(tmp_path: Path) -> None:
    def outcome(position: Position) -> Any:
        known = None if position.seed == 0 else position.seed / 10
        return fakes.summary(
            0.5,
            per_class=[
                {
                    "name": "cat",
                    "accuracy": 0.5 + known if known else None,
                    "observed": 9,
                    "called_wrong": None,
                    "wrong": 0.1,
                }
            ],
        )

    (cat,) = rows(analysis(tmp_path, outcome))["A"].classes
    assert (cat.name, cat.observed, cat.called_wrong, cat.wrong) == ("cat", 9.0, None, pytest.approx(0.1))
    assert cat.accuracy == pytest.approx(0.65)


def test_a_gallery_is_linked_from_the_results_folder(tmp_path: Path) -> None:
    results = fakes.folder(tmp_path, fakes.suite(), usual)
    cell = results.suite().places[-1].cell
    (results.run(cell) / "gallery.html").write_text("a page")
    assert rows(analyse(results))["B"].galleries == {2: f"cells/{cell}/run/gallery.html"}


def test_ranks_are_averaged_over_comparisons(tmp_path: Path) -> None:
    def outcome(position: Position) -> Any:
        swap = position.noise == "pair:0.3"
        best, second = (0.9, 0.8) if not swap else (0.8, 0.9)
        return fakes.summary({"cross entropy": 0.7, "A": best, "B": second}[position.method] + position.seed / 100)

    overall = analysis(tmp_path, outcome, data=[{"name": "d", "noise": NOISES}]).overall
    assert overall is not None
    assert overall.ranks == pytest.approx({"A": 4 / 3, "B": 5 / 3, "cross entropy": 3.0})
    assert overall.critical_difference == pytest.approx(2.343 * (3 * 4 / 18) ** 0.5, rel=1e-3)
    assert overall.cliques == (("A", "B", "cross entropy"),)
    assert overall.friedman_p is not None
    assert overall.paired["A"].n == 9
    assert overall.paired["A"].mean == pytest.approx((0.2 + 0.2 + 0.1) / 3)


def test_who_lacks_a_comparison_is_left_out_of_the_ranks_and_said(tmp_path: Path) -> None:
    overall = analysis(
        tmp_path,
        lambda one: None if (one.method, one.noise) == ("A", "pair:0.2") else usual(one),
        data=[{"name": "d", "noise": NOISES}],
    ).overall
    assert overall is not None
    assert list(overall.ranks) == ["B", "cross entropy"]
    assert overall.left_out == {"A": "seeds are missing on d, pair:0.2"}


def test_a_comparison_that_is_barely_begun_does_not_count(tmp_path: Path) -> None:
    overall = analysis(
        tmp_path,
        lambda one: None if one.noise == "pair:0.3" and one.method != "A" else usual(one),
        data=[{"name": "d", "noise": NOISES}],
    ).overall
    assert overall is not None
    assert overall.comparisons == ("d, pair:0.1", "d, pair:0.2")
    assert len(overall.ranks) == 3


def test_an_empty_results_folder_is_a_table_of_pending_cells(tmp_path: Path) -> None:
    found = analysis(tmp_path, lambda _: None)
    assert (found.finished, found.cells, found.overall, found.started) == (0, 9, None, "")
    assert len(found.unfinished) == 9
    assert {row.rank for row in rows(found).values()} == {None}
    assert found.measures[0] is found.headline


def test_a_detection_has_no_reference_and_is_ranked_all_the_same(tmp_path: Path) -> None:
    def outcome(position: Position) -> Any:
        return fakes.summary(0.5, detection={"auroc": ACCURACY[position.method][position.seed]})

    found = analysis(tmp_path, outcome, task="detect", data=[{"name": "d"}, {"name": "e"}])
    assert found.headline.key == "detection.auroc"
    assert rows(found)["A"].best
    assert found.overall is not None
    assert (found.overall.paired, list(found.overall.ranks)) == ({}, ["A", "B"])


def test_machines_versions_dates_and_seconds_are_of_the_cells(tmp_path: Path) -> None:
    results = fakes.folder(
        tmp_path,
        fakes.suite(seeds=1),
        lambda one: fakes.summary(0.5, machine={"host": "two" if one.method == "A" else "one"}),
        {"A": {"versions": {"torch": "2"}}, "B": {"versions": {"torch": "3"}, "code": {"noisyrun": "c"}}},
    )
    found = analyse(results)
    assert sorted((one.facts["host"], one.cells) for one in found.machines) == [("one", 2), ("two", 1)]
    assert found.versions == {"torch": ("2", "3"), "code of noisyrun": ("c",)}
    assert (found.started, found.ended, found.seconds) == ("2026-11-21T00:00:00Z", "2026-11-21T00:01:00Z", 6.0)


def test_a_cell_that_fills_two_positions_counts_once(tmp_path: Path) -> None:
    results = fakes.folder(tmp_path, fakes.suite(seeds=1), lambda _: fakes.summary(0.5))
    expanded = results.suite()
    first, second, third = expanded.places
    shared = second.model_copy(update={"cell": first.cell})
    results.save_suite(expanded.model_copy(update={"places": (first, shared, third)}))
    found = analyse(results)
    assert (found.cells, found.seconds) == (2, 4.0)


def test_the_frame_has_a_row_a_position(tmp_path: Path) -> None:
    frame = analysis(tmp_path, lambda one: "boom" if one.method == "B" else usual(one)).frame
    assert len(frame) == 9
    assert dict(frame.groupby("method").status.first()) == {"A": "finished", "B": "failed", "cross entropy": "finished"}
    assert frame.set_index(["method", "seed"])["accuracy.last"]["A", 2] == 0.93
