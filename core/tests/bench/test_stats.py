from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, special

from noisyrun.bench import stats

few = st.lists(st.integers(-20, 20).map(lambda one: one / 8), min_size=2, max_size=6)


def t_quantile(share: float, freedom: int) -> float:
    """Where the density of Student's t, integrated by hand, reaches a share."""
    scale = special.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * special.gamma(freedom / 2))

    def below(x: float) -> float:
        return 0.5 + integrate.quad(lambda z: scale * (1 + z * z / freedom) ** (-(freedom + 1) / 2), 0, x)[0]

    return float(optimize.brentq(lambda x: below(x) - share, 0, 1000))


def signed_rank_p(differences: list[float]) -> float:
    """Two-sided p of the signed-rank test over all 2^n signs."""
    sizes = [abs(one) for one in differences if one]
    ranks = [(sum(b < a for b in sizes) + sum(b <= a for b in sizes) + 1) / 2 for a in sizes]
    sums = [sum(r for r, up in zip(ranks, signs) if up) for signs in itertools.product((0, 1), repeat=len(ranks))]
    seen = sum(r for r, one in zip(ranks, (one for one in differences if one)) if one > 0)
    low = sum(one <= seen + 1e-9 for one in sums) / len(sums)
    high = sum(one >= seen - 1e-9 for one in sums) / len(sums)
    return min(1.0, 2 * min(low, high))


def test_estimate_of_three_seeds_by_hand() -> None:
    found = stats.estimate({0: 1.0, 1: 2.0, 2: 6.0})
    assert (found.mean, found.n) == (3.0, 3)
    assert found.sd == pytest.approx(math.sqrt(7))
    # t of 2 degrees of freedom at 97.5 %: 4.302653, from any table.
    assert found.high == pytest.approx(3 + 4.302653 * math.sqrt(7 / 3), abs=1e-5)
    assert found.low == pytest.approx(3 - 4.302653 * math.sqrt(7 / 3), abs=1e-5)


def test_one_seed_has_no_spread() -> None:
    found = stats.estimate({7: 0.5})
    assert (found.mean, found.sd, found.low, found.high, found.values) == (0.5, None, None, None, {7: 0.5})


@settings(max_examples=25, deadline=None)
@given(few)
def test_interval_is_the_quantile_of_the_integrated_density(values: list[float]) -> None:
    low, high = stats.t_interval(values)
    mean = sum(values) / len(values)
    sd = math.sqrt(sum((one - mean) ** 2 for one in values) / (len(values) - 1))
    reach = t_quantile(0.975, len(values) - 1) * sd / math.sqrt(len(values))
    assert low == pytest.approx(mean - reach, abs=1e-6)
    assert high == pytest.approx(mean + reach, abs=1e-6)


@pytest.mark.parametrize(
    "differences", [[1.0, 2.0, 3.0], [1.0, -2.0, 3.0], [0.5, 0.5, -0.5, 2.0], [0.0, 1.0, 2.0, -3.0]]
)
def test_wilcoxon_by_all_signs(differences: list[float]) -> None:
    assert stats.wilcoxon(differences) == pytest.approx(signed_rank_p(differences))


@settings(max_examples=60, deadline=None)
@given(few)
def test_wilcoxon_is_exact_with_ties_and_zeros(differences: list[float]) -> None:
    p = stats.wilcoxon(differences)
    if any(differences):
        assert p == pytest.approx(signed_rank_p(differences))
    else:
        assert p is None


def test_three_pairs_cannot_give_less_than_a_quarter() -> None:
    assert stats.smallest_p(3) == stats.wilcoxon([1.0, 2.0, 3.0]) == 0.25
    assert stats.smallest_p(1) == 1.0
    assert stats.smallest_p(6) == stats.wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == 2 / 64


def test_bootstrap_agrees_with_all_resamples() -> None:
    values = [0.0, 1.13, 2.71, 4.37, 7.19]
    means = np.sort([np.mean(one) for one in itertools.product(values, repeat=len(values))])
    low, high = stats.bootstrap_interval(values)
    # BCa by its definition, over every one of the 5^5 resamples.
    z0 = special.ndtri((np.mean(means < np.mean(values)) + np.mean(means <= np.mean(values))) / 2)
    left = np.mean([np.mean([*values[:i], *values[i + 1 :]]) for i in range(5)]) - np.array(
        [np.mean([*values[:i], *values[i + 1 :]]) for i in range(5)]
    )
    a = np.sum(left**3) / (6 * np.sum(left**2) ** 1.5)
    ends = [special.ndtr(z0 + (z0 + z) / (1 - a * (z0 + z))) for z in (special.ndtri(0.025), special.ndtri(0.975))]
    assert (low, high) == pytest.approx(tuple(np.quantile(means, ends)), abs=0.25)


def test_bootstrap_is_the_same_on_every_call_and_sits_between_the_values() -> None:
    values = [0.125, 0.5, 0.25]
    first = stats.bootstrap_interval(values)
    assert first == stats.bootstrap_interval(values)
    assert None not in first
    assert sorted([0.125, *first, np.mean(values), 0.5]) == [0.125, first[0], np.mean(values), first[1], 0.5]


def test_bootstrap_of_equal_values_is_that_value() -> None:
    assert stats.bootstrap_interval([0.3, 0.3, 0.3]) == pytest.approx((0.3, 0.3))
    assert stats.bootstrap_interval([0.3]) == (None, None)


def test_pairs_are_those_that_both_have() -> None:
    found = stats.paired({0: 0.9, 1: 0.8, 3: 0.1}, {1: 0.5, 0: 0.7, 2: 0.0})
    assert found is not None
    assert found.n == 2
    assert found.mean == pytest.approx(0.25)


