"""What is deprecated works as before, and says what takes its place and when it goes."""

import inspect
import warnings

import pytest

from noisyrun.api.deprecation import deprecated, say_deprecated


class Judge:
    @deprecated("weigh", gone="3.0")
    def weights(self, labels: list[int], *, floor: float = 0.5) -> list[float]:
        """Old."""
        return [max(floor, float(label)) for label in labels]


def with_argument(rows: int, size: int | None = None) -> int:
    if size is not None:
        say_deprecated("with_argument(size=...)", "rows")
    return rows


def test_it_works_as_before_and_names_its_successor_and_the_caller():
    with pytest.warns(DeprecationWarning, match="Judge") as said:
        assert Judge().weights([0, 1]) == [0.5, 1.0]
    (one,) = said
    assert str(one.message) == "Judge.weights is deprecated and goes with contract 3.0; use weigh"
    assert one.filename == __file__


def test_an_argument_is_named_where_it_is_given_and_only_there():
    with pytest.warns(DeprecationWarning, match=r"with_argument\(size=\.\.\.\) is deprecated") as said:
        with_argument(1, size=2)
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert with_argument(1) == 1


def test_the_record_of_the_surface_sees_the_signature_that_was():
    assert str(inspect.signature(Judge.weights)) == "(self, labels: list[int], *, floor: float = 0.5) -> list[float]"
    assert Judge.weights.__doc__ == "Old."


def test_a_use_of_what_is_deprecated_fails_the_tests_of_this_repository(pytestconfig):
    filters = pytestconfig.getini("filterwarnings")
    with warnings.catch_warnings():
        warnings.resetwarnings()
        for line in filters:
            if "DeprecationWarning" in line:
                action, message, category = line.split(":")
                assert (action, category) == ("error", "DeprecationWarning")
                warnings.filterwarnings("error", message, DeprecationWarning)
        with pytest.raises(DeprecationWarning):
            Judge().weights([1])
