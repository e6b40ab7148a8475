from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisyrun.api import UserError
from noisyrun.config import flags
from noisyrun.config.flags import Flag


def test_a_flag_takes_the_word_that_follows():
    assert flags.parse(["--weighter", "sinet", "--weighter.alpha", "1.2"]) == [
        Flag(("weighter",), "sinet"),
        Flag(("weighter", "alpha"), "1.2"),
    ]


def test_a_flag_may_hold_its_value_after_an_equals_sign():
    assert flags.parse(["--out=a=b", "--noise="]) == [Flag(("out",), "a=b"), Flag(("noise",), "")]


def test_a_negative_number_is_a_value():
    assert flags.parse(["--weighter.alpha", "-1"]) == [Flag(("weighter", "alpha"), "-1")]


def test_a_flag_before_another_stands_without_a_value():
    assert flags.parse(["--baseline", "--seed", "1"]) == [Flag(("baseline",), True), Flag(("seed",), "1")]


@pytest.mark.parametrize("words", [["stray"], ["--seed", "1", "2"], ["-x"]])
def test_a_word_that_belongs_to_no_flag_is_refused(words):
    with pytest.raises(UserError, match="unexpected"):
        flags.parse(words)


@pytest.mark.parametrize("words", [["--"], ["--a..b", "1"], ["--.x"], ["--x."]])
def test_a_malformed_flag_is_refused(words):
    with pytest.raises(UserError):
        flags.parse(words)


@pytest.mark.parametrize("second", ["--batch-size", "--batch_size", "--batch-size=3"])
def test_a_flag_that_is_given_twice_is_refused(second):
    with pytest.raises(UserError, match="given twice"):
        flags.parse(["--batch-size", "2", second, *([] if "=" in second else ["3"])])


names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,6}", fullmatch=True)
values = st.text(max_size=12).filter(lambda text: not text.startswith("--") and text != "-h")


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.tuples(names, names), values, max_size=4))
def test_what_is_written_is_what_is_read(wanted):
    unique = {Flag(path, value).name: Flag(path, value) for path, value in wanted.items()}.values()
    words = [word for flag in unique for word in (flag.label, flag.value)]
    joined = [f"{flag.label}={flag.value}" for flag in unique]
    assert flags.parse(words) == list(unique)
    assert flags.parse(joined) == list(unique)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(string.ascii_letters + "-=. _1", max_size=10), max_size=8))
def test_any_words_give_flags_or_one_line(words):
    made, problem = [], ""
    try:
        made = flags.parse(words)
    except UserError as error:
        problem = str(error)
    assert len(problem.splitlines()) == (0 if made or not words else 1)
