"""The papers' tables as suites: every one there in its full and its small form, and each row a run that can start."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from types import ModuleType

import pytest

from noisyrun.bench.positions import Position, positions
from noisyrun.bench.suite import Suite, load
from noisyrun.config.resolve import resolve
from noisyrun.plugins import discover
from noisyrun.registry import Registry

ROOT = Path(__file__).resolve().parents[1]
SUITES = ROOT / "benchmarks" / "suites" / "papers"
PAGE = ROOT / "docs" / "benchmarks" / "papers.md"

#: The tables and figures that stand as suites, by paper.
TABLES = {
    "sinet": ("table1", "table2", "table3", "table4", "table5", "table7", "table8", "table9"),
    "smp": ("table1", "table2", "table3", "table4", "table5", "figure4b", "figure4c"),
    "cleannet": ("table2", "table3", "table4", "figure5", "figure6", "table6"),
    "noisereg": ("table2", "table3", "table4", "table5"),
    "urnet": ("figure7", "table1"),
}

FULL = [f"{paper}-{table}" for paper, tables in TABLES.items() for table in tables]
FILES = sorted(path.name for path in SUITES.glob("*.toml"))


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


def suite(name: str) -> Suite:
    return load(SUITES / f"{name.removesuffix('.toml')}.toml", Path("data"))


def first_seed(of: Suite) -> list[Position]:
    return [place for place in positions(of) if place.seed == of.seeds[0]]


@pytest.mark.parametrize("name", FULL)
def test_a_table_is_there_in_its_full_and_its_small_form(name: str) -> None:
    full, small = suite(name), suite(f"{name}-small")
    assert {claim.text for claim in small.claim} == {claim.text for claim in full.claim}
    assert full.claim, "what does the paper say of this table?"
    assert full.published, "what are the paper's figures?"
    assert small.differs
    assert small.differs != full.differs


@pytest.mark.parametrize("file", FILES)
def test_every_place_of_a_papers_table_is_a_run_that_can_start(file: str, registry: Registry) -> None:
    made = suite(file)
    for place in first_seed(made):
        sockets = place.config(registry).sockets
        judged = bool(sockets["weighter"] or sockets["corrector"])
        assert judged == (place.method not in {entry.name for entry, _ in made.methods if entry.plain})


@pytest.mark.parametrize("file", FILES)
def test_claims_and_figures_of_a_paper_name_methods_that_run(file: str) -> None:
    made = suite(file)
    run = {entry.name for entry, _ in made.methods} | {entry.name for entry in made.method if entry.sweep}
    named = [name for claim in made.claim for name in (claim.better, claim.worse, claim.sweep) if name]
    assert set(named) <= run
    for row in made.published:
        assert set(row.figures) <= run
        assert not set(row.others) & set(row.figures)
        assert all(0 < value <= 100 for value in (*row.figures.values(), *row.others.values()))


@pytest.mark.parametrize("file", FILES)
def test_methods_of_a_table_train_the_same_network_on_the_same_views(file: str, registry: Registry) -> None:
    for data, places in groupby(first_seed(suite(file)), key=lambda place: place.comparison):
        made = [place.config(registry) for place in places]
        for part in ("backbone", "augment", "batch_size", "dataset"):
            kinds = {repr(config.as_dict()[part]) for config in made}
            assert len(kinds) == 1, f"{data}: {part} differs between methods"


def test_smps_rows_train_as_its_recipe_says(registry: Registry) -> None:
    recipe = resolve({"recipe": "smp", "tracking": "none"}, registry=registry).as_dict()
    (row,) = (place for place in first_seed(suite("smp-table1")) if place.method == "SMP")
    table = row.config(registry).as_dict()
    assert table["prototypes"] == recipe["prototypes"]
    assert table["corrector"] == recipe["corrector"]
    assert table["backbone"] == recipe["backbone"]
    assert table["epochs"] == recipe["epochs"]
    for setting in ("optimizer", "schedule", "label_phase_every"):
        assert table["train"][setting] == recipe["train"][setting]
    assert recipe["train"]["warmup_epochs"] == table["epochs"] // 3, "a third, which is what a run does by default"


def test_the_page_of_the_papers_tables_is_what_the_suites_say(script: Callable[[str], ModuleType]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [file for file in FILES if f"`{file}`" not in text] == []
    assert script("papers").page() == text, "run python scripts/papers.py"
