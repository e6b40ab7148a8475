"""What a run says."""

from __future__ import annotations

import io

import pytest

from noisyrun.api.hooks import EpochResult, LabelPhaseResult
from noisyrun.report.console import Console
from noisyrun.report.numbers import joules, percent, points, seconds, size
from noisyrun.report.table import gain


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


SUMMARY = {
    "accuracy": {"last": 0.951, "best_noisy_val": 0.948, "oracle": 0.957},
    "baseline": {"accuracy": {"last": 0.71, "best_noisy_val": 0.96, "oracle": None}},
    "label_accuracy": {"before": 0.6, "after": 0.943},
    "detection": {"auroc": 0.981, "average_precision": 0.955, "f1": None},
    "seconds": {"train": 20.0, "label_phase": 4.0, "total": 25.0},
    "peak_memory": {"process": 1 << 30, "gpu": 0},
    "out": "runs/one",
    "files": {"labels": "labels.parquet"},
    "tracking": {"mlflow": {"open": "mlflow ui"}},
}


def spoken(**options) -> tuple[Console, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Console(out=out, err=err, **options), out, err


def rows(out: io.StringIO) -> dict[str, list[str]]:
    """Cells of the table's rows by their first words."""
    lines = [line.strip() for line in out.getvalue().splitlines()]
    cells = [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in lines if line]
    return {row[0]: row[1:] for row in cells}


def test_the_table_sets_the_run_beside_plain_cross_entropy_and_marks_the_oracle():
    console, out, _ = spoken()
    console.results(SUMMARY)
    table = rows(out)
    assert table["after the last epoch"] == ["95.1 %", "71.0 %", "+24.1"]
    assert table["at the best noisy validation"] == ["94.8 %", "96.0 %", "-1.2"]
    assert table["oracle: best on the test set *"] == ["95.7 %", "–"]
    assert "* chosen on the test labels themselves" in out.getvalue()
    assert table["right after correction"] == ["94.3 %  (+34.3)"]
    assert table["wrong labels found: AUROC"] == ["0.981"]


def test_top_5_and_calibration_stand_below_accuracy():
    console, out, _ = spoken()
    ece = {"ece": {"last": 0.05}}
    beside = {**SUMMARY["baseline"], "top5": {"last": 0.9}, "calibration": {"ece": {"last": 0.2}}}
    console.results({**SUMMARY, "top5": {"last": 0.99}, "calibration": ece, "baseline": beside})
    table = rows(out)
    assert table["top-5 accuracy, last"] == ["99.0 %", "90.0 %", "+9.0"]
    assert table["calibration error (ECE), last"] == ["5.0 %", "20.0 %", "-15.0"]
    console, out, _ = spoken()
    console.results({**SUMMARY, "baseline": None, "calibration": ece})
    assert rows(out)["calibration error (ECE), last"] == ["5.0 %"]
    assert "top-5" not in out.getvalue()


def test_energy_is_told_where_it_was_measured():
    console, out, _ = spoken()
    console.results({**SUMMARY, "energy": {"gpu": 12_345.0, "cpu": None}})
    assert "energy  12.3 kJ gpu\n" in out.getvalue()
    assert [joules(12.0), joules(2.5e6)] == ["12.0 J", "2.50 MJ"]


def test_of_a_calibration_error_less_is_a_gain():
    assert gain(-0.1, -1) == "[green]-10.0[/]"
    assert gain(-0.1) == "[red]-10.0[/]"
    console, out, _ = spoken()
    plain, better = {"accuracy": 0.5, "ece": 0.2, "nll": 1.25}, {"accuracy": 0.6, "ece": 0.1, "nll": 1.0}
    console.evaluation({"plain": plain, "test": better, "shown": "5 crops", "seconds": 1.0})
    assert rows(out)["calibration error (ECE)"] == ["20.0 %", "10.0 %", "-10.0"]
    assert rows(out)["negative log-likelihood"] == ["1.250", "1.000", "-0.250"]


def test_what_was_called_wrong_is_told_where_clean_labels_are_not_known():
    console, out, _ = spoken()
    console.results({"detection": {"auroc": None, "called_wrong": 0.312, "changed": 0.2}})
    assert rows(out)["called wrong"] == ["31.2 %"]
    assert rows(out)["changed by correction"] == ["20.0 %"]


def test_what_was_not_measured_has_no_row():
    console, out, _ = spoken()
    console.results({**SUMMARY, "accuracy": {"last": None}, "label_accuracy": {}, "baseline": None})
    assert "test accuracy" not in out.getvalue()
    assert "right" not in out.getvalue()
    assert "F1" not in out.getvalue()
    assert "oracle" not in out.getvalue()


def test_the_end_says_what_it_cost_and_where_it_was_written():
    console, out, _ = spoken()
    console.results(SUMMARY)
    assert "time    25.0 s  (train 20.0 s · label phase 4.0 s)" in out.getvalue()
    assert "1.00 GiB process\n" in out.getvalue()
    assert "written runs/one  (labels.parquet)" in out.getvalue()
    assert "mlflow  mlflow ui" in out.getvalue()


def test_an_epoch_is_one_plain_line_on_stderr_without_a_terminal():
    console, out, err = spoken()
    assert list(console.progress(range(3), what="epoch 1/20")) == [0, 1, 2]
    console.epoch(EpochResult("warmup", 1, 20, {"loss": 1.25, "val_accuracy": 0.5, "lr": 0.05, "seconds": 2.0}), 20)
    assert err.getvalue() == "epoch  1/20  warmup    loss  1.2500  val  50.0 %  lr 0.05  2.0 s\n"
    assert out.getvalue() == ""


def test_a_label_phase_says_what_it_did_to_the_labels():
    console, _, err = spoken()
    metrics = {"label_accuracy_before": 0.6, "label_accuracy_after": 0.75, "changed": 0.3, "auroc": 0.9}
    console.label_phase(LabelPhaseResult("rounds", 2, 7, metrics))
    assert err.getvalue() == "labels before epoch  8  label accuracy 60.0 % → 75.0 %  changed 30.0 %  AUROC 0.900\n"


def test_a_label_phase_without_a_corrector_claims_no_change_of_labels():
    console, _, err = spoken()
    metrics = {"label_accuracy_before": 0.6, "label_accuracy_after": 0.6, "wrong": 0.25}
    console.label_phase(LabelPhaseResult("rounds", 0, 6, metrics))
    assert err.getvalue() == "labels before epoch  7  called wrong 25.0 %\n"


def test_a_terminal_shows_a_bar_and_leaves_no_trace_of_it():
    err = Screen()
    console = Console(out=Screen(), err=err)
    for _ in console.progress(range(3), what="epoch [1]/20"):
        assert console._bars is not None
    assert "epoch [1]/20" in err.getvalue()
    assert console._bars is None


def test_a_bar_within_a_bar_and_one_that_is_left_early():
    console = Console(out=Screen(), err=Screen())
    for _ in console.progress([1, 2], what="outer"):
        inner = console.progress(iter([1, 2]), what="inner")
        next(inner)
        inner.close()
    assert console._bars is None


def test_a_bar_is_taken_down_when_the_work_fails():
    console = Console(out=Screen(), err=Screen())

    def work():
        for _ in console.progress(range(3)):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        work()
    assert console._bars is None


def test_a_warning_is_said_once_and_brackets_are_kept():
    console, _, err = spoken()
    console.warn("class [red] has no samples")
    console.warn("class [red] has no samples")
    assert err.getvalue() == "warning: class [red] has no samples\n"


def test_quiet_leaves_warnings_and_the_table():
    console, out, err = spoken(quiet=True)
    console.say("hello")
    console.epoch(EpochResult("warmup", 1, 20, {"loss": 1.0}))
    console.warn("careful")
    console.results(SUMMARY)
    assert "hello" not in out.getvalue()
    assert err.getvalue() == "warning: careful\n"
    assert "test accuracy" in out.getvalue()


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0123, "12 ms"), (0.0996, "0.1 s"), (59.94, "59.9 s"), (119.6, "2 min 00 s"), (7322.0, "2 h 02 min")],
)
def test_durations_read_in_the_unit_that_suits_them(value, words):
    assert seconds(value) == words


def test_shares_and_sizes_read_well():
    assert percent(0.12345) == "12.3 %"
    assert percent(None) == "–"
    assert points(-0.0123) == "-1.2"
    assert [size(512), size(3 << 20), size(5 << 30)] == ["512 B", "3 MiB", "5.00 GiB"]


def test_an_evaluation_of_several_labels_names_each_measure_once():
    console, out, _ = spoken()
    plain = {"accuracy": 0.5, "map": 0.5, "ap_all": 0.4}
    console.evaluation({"plain": plain, "test": plain, "shown": "5 crops", "seconds": 1.0})
    shown = out.getvalue()
    assert "accuracy" not in shown
    assert "mAP" in shown
    assert "AP over all pairs" in shown


def test_what_a_line_quotes_from_data_reaches_neither_markup_nor_the_terminals_controls():
    console, out, err = spoken()
    console.say("image \x1b]0;x\x07[red]cat")
    console.warn("image \x1b[31mcat")
    assert out.getvalue() == "image \ufffd]0;x\ufffd[red]cat\n"
    assert err.getvalue() == "warning: image \ufffd[31mcat\n"
