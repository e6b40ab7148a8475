from __future__ import annotations

import pytest

from noisyrun.bench import measures
from noisyrun.bench.store import measures as numbers
from noisyrun.bench.suite import HEADLINE
from noisyrun.report import parts
from noisyrun.report.summary import Summary


def every_number() -> set[str]:
    """Key paths of all numbers that a summary with everything measured has, but for those of open tables."""
    epochs = dict.fromkeys(parts.Accuracy.model_fields, 0.5)
    detection = dict.fromkeys(parts.Detection.model_fields, 0.5)
    whole = Summary.model_validate(
        {
            "accuracy": epochs,
            "top5": epochs,
            "ap_all": epochs,
            "calibration": dict.fromkeys(parts.Calibration.model_fields, epochs),
            "label_accuracy": dict.fromkeys(parts.LabelAccuracy.model_fields, 0.5),
            "detection": detection,
            "detection_unverified": detection,
            "samples_per_second": 3.0,
            "energy": dict.fromkeys(parts.Energy.model_fields, 0.5),
            "seconds": {"total": 1.0},
            "peak_memory": {"process": 1, "gpu": 1},
        }
    )
    return set(numbers(whole.model_dump(mode="json")))


def test_every_number_of_a_summary_has_a_name_and_no_name_is_of_nothing() -> None:
    assert set(measures.MEASURES) == every_number()


def test_headlines_are_honest_measures() -> None:
    assert not any(measures.measure(key).oracle for key in HEADLINE.values())


@pytest.mark.parametrize("key", [key for key in measures.MEASURES if key.endswith((".oracle", ".best_f1"))])
def test_what_clean_labels_choose_is_an_oracle(key: str) -> None:
    assert measures.MEASURES[key].oracle


def test_errors_and_costs_are_better_low() -> None:
    lower = {key for key, one in measures.MEASURES.items() if one.higher is False}
    assert {"calibration.ece.last", "detection.class_error", "seconds.total", "peak_memory.gpu", "energy.cpu"} <= lower
    assert not any(key.startswith(("accuracy", "top5", "ap_all")) for key in lower)


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("accuracy.last", 0.98765, "98.77"),
        ("detection.auroc", 0.93654, "0.937"),
        ("seconds.total", 12.34, "12.3"),
        ("peak_memory.process", 512_400_000, "512"),
        ("accuracy.last", None, "–"),
    ],
)
def test_values_are_shown_in_the_unit_of_the_measure(key: str, value: float | None, shown: str) -> None:
    assert measures.measure(key).shown(value) == shown


def test_differences_are_shown_with_their_sign() -> None:
    assert measures.measure("accuracy.last").shown(0.0123, sign=True) == "+1.23"
    assert measures.measure("accuracy.last").shown(-0.0123, sign=True) == "-1.23"


def test_phases_of_a_run_are_named_by_their_key() -> None:
    found = measures.measure("seconds.label_phase")
    assert (found.unit, found.higher, found.group) == ("seconds", False, "cost")
    assert measures.known("seconds.label_phase")
    assert measures.measure("evaluation.test.accuracy").unit == "percent"
    assert measures.measure("evaluation.test.nll").higher is False


def test_a_measure_nobody_named_is_shown_by_its_key() -> None:
    assert measures.measure("new.thing").title == "new.thing"
    assert not measures.known("new.thing")


def test_order_is_the_headline_then_the_table_then_the_rest() -> None:
    keys = {"seconds.total", "accuracy.last", "new.thing", "detection.auroc"}
    assert measures.order(keys, "detection.auroc") == ["detection.auroc", "accuracy.last", "seconds.total", "new.thing"]
