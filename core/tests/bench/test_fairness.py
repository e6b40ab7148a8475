from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bench_fakes as fakes
import pytest

from noisyrun.bench import evidence, fairness, measures
from noisyrun.bench.fairness import RULES, SIGNS, Mark
from noisyrun.bench.positions import Position
from noisyrun.bench.store import Expanded
from noisyrun.bench.suite import Suite

OTHER = {"config": {"weighter": {"a": {"alpha": 1.0}}}}


def marks(
    folder: Path,
    changed: Mapping[str, Any] | fakes.Outcome,
    suite: Suite | None = None,
    overrides: Mapping[str, Any] | None = None,
    what: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Mark]:
    """Marks of a folder in which all summaries are alike, but for what is changed in those of method A."""
    suite = suite or fakes.suite()

    def outcome(position: Position) -> Any:
        if callable(changed):
            return changed(position)
        return fakes.summary(0.5, **(changed if position.method == "A" else {}))

    results = fakes.folder(folder, suite, outcome, what)
    expanded = results.suite()
    whole = Expanded(suite=expanded.suite, places=expanded.places, overrides=dict(overrides or {}))
    return list(fairness.marks(evidence.read(results, whole), measures.measure(suite.headline)))


def codes(found: list[Mark], method: str | None = "A") -> set[str]:
    """Rules that a method broke."""
    return {mark.code for mark in found if mark.method == method}


def test_every_rule_has_a_sign_of_its_own() -> None:
    assert len(set(SIGNS.values())) == len(SIGNS)
    assert all(rule.__doc__ for rule in RULES)


def test_methods_that_differ_in_what_judges_labels_alone_bear_no_mark(tmp_path: Path) -> None:
    own = {
        "weighter": {"a": {"alpha": 3.0}},
        "bank": {"top": 3},
        "weights": {"scale": "none"},
        "train": {"warmup_epochs": 1},
    }
    assert marks(tmp_path, {"config": own}) == []


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({"data": {"digests": {"labels": "x"}}}, "data", "labels (seeds 0, 1, 2)"),
        ({"data": {"digests": {"noise": "x"}}}, "data", "noise (seeds 0, 1, 2)"),
        ({"data": {"digests": {"inputs": "x"}}}, "data", "inputs"),
        ({"data": {"train": 99}}, "data", "size of train"),
        ({"data": {"val": None}}, "data", "size of val"),
        ({"data": {"test": 51}}, "data", "size of test"),
        ({"config": {"backbone": {"small-cnn": {"width": 64}}}}, "backbone", "backbone.small-cnn.width 64, not 32"),
        ({"config": {"augment": {"flip": True}}}, "augmentation", "augment.flip True, not default"),
        ({"config": {"batch_size": 32}}, "training", "batch_size 32, not 64"),
        ({"config": {"epochs": 30}}, "training", "epochs 30, not 3"),
        ({"config": {"train": {"label_smoothing": 0.1}}}, "training", "train.label_smoothing 0.1, not 0.0"),
        ({"config": {"stages": [{"name": "s"}, {"name": "t"}]}}, "training", "stages 2 stages of its own, not default"),
        ({"config": {"eval": {"crops": 10}}}, "evaluation", "eval.crops 10, not default"),
    ],
)
def test_whatever_else_differs_from_cross_entropy_is_marked_and_named(
    tmp_path: Path, changed: dict[str, Any], code: str, said: str
) -> None:
    found = marks(tmp_path, changed)
    assert codes(found) == {code}
    assert codes(found, "B") == set()
    assert said in found[0].text
    assert found[0].breaks


def test_one_seed_on_other_noise_is_enough(tmp_path: Path) -> None:
    def outcome(position: Position) -> dict[str, Any]:
        other = position.method == "A" and position.seed == 1
        return fakes.summary(0.5, data={"digests": {"noise": "x" if other else "n"}})

    (found,) = marks(tmp_path, outcome)
    assert found.text == "other data than plain cross entropy: noise (seed 1)"


def test_long_lists_of_settings_are_cut(tmp_path: Path) -> None:
    found = marks(tmp_path, {"config": {"train": {f"setting{number}": number for number in range(9)}}})
    assert found[0].text.endswith("and 3 more")


