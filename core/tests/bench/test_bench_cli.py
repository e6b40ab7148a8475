"""``noisyrun bench`` and ``noisyrun ui``."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from noisyrun.bench.store import is_volatile
from noisyrun.cli import main

ROOT = Path(__file__).resolve().parents[3]
SMOKE = ROOT / "benchmarks" / "suites" / "smoke.toml"


@pytest.fixture
def cli(capsys):
    """Run a command; its exit code, stdout and stderr."""

    def command(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return command


def test_a_suite_runs_and_runs_nothing_twice(cli, tmp_path):
    out = tmp_path / "results"
    words = ["bench", SMOKE, "--out", out, "--tracking", "none", "--no-cost", "--seeds", "1", "--set", "epochs=2"]
    words += ["--set", "data.subset=200"]
    code, said, _ = cli(*words)
    assert code == 0
    assert "4 cells, 0 ended, 4 left" in said
    assert "[4/4]" in said
    first = (out / "results.csv").read_text()
    rows = list(csv.DictReader(first.splitlines()))
    assert next(row["method"] for row in rows) == "cross entropy"
    assert {row["status"] for row in rows} == {"finished"}
    assert all(0 <= float(row["accuracy.best_noisy_val"]) <= 1 for row in rows)
    assert {row["machine.threads"] for row in rows} != {""}
    assert not all(is_volatile(name) for name in rows[0])
    assert not list(out.glob("cells/*/run/checkpoint.safetensors"))

    code, said, _ = cli(*words)
    assert code == 0
    assert "4 cells, 4 ended, 0 left" in said
    assert "[4/4]" not in said
    assert (out / "results.csv").read_text() == first


def test_a_plan_shows_the_cells_and_writes_nothing(cli, tmp_path):
    code, said, _ = cli("bench", SMOKE, "--out", tmp_path / "results", "--plan", "--no-cost", "--shard", "1/2")
    assert code == 0
    assert "cross entropy" in said
    assert "2 missing" in said
    assert "8 cells, 0 ended, 8 left; 8 unknown until one like them has run" in said
    assert "here 4 of them" in said
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([SMOKE], "bench: the following arguments are required: --out"),
        ([SMOKE, "--out", "r", "--shard", "3/2"], "bench: argument --shard: must be I/N, as in 1/2 (got '3/2')"),
        ([SMOKE, "--out", "r", "--set", "epochs"], "bench: argument --set: must be KEY=VALUE, as in device=cuda"),
        ([SMOKE, "--out", "r", "--seeds", "x"], "bench: argument --seeds: must be a number, or numbers with commas"),
        ([SMOKE, "--out", "r", "--seeds", "0"], "bench: argument --seeds: must be at least 1"),
        ([SMOKE, "--out", "r", "--jobs", "0"], "bench: argument --jobs: must be a number from 1 (got '0')"),
        ([SMOKE, "--out", "r", "--only", "nobody"], "--only: no cell is called 'nobody'"),
        ([SMOKE, "--out", "r", "--set", "epoch=3"], "cross entropy: --set: epoch"),
        (["absent.toml", "--out", "r"], "no suite absent.toml"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_no_folder(cli, tmp_path, monkeypatch, words, line):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("bench", *words)
    assert code == 2
    assert err.startswith(line), err
    assert not (tmp_path / "r").exists()


def test_bench_help_and_plans_import_no_torch():
    program = "import sys; from noisyrun.cli import main; code = main(sys.argv[1:]); "
    program += "print([name for name in ('torch', 'mlflow', 'pandas', 'scipy') if name in sys.modules]); sys.exit(code)"
    words = ["bench", str(SMOKE), "--out", "nowhere", "--plan", "--no-cost"]
    for given in (["bench", "--help"], ["ui", "--help"], words):
        done = subprocess.run([sys.executable, "-c", program, *given], capture_output=True, text=True, check=True)
        assert done.stdout.strip().splitlines()[-1] == "[]", given


def test_ui_opens_the_store_of_a_results_folder(cli, tmp_path, monkeypatch):
    ran: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda program, words: ran.append(words))
    monkeypatch.setattr("noisyrun.cli.ui.find_spec", lambda name: object())
    (tmp_path / "mlflow.db").touch()
    assert cli("ui", tmp_path, "--port", "5001")[0] == 0
    opened = ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--port", "5001"]
    assert ran == [[sys.executable, "-m", "mlflow", "ui", *opened]]


def test_ui_says_what_is_missing(cli, tmp_path, monkeypatch):
    code, _, err = cli("ui", tmp_path)
    assert (code, err.strip()) == (
        2,
        f"ui: {tmp_path} holds nothing that MLflow recorded; name the folder of a suite's results or of runs",
    )
    monkeypatch.setattr("noisyrun.cli.ui.find_spec", lambda name: None)
    (tmp_path / "mlflow.db").touch()
    assert cli("ui", tmp_path)[2].strip() == "ui: MLflow is not installed: pip install 'noisyrun[mlflow]'"
