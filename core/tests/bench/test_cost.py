"""What a suite may take: told by what like cells took, and where there are none by plain training."""

from __future__ import annotations

import pytest

from noisyrun.bench.cost import costs
from noisyrun.bench.plan import Cell, Plan
from noisyrun.bench.store import Place, Result, Results
from noisyrun.bench.suite import Suite

SUITE = Suite.model_validate(
    {
        "title": "A suite",
        "seeds": 2,
        "data": [{"name": "small"}, {"name": "large"}],
        "method": [{"name": "plain"}, {"name": "A", "weighter": "a"}],
    }
)
CELLS = [
    Cell(f"{d}-{m}-{s}", Place(method=m, data=d, noise="none", seed=s, cell=f"{d}-{m}-{s}"), None, {})
    for s in (0, 1)
    for d in ("small", "large")
    for m in ("plain", "A")
]
PLAN = Plan(SUITE, tuple(cell.place for cell in CELLS), {cell.id: cell for cell in CELLS})


@pytest.fixture
def results(tmp_path) -> Results:
    return Results(tmp_path)


def took(results: Results, cell: str, seconds: float) -> None:
    results.keep(Result(cell=cell, status="finished", measures={"seconds.total": seconds}))


def never(cell: Cell) -> float | None:
    raise AssertionError(f"{cell.id} was measured")


def test_before_anything_ran_all_methods_count_as_plain_training(results):
    asked: list[str] = []

    def price(cell: Cell) -> float:
        asked.append(cell.id)
        return {"small": 2.0, "large": 20.0}[cell.place.data]

    known = costs(results, PLAN, price)
    assert sorted(asked) == ["large-plain-0", "small-plain-0"]  # once for each data set
    assert known.total(CELLS) == 2 * (2 * 2.0 + 2 * 20.0)
    assert known.describe(CELLS) == "8 as plain training, whatever the method adds"
    assert costs(results, PLAN, never).seconds == known.seconds  # kept for the next start


def test_what_ran_tells_of_what_is_like_it(results):
    took(results, "small-plain-0", 1.0)
    took(results, "small-A-0", 3.0)
    took(results, "large-plain-0", 10.0)
    known = costs(results, PLAN, never)
    assert known.seconds["small-A-1"] == 3.0
    assert known.seconds["large-A-0"] == 30.0  # three times plain training, as on the small data
    left = [cell for cell in CELLS if results.result(cell.id) is None]
    assert known.describe(left) == "3 as cells like them took; 2 by the method's multiple of plain training"


def test_nothing_is_said_of_what_nothing_is_known_of(results):
    known = costs(results, PLAN, None)
    assert known.seconds == {}
    assert known.describe(CELLS) == "8 unknown until one like them has run"
    assert costs(results, PLAN, lambda cell: None).seconds == {}