def test_seeds_that_are_missing_are_counted_with_the_reason(tmp_path: Path) -> None:
    def outcome(position: Position) -> Any:
        lost = {("A", 1): "out of memory", ("A", 2): None}
        return lost.get((position.method, position.seed), fakes.summary(0.5))

    (found,) = marks(tmp_path, outcome)
    assert (found.code, found.method) == ("unfinished", "A")
    assert found.text == "1 of 3 seeds: seed 1 failed: out of memory; seed 2 pending"


def same(_: Position) -> dict[str, Any]:
    return fakes.summary(0.5, calibration={"nll": {"last": 1.0}})


def test_seeds_that_change_nothing_are_one_measurement(tmp_path: Path) -> None:
    found = marks(tmp_path, lambda one: same(one) if one.method == "A" else fakes.summary(0.5))
    assert [(mark.code, mark.method, mark.breaks) for mark in found] == [("copies", "A", False)]


def test_where_seeds_change_nothing_of_any_method_it_is_said_once(tmp_path: Path) -> None:
    assert [(mark.code, mark.method) for mark in marks(tmp_path, same)] == [("copies", None)]


def test_a_table_without_a_result_of_cross_entropy_says_so(tmp_path: Path) -> None:
    found = marks(tmp_path, lambda position: fakes.summary(0.5) if position.method != "cross entropy" else "boom")
    assert any("nothing to compare with" in mark.text and mark.breaks for mark in found if mark.method is None)


def test_cross_entropy_without_the_headline_measure_is_told(tmp_path: Path) -> None:
    found = marks(tmp_path, lambda _: fakes.summary(0.5, accuracy={"best_noisy_val": None}))
    assert [mark.text for mark in found if mark.code == "reference"] == [
        "plain cross entropy has no Accuracy, best on noisy validation: nothing to compare with"
    ]


def test_that_cross_entropy_corrects_no_labels_is_no_fault(tmp_path: Path) -> None:
    (found,) = marks(tmp_path, {}, fakes.suite(measure="label_accuracy.after"))
    assert (found.code, found.breaks) == ("reference", False)


def test_cross_entropy_that_judges_labels_is_marked(tmp_path: Path) -> None:
    found = marks(tmp_path, lambda _: fakes.summary(0.5, **OTHER))
    assert "reference" in codes(found, "cross entropy")


def test_settings_of_cross_entropy_itself_are_told(tmp_path: Path) -> None:
    suite = fakes.suite(method=[{"name": "cross entropy", "train.dropout": 0.5}, {"name": "A", "weighter": "a"}])
    found = [mark for mark in marks(tmp_path, {}, suite) if mark.code == "reference"]
    assert [(mark.text, mark.breaks) for mark in found] == [
        ("plain cross entropy has settings of its own: train.dropout 0.5", False)
    ]


KINDS = pytest.mark.parametrize(
    ("kind", "code", "switch"),
    [("verification", "verification", "verification"), ("clean", "trusted-labels", "clean_labels")],
)


@KINDS
@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize("permitted", [True, False])
def test_who_learns_from_checked_labels_or_may_is_told_permitted_or_not(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    code: str,
    switch: str,
    needed: bool,
    permitted: bool,
) -> None:
    monkeypatch.setattr(evidence, "_needs", lambda config: frozenset({kind} if config["weighter"] and needed else ()))
    lineage = {"verified": 50, "clean": 0} if kind == "verification" else {"verified": 0, "clean": 50}

    def outcome(position: Position) -> dict[str, Any]:
        own = OTHER["config"] if position.method == "A" else {}
        return fakes.summary(0.5, data={"lineage": lineage}, config=own)

    (found,) = marks(tmp_path, outcome, fakes.suite(fairness={switch: permitted}))
    assert (found.method, found.code, found.breaks) == ("A", code, not permitted)
    words = "verification labels" if kind == "verification" else "trusted labels"
    assert found.text == (f"learns from {words} (50)" if needed else f"is given {words} (50), and may learn from them")


@KINDS
def test_plain_training_given_checked_labels_learns_from_none(
    tmp_path: Path, kind: str, code: str, switch: str
) -> None:
    assert marks(tmp_path, lambda _: fakes.summary(0.5, config={"verify": "0.05", "clean": "0.05"})) == []


def test_fine_tuning_on_the_clean_subset_is_learning_from_trusted_labels(tmp_path: Path) -> None:
    assert codes(marks(tmp_path, {"config": {"train": {"finetune_epochs": 2}}})) == {"trusted-labels", "training"}


