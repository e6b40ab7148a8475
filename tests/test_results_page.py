"""The page of results is what the kept files say, and a kept file is what a results folder holds."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def load(path: Path) -> ModuleType:
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location(f"noisyrun_tests_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, keeping files in a folder of the test."""
    module = load(ROOT / "scripts" / "results_page.py")
    monkeypatch.setattr(module, "KEPT", tmp_path / "kept")
    return module


def test_the_page_is_what_the_kept_files_say() -> None:
    made = load(ROOT / "scripts" / "results_page.py")
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), "run python scripts/results_page.py"


def test_every_kept_result_names_command_date_machine_and_versions() -> None:
    files = sorted((ROOT / "docs" / "benchmarks" / "kept").glob("*.json"))
    assert files
    for file in files:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if "measures" not in kept:  # of no suite: it has a page of its own
            continue
        assert kept["command"].startswith("noisyrun bench "), file.name
        assert kept["started"], file.name
        assert kept["machines"], file.name
        assert {"noisyrun", "python", "torch"} <= set(kept["versions"]), file.name


def test_what_is_kept_comes_back_on_the_page(results_page: Any, tmp_path: Path) -> None:
    fakes = load(ROOT / "core" / "tests" / "bench" / "bench_fakes.py")
    suite = fakes.suite(
        title="Digits | of *all* kinds",
        about="Made by `a_script.py`, not by_hand.",
        data=[{"name": "digits"}, {"name": "letters"}],
        claim=[{"text": "A is better.", "source": "a paper", "better": "A", "worse": "B"}],
    )

    def outcome(position: Any) -> Any:
        if position.method == "B" and position.seed == 1:
            return "out of memory"
        return fakes.summary({"A": 0.9}.get(position.method, 0.8) + 0.001 * position.seed**2)

    results = fakes.folder(tmp_path / "results", suite, outcome)
    kept = json.loads(results_page.keep(results.path, "digits", ["seconds.total"]).read_text(encoding="utf-8"))
    assert kept["comparisons"][0]["rows"][1]["values"]["accuracy.best_noisy_val"]["n"] == 3
    page = results_page.page()
    assert "## Digits \\| of \\*all\\* kinds" in page
    assert "Made by `a_script.py`, not by\\_hand." in page
    assert "| A | **90.17 ± 0.21** ▲ | **90.17 ± 0.21** ▲ | 1.0 | 1.00 |" in page
    assert "**Seconds, s**" in page
    assert "2 of 3 seeds: seed 1 failed: out of memory" in page
    assert "| A is better. | a paper |" in page


def test_folders_of_whoever_ran_a_suite_are_left_out(results_page: Any) -> None:
    said = results_page._command("noisyrun bench suites/a.toml --out /home/someone/r --data '/data of/me' --jobs 2")
    assert said == "noisyrun bench suites/a.toml --out results --data DATA --jobs 2"
