"""A whole run, from its configuration to what it leaves, on a few digits."""

import json
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
import torch

import noisyrun
from noisyrun.api import UserError
from noisyrun.engine import checkpoint
from noisyrun.report.console import Console

FEW = {"tracking": "none", "data.subset": 200, "epochs": 2, "backbone": "small-cnn", "backbone.width": 4}


@pytest.fixture
def quiet():
    return Console(quiet=True)


def test_a_run_leaves_what_it_promises(tmp_path, quiet):
    out = tmp_path / "out"
    run = noisyrun.run(FEW | {"out": str(out)}, console=quiet)
    kept = {path.name for path in out.iterdir()}
    assert {"summary.json", "labels.parquet", "config.json", "status.json", "noise.parquet"} <= kept
    assert json.loads((out / "status.json").read_text())["status"] == "finished"
    assert json.loads((out / "summary.json").read_text()) == run.summary
    assert set(run.summary["accuracy"]) == {"last", "best_noisy_val", "oracle"}
    assert run.summary["label_accuracy"]["before"] == pytest.approx(0.6, abs=0.1)
    assert run.summary["label_accuracy"]["after"] is None
    assert len(run.history) == 2
    assert len(run.labels) == pq.read_metadata(out / "labels.parquet").num_rows == run.summary["data"]["train"]
    assert (run.labels["weight"] == 1).all()
    with torch.no_grad():
        assert run.network.predict(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_the_baseline_is_the_same_run_without_methods(tmp_path, quiet):
    plain = noisyrun.run(FEW | {"out": str(tmp_path / "plain")}, console=quiet)
    run = noisyrun.run(FEW | {"out": str(tmp_path / "both"), "baseline": True}, console=quiet)
    assert run.summary["baseline"]["accuracy"] == plain.summary["accuracy"]
    again = noisyrun.resume(tmp_path / "both", console=quiet)
    assert again.summary["baseline"]["accuracy"] == plain.summary["accuracy"]


def test_a_finished_run_resumed_gives_its_results_again(tmp_path, quiet):
    run = noisyrun.run(FEW | {"out": str(tmp_path / "out")}, console=quiet)
    again = noisyrun.resume(tmp_path / "out", console=quiet)
    assert again.summary["accuracy"] == run.summary["accuracy"]
    assert again.summary["run_id"] == run.summary["run_id"]


def test_a_changed_configuration_is_refused_on_resume(tmp_path, quiet):
    out = tmp_path / "out"
    noisyrun.run(FEW | {"out": str(out)}, console=quiet)
    config = json.loads((out / "config.json").read_text())
    config["batch_size"] = 7
    (out / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"another configuration \(batch_size"):
        noisyrun.resume(out, console=quiet)
    assert json.loads((out / "status.json").read_text())["status"] == "failed"


def test_bad_input_leaves_no_folder(tmp_path, quiet):
    with pytest.raises(UserError):
        noisyrun.run(FEW | {"out": str(tmp_path / "out"), "dataset": str(tmp_path / "none")}, console=quiet)
    assert not (tmp_path / "out").exists()


def test_precision_that_the_device_lacks_leaves_no_folder(tmp_path, quiet):
    with pytest.raises(UserError, match=r"^--train.amp: fp16 needs a GPU"):
        noisyrun.run(FEW | {"out": str(tmp_path / "out"), "device": "cpu", "train.amp": "fp16"}, console=quiet)
    assert not (tmp_path / "out").exists()


def start(out, *more):
    words = ["--tracking", "none", "--data.subset", "400", "--epochs", "6", "--backbone", "small-cnn"]
    words += ["--backbone.width", "4", "--out", str(out), *more]
    return subprocess.Popen(
        [sys.executable, "-m", "noisyrun", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path, process, seconds=120.0):
    until = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def final(out):
    saved = checkpoint.load(out / checkpoint.NAME)
    assert saved["progress"]["epochs"] == 6
    return saved["network"]


def assert_equal(one, other):
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_killed_or_interrupted_anywhere_and_resumed_it_ends_in_the_same_weights(tmp_path, monkeypatch, quiet):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        unbroken = start(tmp_path / "unbroken")
        assert unbroken.communicate()[1] is not None
        assert unbroken.returncode == 0

        killed = start(tmp_path / "killed")
        wait_for(tmp_path / "killed" / checkpoint.NAME, killed)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        noisyrun.resume(tmp_path / "killed", console=quiet)

        stopped = start(tmp_path / "stopped")
        wait_for(tmp_path / "stopped" / checkpoint.NAME, stopped)
        stopped.send_signal(signal.SIGTERM)
        _, said = stopped.communicate()
        if stopped.returncode == 130:  # else it had finished before the signal arrived
            assert "noisyrun resume stopped" in said
            assert json.loads((tmp_path / "stopped" / "status.json").read_text())["status"] == "interrupted"
        noisyrun.resume(tmp_path / "stopped", console=quiet)
    finally:
        torch.set_num_threads(threads)
    want = final(tmp_path / "unbroken")
    assert_equal(final(tmp_path / "killed"), want)
    assert_equal(final(tmp_path / "stopped"), want)


@pytest.mark.parametrize(
    ("setting", "said"),
    [({"bank.memory": "1KB"}, "too small to work with"), ({"bank.residence": "gpu"}, "gpu needs a GPU")],
)
def test_a_feature_bank_that_cannot_be_is_refused_before_anything_is_written(tmp_path, quiet, setting, said):
    with pytest.raises(UserError, match=rf"^--bank\..*{said}"):
        noisyrun.run(FEW | setting | {"out": str(tmp_path / "out"), "device": "cpu"}, console=quiet)
    assert not (tmp_path / "out").exists()