@pytest.mark.parametrize("stage", [{"samples": "clean"}, {"targets": "trusted"}, {"batches": "mix:1:9"}])
def test_a_stage_on_trusted_labels_is_learning_from_them(tmp_path: Path, stage: dict[str, str]) -> None:
    found = marks(tmp_path, {"config": {"stages": [{"name": "s", "epochs": 1, **stage}]}})
    assert "trusted-labels" in codes(found)


def test_a_plugin_that_is_not_here_may_learn_from_what_it_was_given(tmp_path: Path) -> None:
    (found,) = marks(tmp_path, {"config": {"weighter": {"nowhere": {}}, "verify": "0.05"}})
    assert found.text == "is given verification labels (0.05), and may learn from them"


def test_a_headline_chosen_on_the_test_set_is_marked_for_the_whole_table(tmp_path: Path) -> None:
    (found,) = marks(tmp_path, {}, fakes.suite(measure="accuracy.oracle"))
    assert (found.code, found.method, found.comparison) == ("oracle", None, None)


TWO = [{"name": "d", "noise": ["pair:0.2", "pair:0.4"]}]


def by_noise(alpha: Mapping[str, float]) -> fakes.Outcome:
    """Method A with a setting that goes with the noise."""

    def outcome(position: Position) -> dict[str, Any]:
        own = {"weighter": {"a": {"alpha": alpha[position.noise]}}} if position.method == "A" else {}
        return fakes.summary(0.5, config={"noise": position.noise, **own})

    return outcome


@pytest.mark.parametrize("one_setting", [True, False])
def test_settings_tuned_by_noise_are_marked_permitted_or_not(tmp_path: Path, one_setting: bool) -> None:
    suite = fakes.suite(data=TWO, fairness={"one_setting": one_setting})
    (found,) = marks(tmp_path, by_noise({"pair:0.2": 1.0, "pair:0.4": 2.0}), suite)
    assert (found.code, found.method, found.breaks) == ("tuned", "A", one_setting)
    assert "weighter.a.alpha 1.0 (d, pair:0.2) / 2.0 (d, pair:0.4)" in found.text


def test_one_setting_for_all_noise_bears_no_mark(tmp_path: Path) -> None:
    assert marks(tmp_path, by_noise({"pair:0.2": 1.0, "pair:0.4": 1.0}), fakes.suite(data=TWO)) == []


def test_what_the_data_set_for_all_methods_is_no_tuning(tmp_path: Path) -> None:
    suite = fakes.suite(data=[{"name": "d", "epochs": 3}, {"name": "e", "epochs": 9}])

    def outcome(position: Position) -> dict[str, Any]:
        stages = [{"name": "s", "epochs": 3 if position.data == "d" else 9}]
        return fakes.summary(
            0.5, config={"epochs": stages[0]["epochs"], "stages": stages, "data": {"test": position.data}}
        )

    assert marks(tmp_path, outcome, suite) == []


def test_settings_scaled_to_the_data_are_tuned_all_the_same_where_they_go_with_the_noise(tmp_path: Path) -> None:
    noise = ["symmetric:0.2", "symmetric:0.4"]
    suite = fakes.suite(data=[{"name": "d", "epochs": 3, "noise": noise}, {"name": "e", "epochs": 9}])

    def outcome(position: Position) -> dict[str, Any]:
        tuned = position.method == "A" and position.noise == "symmetric:0.4"
        config = {"epochs": 3 if position.data == "d" else 9, "train": {"warmup_epochs": 2 if tuned else 1}}
        return fakes.summary(0.5, config=config)

    (found,) = marks(tmp_path, outcome, suite)
    assert (found.code, found.method) == ("tuned", "A")
    assert "train.warmup_epochs 1 (d, symmetric:0.2) / 2 (d, symmetric:0.4)" in found.text


def test_two_names_for_one_data_set_do_not_hide_what_is_tuned_by_noise(tmp_path: Path) -> None:
    low = {"name": "low", "dataset": "d", "noise": "symmetric:0.2", "epochs": 3}
    suite = fakes.suite(data=[low, {**low, "name": "high", "noise": "symmetric:0.6", "epochs": 9}])

    def outcome(position: Position) -> dict[str, Any]:
        return fakes.summary(0.5, config={"dataset": "d", "epochs": 3 if position.data == "low" else 9})

    found = marks(tmp_path, outcome, suite)
    assert {(mark.code, mark.method) for mark in found} == {("tuned", name) for name in ("cross entropy", "A", "B")}


