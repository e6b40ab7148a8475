"""``torchrun`` on the command line: shared runs, how they end, and how they go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from noisyrun.cli import main
from noisyrun.engine import checkpoint
from noisyrun.torchrun import GONE, launcher, leave_reason

#: Digits, with augmentation; a last batch of 28 samples in three steps of four.
RUN = [
    *("--data.subset", "500", "--batch-size", "64", "--tracking", "none"),
    *("--backbone", "small-cnn", "--backbone.norm", "group", "--backbone.width", "8", "--backbone.depth", "2"),
]
ENOUGH = 240.0


def start(words: list[str], folder: Path, processes: int = 2, *torchrun: str) -> subprocess.Popen[str]:
    """A command in several processes; of one process, as users start it."""
    several = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "0", *torchrun]
    several = [*several, "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    command = [sys.executable, *(several if processes > 1 else []), "-m", "noisyrun", *words]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC")}
    environment = {**quiet, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=ENOUGH)
    return process.returncode, out, err


def done(words: list[str], folder: Path, processes: int = 2, *torchrun: str) -> str:
    code, out, err = ended(start(words, folder, processes, *torchrun))
    assert code == 0, err
    return out


def losses(folder: Path) -> list[float]:
    progress: dict[str, Any] = checkpoint.load(folder / checkpoint.NAME)["progress"]
    return [record["loss"] for record in progress["history"]]


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + ENOUGH
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def workers(process: subprocess.Popen[str]) -> list[int]:
    """The processes that ``torchrun`` started, in the order of ranks."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()

    def rank(pid: str) -> int | None:
        told = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return next((int(one.partition(b"=")[2]) for one in told if one.startswith(b"RANK=")), None)

    ranked = {rank(pid): int(pid) for pid in children}
    return [pid for number, pid in sorted(ranked.items(), key=lambda one: -1 if one[0] is None else one[0]) if pid]


@pytest.mark.slow
def test_the_same_command_on_two_processes_has_the_losses_of_one_and_writes_one_folder(tmp_path):
    judging = [*RUN, "--epochs", "2", "--prototypes", "smp", "--corrector", "smp", "--weighter", "sinet"]
    alone = done([*judging, "--out", "one"], tmp_path, 1)
    shared = done([*judging, "--out", "two"], tmp_path)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert two[0] == pytest.approx(one[0], abs=1e-4)
    assert two == pytest.approx(one, abs=1e-2)
    assert shared.count("after the last epoch") == alone.count("after the last epoch") == 1
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "two")]
    assert summaries[0]["accuracy"]["last"] == pytest.approx(summaries[1]["accuracy"]["last"], abs=0.02)


@pytest.mark.slow
def test_methods_that_need_bags_and_mixes_train_alike_on_two_processes(tmp_path):
    mix = [*RUN, "--corrector", "noisereg", "--clean", "0.1", "--train.warmup-epochs", "0"]
    bags = [*RUN, "--weighter", "urnet-bag", "--train.warmup-epochs", "0"]
    for name, words in {"mix": mix, "bags": bags}.items():
        done([*words, "--epochs", "1", "--out", f"{name}-1"], tmp_path, 1)
        done([*words, "--epochs", "1", "--out", f"{name}-2"], tmp_path)
        assert losses(tmp_path / f"{name}-2") == pytest.approx(losses(tmp_path / f"{name}-1"), abs=1e-4)


