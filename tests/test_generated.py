"""Pages and records that are made from the code say what the code says."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
CONFORMANCE = ROOT / "docs" / "authoring" / "conformance.md"


def script(name: str) -> ModuleType:
    """A script of the folder `scripts`, as a module."""
    spec = importlib.util.spec_from_file_location(f"noisyrun_scripts_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_table_of_combinations_is_what_the_plan_says() -> None:
    composition = script("composition")
    assert composition.PAGE.read_text(encoding="utf-8") == composition.page(), "run python scripts/composition.py"


def test_the_table_of_published_data_sets_is_what_the_check_says() -> None:
    table = script("layouts_table")
    assert table.PAGE.read_text(encoding="utf-8") == table.page(), "run python scripts/layouts_table.py"


def test_the_list_of_checks_is_what_the_suite_holds() -> None:
    text = CONFORMANCE.read_text(encoding="utf-8")
    assert script("conformance_table").page(text) == text, "run python scripts/conformance_table.py"


def test_the_examples_of_the_conformance_page_pass_as_they_stand(tmp_path: Path) -> None:
    blocks = re.findall(r"<!-- file -->\n```python\n(.*?)```", CONFORMANCE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    assert len([line for line in blocks[1].splitlines() if line.strip()]) == 4
    file = tmp_path / "test_example.py"
    file.write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    found = re.search(r"(\d+) passed, .*(\d+) xfailed", done.stdout)
    assert found is not None
    assert int(found[1]) > 60
    assert int(found[2]) == 2


def test_the_page_of_settings_is_what_help_says() -> None:
    settings = script("settings")
    assert settings.PAGE.read_text(encoding="utf-8") == settings.page(), "run python scripts/settings.py"


def test_the_page_on_large_sizes_is_what_was_measured_and_its_arithmetic() -> None:
    scale = script("scale")
    assert scale.PAGE.read_text(encoding="utf-8") == scale.page(), "run python scripts/scale.py"


def test_large_sizes_are_floors_worked_by_hand() -> None:
    scale = script("scale")
    size = scale.Size("", 1e6, 1000, 100, 1)
    work = scale.Work("", scale.bank_bytes, lambda s: 2 * s.n * s.c * s.d, "", "")
    assert scale.floor(work, size, 1e9, 1e9, 1e15) == 2.0  # 2 GB at 1 GB/s
    assert scale.floor(work, size, 1e12, 1e12, 1e11) == 2.0  # 2e11 operations at 1e11 a second