def test_a_judges_setting_given_by_the_data_is_tuning_all_the_same(tmp_path: Path) -> None:
    values = {"name": "A", "weighter": "a"}
    suite = fakes.suite(
        task="detect",
        data=[{"name": "d", "weighter.alpha": 1.0}, {"name": "e", "weighter.alpha": 2.0}],
        method=[values],
    )

    def outcome(position: Position) -> dict[str, Any]:
        return fakes.summary(0.5, config={"weighter": {"a": {"alpha": 1.0 if position.data == "d" else 2.0}}})

    assert codes(marks(tmp_path, outcome, suite)) == {"tuned"}


def test_who_takes_longer_than_the_cap_is_marked_with_how_much(tmp_path: Path) -> None:
    found = marks(tmp_path, {"seconds": {"total": 21.0}})
    assert [mark.text for mark in found] == ["takes 10.5 × the time of plain cross entropy; the suite's cap is 10 ×"]


@pytest.mark.parametrize(("cap", "seconds"), [(10.0, 20.0), (float("inf"), 1e6)])
def test_within_the_cap_there_is_no_mark(tmp_path: Path, cap: float, seconds: float) -> None:
    assert marks(tmp_path, {"seconds": {"total": seconds}}, fakes.suite(fairness={"cap": cap})) == []


def test_seconds_of_different_machines_are_not_compared(tmp_path: Path) -> None:
    (found,) = marks(tmp_path, {"seconds": {"total": 1000.0}, "machine": {"host": "two"}})
    assert (found.code, found.breaks) == ("machine", False)


@pytest.mark.parametrize("permitted", [True, False])
@pytest.mark.parametrize("how", [{"pretrained": True}, {"weights": "w.safetensors"}])
def test_pre_trained_weights_are_told_permitted_or_not(tmp_path: Path, permitted: bool, how: dict[str, Any]) -> None:
    suite = fakes.suite(fairness={"pretrained": permitted})
    found = marks(tmp_path, lambda _: fakes.summary(0.5, config={"backbone": {"net": how}}), suite)
    assert {(mark.method, mark.code, mark.breaks) for mark in found} == {
        (method, "pretrained", not permitted) for method in ("cross entropy", "A", "B")
    }


def test_features_made_elsewhere_are_told_of_the_whole_comparison(tmp_path: Path) -> None:
    found = marks(tmp_path, lambda _: {**fakes.summary(0.5), "config": {"backbone": {"features": {}}}})
    assert [(mark.method, mark.comparison, mark.code, mark.breaks) for mark in found] == [
        (None, "digits", "pretrained", False)
    ]


def test_cells_of_older_code_or_versions_are_marked(tmp_path: Path) -> None:
    new = {"versions": {"torch": "3"}, "code": {"noisyrun": "b"}}
    old = {"versions": {"torch": "2"}, "code": {"noisyrun": "b"}}
    found = marks(tmp_path, {"started": "2026-11-20T00:00:00Z"}, what={"cross entropy": new, "A": old, "B": new})
    assert [(mark.method, mark.code) for mark in found] == [("A", "versions")]
    assert "torch 2, newest 3" in found[0].text


def test_plugins_that_only_some_methods_use_are_no_mixture(tmp_path: Path) -> None:
    assert marks(tmp_path, {}, what={"A": {"code": {"noisyrun-a": "1"}}, "B": {"code": {"noisyrun-b": "2"}}}) == []


def test_settings_laid_over_the_suite_by_the_command_are_told(tmp_path: Path) -> None:
    (found,) = marks(tmp_path, {}, overrides={"epochs": 1, "train": {"amp": "off"}})
    assert found.text == "the command changed the suite: epochs 1, train.amp off"


def test_notes_say_a_text_once_with_all_its_comparisons(tmp_path: Path) -> None:
    found = marks(tmp_path, {"config": {"batch_size": 32}}, fakes.suite(data=TWO))
    (note,) = fairness.notes(found)
    assert note.comparisons == ("d, pair:0.2", "d, pair:0.4")
