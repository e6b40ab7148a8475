"""From a suite to cells: each once, and each to one machine."""

from __future__ import annotations

import pytest

from noisyrun.api import UserError
from noisyrun.bench.plan import Cell, accept, expand, select, share, state
from noisyrun.bench.store import Place, Result, Results
from noisyrun.bench.suite import Suite
from noisyrun.plugins import Switches, discover


@pytest.fixture(scope="module")
def registry():
    return discover(Switches.of())


def suite(**values) -> Suite:
    return Suite.model_validate(
        {
            "title": "A suite",
            "seeds": 2,
            "data": [{"name": "digits", "dataset": "digits", "noise": "symmetric:0.4"}],
            "method": [{"name": "A", "weighter": "urnet-class"}],
            **values,
        }
    )


def cells(methods: int, data: int, seeds: int) -> list[Cell]:
    return [
        Cell(f"{d}-{m}-{s}", Place(method=f"M{m}", data=f"D{d}", noise="none", seed=s, cell="x"), None, {})
        for s in range(seeds)
        for d in range(data)
        for m in range(methods)
    ]


def test_every_position_has_a_cell_and_seeds_run_one_after_the_other(registry):
    plan = expand(suite(), registry)
    assert [(place.method, place.seed) for place in plan.places] == [
        ("cross entropy", 0),
        ("cross entropy", 1),
        ("A", 0),
        ("A", 1),
    ]
    assert [cell.place.seed for cell in plan.cells.values()] == [0, 0, 1, 1]


def test_positions_that_ask_for_the_same_share_a_cell(registry):
    chosen = {"prototypes": "smp", "weighter": "sinet"}
    swept = {"name": "B", **chosen, "sweep": {"epochs": [3, 4]}}
    plan = expand(suite(method=[{"name": "A", **chosen, "epochs": 3}, swept], seeds=1), registry)
    by_method = {place.method: place.cell for place in plan.places}
    assert by_method["A"] == by_method["B (epochs=3)"] != by_method["B (epochs=4)"]
    assert len(plan.cells) == len(plan.places) - 1


def test_everything_wrong_is_said_at_once_one_line_a_method(registry):
    wrong = [{"name": "A", "weighter": "absent"}, {"name": "B", "weighter": "sinet", "weighter.alpha": "x"}]
    with pytest.raises(UserError) as caught:
        expand(suite(method=wrong), registry)
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["A", "B"]


def test_data_that_are_not_there_are_said_once(registry, tmp_path):
    absent = [{"name": "photos", "dataset": str(tmp_path / "absent.npz")}]
    with pytest.raises(UserError) as caught:
        expand(suite(data=absent), registry)
    assert str(caught.value) == f"data photos: --dataset: no file or folder {tmp_path / 'absent.npz'}"


def test_noise_that_nobody_knows_is_refused_before_any_cell(registry):
    with pytest.raises(UserError) as caught:
        expand(suite(data=[{"name": "digits", "dataset": "digits", "noise": ["symetric:0.4"]}]), registry)
    assert "unknown kind 'symetric'" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_settings_over_all_cells_make_other_cells(registry):
    plain, other = expand(suite(), registry), expand(suite(), registry, {"epochs": 3})
    assert not set(plain.cells) & set(other.cells)
    assert {cell.config.settings.epochs for cell in other.cells.values()} == {3}
    with pytest.raises(UserError, match="--set: nonsense"):
        expand(suite(), registry, {"nonsense": 3})


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(4, 4, 1), (3, 1, 3), (4, 2, 2), (1, 1, 2)])
def test_shards_have_every_cell_once_and_their_part_of_each_method(shape, count):
    every = cells(*shape)
    parts = [share(every, index, count) for index in range(count)]
    assert sorted(cell.id for part in parts for cell in part) == sorted(cell.id for cell in every)
    methods = {cell.place.method for cell in every}
    for method in methods:
        held = [sum(cell.place.method == method for cell in part) for part in parts]
        assert max(held) - min(held) <= 1, (method, held)


def test_a_word_selects_a_method_or_a_method_on_data():
    every = cells(2, 2, 1)
    assert {cell.id for cell in select(every, ["M1"])} == {"0-1-0", "1-1-0"}
    assert {cell.id for cell in select(every, ["*/D1", "M0/D0/none"])} == {"1-0-0", "1-1-0", "0-0-0"}
    assert select(every, []) == every
    with pytest.raises(UserError, match="--only: no cell is called 'M2'; methods: M0, M1"):
        select(every, ["M2"])


def test_a_cell_is_missing_running_or_what_came_of_it(tmp_path):
    results = Results(tmp_path)
    assert state(results, "a") == "missing"
    with results.claim("a"):
        assert state(results, "a") == "running"
    results.keep(Result(cell="a", status="timeout"))
    assert state(results, "a") == "timeout"


def test_results_of_other_code_stand_for_cells_that_have_none(registry, tmp_path):
    results, plan = Results(tmp_path), expand(suite(seeds=1), registry)
    first, second = plan.cells.values()
    for name, cell, status in (("old", first, "finished"), ("older", first, "finished"), ("bad", second, "failed")):
        results.describe(name, {**cell.what, "code": {"noisyrun": name}})
        results.keep(Result(cell=name, status=status, ended="2026-01-02" if name == "old" else "2026-01-01"))
    taken = accept(plan, results)
    assert [place.cell for place in taken.places] == ["old", second.id]
    assert list(taken.cells) == ["old", second.id]

    results.keep(Result(cell=first.id, status="failed"))
    assert accept(plan, results) == plan  # what this code made comes first, whatever came of it