@pytest.mark.slow
def test_a_reason_is_told_once_and_torchrun_shows_it(tmp_path):
    code, _, err = ended(start([*RUN, "--dataset", "nowhere", "--out", "x"], tmp_path))
    assert code != 0
    said = [line for line in err.splitlines() if "nowhere" in line and "traceback" not in line]
    assert len(said) == 1
    assert any("traceback" in line and "nowhere" in line for line in err.splitlines())
    assert "noisyrun/" not in err  # no traceback of ours
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_stopped_on_two_processes_a_run_goes_on_with_two_or_with_one(tmp_path):
    done([*RUN, "--epochs", "4", "--out", "whole"], tmp_path, 1)
    stopped = start([*RUN, "--epochs", "4", "--out", "run"], tmp_path)
    wait_for(tmp_path / "run" / checkpoint.NAME, stopped)
    stopped.send_signal(signal.SIGTERM)
    _, _, err = ended(stopped)
    if (tmp_path / "run" / "summary.json").exists():
        pytest.skip("the run had finished before the signal arrived")
    assert err.count("go on with: torchrun --nproc-per-node 2 -m noisyrun resume run") == 1
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "interrupted"
    subprocess.run(["cp", "-r", tmp_path / "run", tmp_path / "copy"], check=True)
    done(["resume", "run"], tmp_path)
    done(["resume", "copy"], tmp_path, 1)
    whole = losses(tmp_path / "whole")
    assert losses(tmp_path / "run") == pytest.approx(whole, abs=1e-2)
    assert losses(tmp_path / "copy") == pytest.approx(whole, abs=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_run_in_a_line_and_torchruns_restart_goes_on(tmp_path, rank):
    process = start([*RUN, "--epochs", "6", "--out", "run"], tmp_path, 2, "--max-restarts", "1")
    wait_for(tmp_path / "run" / checkpoint.NAME, process)
    os.kill(workers(process)[rank - 2], signal.SIGKILL)
    code, out, err = ended(process)
    assert code == 0, err
    assert "going on in run" in out
    assert err.count("another process of the run is gone") <= 1
    assert "Traceback" not in err
    assert len(losses(tmp_path / "run")) == 6


@pytest.mark.slow
def test_a_killed_process_is_the_root_cause_and_the_others_say_how_to_go_on(tmp_path):
    process = start([*RUN, "--epochs", "40", "--out", "run"], tmp_path)
    wait_for(tmp_path / "run" / checkpoint.NAME, process)
    killed = workers(process)[-1]
    os.kill(killed, signal.SIGKILL)
    code, _, err = ended(process)
    assert code == 1
    assert f"(pid: {killed})" in err.partition("Root Cause")[2]
    assert err.count("how it ended; go on with: torchrun --nproc-per-node 2 -m noisyrun resume run\n") == 2  # once here
    told = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (told["status"], told["error"].endswith("resume run")) == ("failed", True)


def test_an_end_that_follows_from_another_is_dated_after_it(tmp_path, monkeypatch):
    dates = []
    for reason in (f"{GONE}; go on with: noisyrun resume run", "no such file"):
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
        leave_reason(reason)
        dates.append(int(json.loads((tmp_path / "error.json").read_text())["message"]["extraInfo"]["timestamp"]))
    assert dates[0] > dates[1] + 1


def test_how_to_go_on_is_a_whole_command_where_one_machine_has_all_processes():
    assert launcher(1, 1) == ""
    assert launcher(4, 4) == "torchrun --nproc-per-node 4 -m "
    assert launcher(4, 2) == "torchrun … -m "


@pytest.mark.parametrize("verb", ["bench", "detect", "plan"])
def test_verbs_for_one_process_are_refused_under_torchrun(verb, monkeypatch, capsys):
    class Alone:
        first = True

        def joined(self):
            from contextlib import nullcontext

            return nullcontext()

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("noisyrun.engine.world.World.of_environment", classmethod(lambda cls: Alone()))
    assert main([verb, "x"]) == 2
    assert f"{verb} is for one process" in capsys.readouterr().err


def test_why_a_command_failed_is_left_where_torchrun_looks_for_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    assert main(["--dataset", str(tmp_path / "nowhere")]) == 2
    told = json.loads((tmp_path / "error.json").read_text())["message"]
    assert told["message"] == capsys.readouterr().err.strip()
    assert int(told["extraInfo"]["timestamp"]) > 0


def test_a_restart_goes_on_in_a_folder_of_its_own_configuration_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [*RUN, "--epochs", "1"]
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    assert main([*words]) == 0
    assert "name it with --out DIR" in capsys.readouterr().err
    assert main([*words, "--out", "run"]) == 0
    assert "name it" not in capsys.readouterr().err
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert main([*words, "--out", "run"]) == 0
    assert "going on in run" in capsys.readouterr().out
    assert main([*words, "--seed", "5", "--out", "run"]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main([*words]) == 2
    assert "name it with --out DIR" in capsys.readouterr().err


def test_too_small_a_batch_for_all_processes_is_refused():
    from noisyrun.api import BAGS, UNIFORM, Stage, UserError
    from noisyrun.engine.stages import refuse_small_batches

    stages = [Stage(name="all", epochs=1)]
    refuse_small_batches(stages, 4, UNIFORM, 4)
    with pytest.raises(UserError, match=r"--batch-size 3: .* 3 samples are too few for 4"):
        refuse_small_batches(stages, 3, UNIFORM, 4)
    with pytest.raises(UserError, match=r"3 bags of 4 are too few for 4"):
        refuse_small_batches(stages, 15, BAGS(4), 4)


SLURM = Path(__file__).parent.parent / "docs" / "several-processes.md"


def slurm_job(folder: Path, status: str) -> list[str]:
    """What the script of the documentation does where a run in the folder ends so: the commands it calls, in order."""
    script = SLURM.read_text(encoding="utf-8").partition("```sh\n")[2].partition("```")[0]
    assert script.startswith("#!/bin/bash\n#SBATCH")
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    said = folder / "said"
    said.unlink(missing_ok=True)
    ends = f'echo \'{{"status": "{status}"}}\' > runs/photos/status.json'
    run = f"mkdir -p runs/photos; touch runs/photos/config.json; {ends}"
    for name, does in {"srun": run, "scontrol": '[ "$1" = show ] && echo node1'}.items():
        (tools / name).write_text(f'#!/bin/bash\necho "{name} $*" >> {said}\n{does}\nexit 0\n')
        (tools / name).chmod(0o755)
    (folder / "job.sh").write_text(script)
    slurm = {"SLURM_CPUS_PER_TASK": "64", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "7"}
    environment = {**os.environ, **slurm, "PATH": f"{tools}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-eu", "job.sh"], cwd=folder, env=environment, check=True)
    return said.read_text().splitlines()


def test_the_slurm_script_begins_goes_on_and_goes_back_into_the_queue(tmp_path):
    show, begun, again = slurm_job(tmp_path, "interrupted")
    assert show == "scontrol show hostnames node[1-2]"
    assert "--nnodes 2" in begun
    assert "--rdzv-endpoint node1:29500 -m noisyrun --dataset /data/photos" in begun
    assert again == "scontrol requeue 7"
    _, resumed = slurm_job(tmp_path, "finished")
    assert resumed.endswith("-m noisyrun resume runs/photos")
    assert len(slurm_job(tmp_path, "failed")) == 2  # would fail again
