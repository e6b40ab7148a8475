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


def start_at_once(out, count, prepare=None):
    """So many processes that start a run in one folder at the same moment; what each comes to."""
    code = (
        "import sys, time; from pathlib import Path; from noisyrun.run_folder import RunFolder\n"
        "from noisyrun.api import UserError\n"
        "out, go = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "print('ready', flush=True)\n"
        "while not go.exists(): pass\n"
        "try:\n"
        "    folder = RunFolder.create(out, 'x')\n"
        "    with folder.locked(): folder.begin({'epochs': 1}); time.sleep(0.02)\n"
        "except UserError as error: print(error)\n"
        "else: print('began')\n"
    )
    go = out.parent / "go"
    command = [sys.executable, "-c", code, str(out), str(go)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    for one in started:
        assert one.stdout.readline() == "ready\n"
    go.touch()
    return [one.communicate(timeout=60)[0].strip() for one in started]


@pytest.mark.parametrize("failed", [False, True])
def test_of_many_that_start_at_once_in_one_folder_exactly_one_begins(tmp_path, failed):
    out = tmp_path / "out"
    if failed:  # a run that makes way for them
        RunFolder.create(out, "x").begin({"epochs": 9})
        RunFolder(out).note("failed")
    told = start_at_once(out, 8)
    assert told.count("began") == 1
    assert all("holds a run already" in one or "another noisyrun" in one for one in told if one != "began")
    assert RunFolder.open(out).config() == {"epochs": 1}
    assert RunFolder.open(out).status()["status"] == "running"
    if failed:
        assert RunFolder.open(tmp_path / "out-failed").config() == {"epochs": 9}
        assert not (tmp_path / "out-failed-2").exists()


def test_a_file_system_without_locks_is_warned_of_and_not_taken_for_another_run(tmp_path, monkeypatch):
    import errno
    import fcntl

    def no_locks(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    heard = []
    with RunFolder(tmp_path).locked(heard.append):
        pass
    assert len(heard) == 1
    assert "has no locks" in heard[0]


def test_a_folder_that_was_put_aside_is_not_taken_for_the_one_in_its_place(tmp_path, monkeypatch):
    from noisyrun import run_folder

    out, taken = tmp_path / "out", []
    out.mkdir()
    take_lock = run_folder.take_lock

    def slow(handle):
        if not taken:  # another process puts the folder aside between opening the lock and taking it
            out.rename(tmp_path / "aside")
            out.mkdir()
        taken.append(take_lock(handle))
        return taken[-1]

    monkeypatch.setattr(run_folder, "take_lock", slow)
    with RunFolder(out).locked():
        assert len(taken) == 2
        assert (out / ".lock").exists()