def test_no_common_seed_is_no_pair() -> None:
    assert stats.paired({0: 0.9}, {1: 0.5}) is None


@pytest.mark.parametrize(
    ("differences", "higher", "outcome"),
    [
        ([1.0, 1.1, 1.2], True, "better"),
        ([1.0, 1.1, 1.2], False, "worse"),
        ([-1.0, -1.1, -1.2], False, "better"),
        ([-1.0, 1.1, 1.2], True, "within noise"),
        ([0.0, 0.0, 0.0], True, "within noise"),
        ([1.0, 1.0, 1.0], True, "better"),
        ([1.0], True, "unknown"),
    ],
)
def test_outcome_is_read_from_the_interval(differences: list[float], higher: bool, outcome: str) -> None:
    found = stats.paired(dict(enumerate(differences)), dict.fromkeys(range(len(differences)), 0.0), higher)
    assert found is not None
    assert found.outcome == outcome


def test_differences_of_one_size_are_ties_whatever_binary_makes_of_them() -> None:
    found = stats.paired({0: 0.3, 1: 0.7, 2: 0.2}, {0: 0.2, 1: 0.6, 2: 0.3})  # + 0.1, + 0.1, - 0.1
    assert found is not None
    assert found.p == pytest.approx(signed_rank_p([1, 1, -1]))


def slow_holm(values: list[float]) -> list[float]:
    """Smallest level at which the step-down procedure rejects, by trying the levels at which something changes."""
    count = len(values)
    levels = sorted({min(1.0, p * k) for p in values for k in range(1, count + 1)} | {1.0})

    def rejected(level: float) -> set[int]:
        out: set[int] = set()
        for place, index in enumerate(sorted(range(count), key=lambda i: values[i])):
            if values[index] > level / (count - place) + 1e-12:
                break
            out.add(index)
        return out

    return [next((level for level in levels if index in rejected(level)), 1.0) for index in range(count)]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 64).map(lambda one: one / 64), min_size=1, max_size=6))
def test_holm_is_the_smallest_level_that_rejects(values: list[float]) -> None:
    pair = stats.paired({0: 1.0, 1: 2.0}, {0: 0.0, 1: 0.0})
    assert pair is not None
    tests = {str(index): replace(pair, p=p) for index, p in enumerate(values)}
    assert [one.holm for one in stats.holm(tests).values()] == pytest.approx(slow_holm(values))


def test_holm_by_hand() -> None:
    pair = stats.paired({0: 1.0, 1: 2.0}, {0: 0.0, 1: 0.0})
    assert pair is not None
    tests = {name: replace(pair, p=p) for name, p in {"a": 0.01, "b": 0.04, "c": 0.03, "d": None}.items()}
    assert {name: one.holm for name, one in stats.holm(tests).items()} == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": None}
    )


def test_ranks_average_ties_and_know_which_way_is_better() -> None:
    assert stats.ranks({"a": 0.9, "b": 0.7, "c": 0.9}) == {"a": 1.5, "b": 3.0, "c": 1.5}
    assert stats.ranks({"a": 10.0, "b": 2.0}, higher=False) == {"a": 2.0, "b": 1.0}


def test_friedman_by_its_formula() -> None:
    table = [{"a": 3, "b": 2, "c": 1}, {"a": 3, "b": 1, "c": 2}, {"a": 3, "b": 2, "c": 1}, {"a": 2, "b": 3, "c": 1}]
    sums = np.sum([[4 - row[name] for name in "abc"] for row in table], axis=0)
    chi2 = 12 / (4 * 3 * 4) * np.sum(sums**2) - 3 * 4 * 4
    assert stats.friedman(table) == pytest.approx(special.gammaincc(1, chi2 / 2))


@pytest.mark.parametrize("table", [[{"a": 1, "b": 2, "c": 3}], [{"a": 1, "b": 2}] * 4, [{"a": 1, "b": 1, "c": 1}] * 3])
def test_friedman_of_too_little_is_none(table: list[dict[str, float]]) -> None:
    assert stats.friedman(table) is None


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_difference_has_the_published_constants(methods: int, q: float) -> None:
    """Demšar 2006, table 5a."""
    found = stats.critical_difference(methods, 30)
    assert found == pytest.approx(q * math.sqrt(methods * (methods + 1) / (6 * 30)), rel=1e-3)


def test_critical_difference_needs_two_of_either() -> None:
    assert stats.critical_difference(1, 5) is None
    assert stats.critical_difference(5, 1) is None
    assert stats.cliques({"a": 1.0, "b": 1.0}, None) == ()


def test_cliques_by_hand() -> None:
    average = {"d": 4.0, "a": 1.0, "b": 1.5, "c": 2.6}
    assert stats.cliques(average, 1.2) == (("a", "b"), ("b", "c"))
    assert stats.cliques(average, 0.4) == ()
    assert stats.cliques(average, 3.0) == (("a", "b", "c", "d"),)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 20).map(lambda one: one / 4), min_size=1, max_size=6),
    st.integers(0, 20).map(lambda one: one / 4),
)
def test_cliques_are_the_largest_groups_within_the_difference(ranks: list[float], difference: float) -> None:
    average = {str(index): rank for index, rank in enumerate(ranks)}
    groups = [
        frozenset(group)
        for size in range(2, len(ranks) + 1)
        for group in itertools.combinations(average, size)
        if max(average[one] for one in group) - min(average[one] for one in group) <= difference
    ]
    largest = {group for group in groups if not any(group < other for other in groups)}
    assert {frozenset(group) for group in stats.cliques(average, difference)} == largest
