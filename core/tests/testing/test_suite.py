"""The two ways to run the suite, and what they say."""

import subprocess
import sys

import pytest
import torch
from sound_plugins import Corrector, Weighter

from noisyrun.api import Targets, UserError
from noisyrun.testing import CheckFailed, check_method, checks, parametrize_with_checks, small_settings, subject


class Rounding(Corrector):
    """Reads the one label where several are allowed."""

    def correct(self, block, targets, prototypes, side):
        return Targets.hard(block.observed, 1.0)


#: Every check that asks for answers where a sample has several labels.
FAILS = dict.fromkeys(
    (
        "works-with-what-it-needs",
        "works-with-more-than-it-needs",
        "targets-are-probabilities",
        "determined-by-the-seed",
        "leaves-global-generators-alone",
        "order-of-rows-does-not-matter",
        "size-of-blocks-does-not-matter",
        "state-is-tensors-and-json",
        "state-survives-a-checkpoint",
        "stays-within-memory",
        "leaves-its-inputs-alone",
        "coarse-and-large-features-stay-finite",
        "takes-a-class-without-samples",
        "takes-a-class-with-one-sample",
        "takes-features-that-are-all-equal",
        "takes-two-classes",
        "takes-samples-without-label",
        "takes-the-prototypes-of-others",
        "judges-a-row-by-itself",
    ),
    "reads one label alone",
)


def test_what_fails_is_told_by_check_in_one_message():
    with pytest.raises(CheckFailed) as told:
        check_method(Rounding)
    assert set(FAILS) == {line.split(":")[0].strip() for line in str(told.value).splitlines()[1:]}


def test_what_is_expected_to_fail_may_fail():
    found = check_method(Rounding, expected_failures=FAILS)
    assert found.expected == FAILS
    assert not set(FAILS) & set(found.passed)
    assert f"{len(FAILS)} failed as expected" in str(found)


def test_what_is_expected_to_fail_must_fail():
    with pytest.raises(CheckFailed, match=r"needs-are-told: passes, but was expected to fail \(no idea\)"):
        check_method(Weighter, expected_failures={"needs-are-told": "no idea"})


def test_an_expected_failure_of_no_check_is_refused():
    with pytest.raises(ValueError, match="no check 'weights-are-nice'"):
        check_method(Weighter, expected_failures={"weights-are-nice": "?"})


def test_every_check_of_a_plugin_is_a_test_of_its_own_and_an_expected_failure_a_strict_one():
    plugin = subject(Rounding, expected_failures=FAILS)
    cases = [case for case in parametrize_with_checks([plugin, Weighter]).args[1] if case.values[0].device == "cpu"]
    wanted = [one for what in (plugin, subject(Weighter)) for one in checks() if one.concerns(what)]
    assert len({case.id for case in cases}) == len(cases) == len(wanted)
    marked = {case.values[1].name: case.marks[0] for case in cases if case.marks}
    assert {name: mark.kwargs["reason"] for name, mark in marked.items()} == FAILS
    assert all(mark.kwargs["strict"] for mark in marked.values())


def test_on_a_machine_with_a_gpu_what_may_depend_on_it_is_checked_there_too(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cases = parametrize_with_checks([subject(Rounding, expected_failures=FAILS)]).args[1]
    on = {device: {case.values[1] for case in cases if case.values[0].device == device} for device in ("cpu", "cuda")}
    assert {check.name for check in on["cpu"] - on["cuda"]} == {
        check.name
        for check in on["cpu"]
        if check.name.startswith(("config-", "record-")) or check.name == "needs-are-told"
    }
    assert on["cuda"] < on["cpu"]
    assert all(case.id.endswith("-cuda") for case in cases if case.values[0].device == "cuda")
    assert sum(bool(case.marks) for case in cases) == 2 * len(FAILS)


def test_on_a_machine_without_a_gpu_one_skipped_test_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (case,) = [case for case in parametrize_with_checks([Weighter]).args[1] if case.values[0].device == "cuda"]
    assert case.marks[0].name == "skip"
    assert case.marks[0].kwargs["reason"] == "no GPU that torch can use is here"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use is here")
def test_on_a_gpu_an_answer_that_stays_on_the_cpu_is_caught():
    class Home(Weighter):
        def weigh(self, block, labels, prototypes, side):
            return torch.ones(len(block))

    with pytest.raises(CheckFailed, match=r"on cuda: .*must be on cuda"):
        check_method(Home)


def test_a_plugin_that_is_not_there_is_a_line():
    with pytest.raises(UserError, match=r"KIND\.NAME"):
        subject("sinet")
    with pytest.raises(UserError, match="no weighter 'nobody' is installed"):
        subject("weighter.nobody")
    with pytest.raises(UserError, match="fits no socket"):
        subject(dict)


def test_settings_reach_the_method():
    assert subject("backbone.small-cnn", {"width": 4}).make().config.width == 4


def test_small_settings_are_valid_and_smaller():
    plugin = subject("backbone.small-cnn")
    small = small_settings(plugin.config_class)
    assert plugin.config_class(**small).width < plugin.config_class().width


def test_pytest_is_imported_only_where_tests_are_made():
    code = "import sys, noisyrun.testing as t; t.checks(); print('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
