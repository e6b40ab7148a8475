"""The folder of a run: one run in it, one process at a time."""

import subprocess
import sys

import pytest

from noisyrun.api import UserError
from noisyrun.run_folder import RunFolder


def test_a_fresh_folder_is_made_for_each_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = RunFolder.create(None, "sinet"), RunFolder.create(None, "sinet")
    assert one.path != other.path
    assert one.path.parent.name == "runs"
    assert "sinet" in one.path.name


def test_a_folder_that_holds_a_run_is_not_used_for_another(tmp_path):
    folder = RunFolder.create(tmp_path / "out", "x")
    folder.begin({"epochs": 1})
    with pytest.raises(UserError, match=r"holds a run already.*noisyrun resume"):
        RunFolder.create(tmp_path / "out", "x")


def test_a_run_that_failed_before_its_first_checkpoint_makes_way_and_is_kept(tmp_path):
    folder = RunFolder.create(tmp_path / "out", "x")
    folder.begin({"epochs": 1})
    folder.note("failed", error="no such model")
    assert not list(RunFolder.create(tmp_path / "out", "x").path.iterdir())
    assert RunFolder.open(tmp_path / "out-failed").status()["error"] == "no such model"


def test_a_run_that_failed_after_a_checkpoint_keeps_its_folder(tmp_path):
    folder = RunFolder.create(tmp_path / "out", "x")
    folder.begin({"epochs": 1})
    folder.note("failed", error="loss is not finite")
    folder.file("checkpoint.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="holds a run already"):
        RunFolder.create(tmp_path / "out", "x")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--out: cannot make"):
        RunFolder.create(tmp_path / "file" / "out", "x")


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path):
    with pytest.raises(UserError, match="not the folder of a run"):
        RunFolder.open(tmp_path)


def test_status_keeps_the_id_and_says_how_the_run_ended(tmp_path):
    folder = RunFolder.create(tmp_path / "out", "x")
    run_id = folder.begin({"epochs": 1})
    folder.note("interrupted")
    assert folder.status()["run_id"] == run_id
    assert folder.status()["status"] == "interrupted"
    assert RunFolder.open(folder.path).config() == {"epochs": 1}


def test_a_damaged_configuration_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text('{"epochs": ')
    with pytest.raises(UserError, match=r"config.json: cannot be read") as caught:
        RunFolder.open(tmp_path).config()
    assert "\n" not in str(caught.value)


def test_a_second_process_is_refused_while_the_first_runs_and_served_afterwards(tmp_path):
    code = (
        "import sys; from pathlib import Path; from noisyrun.run_folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): print('in')"
    )

    def other():
        return subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)

    with RunFolder(tmp_path).locked():
        refused = other()
    assert refused.returncode != 0
    assert "another noisyrun is running in this folder" in refused.stderr
    assert other().stdout == "in\n"
