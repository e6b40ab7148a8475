"""Energy from the drivers' counters, made of files; and what happens where they are not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from noisyrun.engine import energy
from noisyrun.engine.energy import EnergyMeter, cpu_counters

CPU = torch.device("cpu")


def zone(root: Path, folder: str, name: str, microjoules: int, span: int = 1_000_000_000) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    (path / "max_energy_range_uj").write_text(f"{span}\n")
    return path / "energy_uj"


def test_packages_are_added_up_and_their_parts_left_out(tmp_path):
    first = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    for folder, name in (("intel-rapl:0:0", "core"), ("intel-rapl:2", "psys"), ("intel-rapl-mmio:0", "package-0")):
        zone(tmp_path, folder, name, 0)
    (tmp_path / "intel-rapl").mkdir()  # the interface itself, without counters
    meter = EnergyMeter(CPU, powercap=tmp_path)
    for file in tmp_path.glob("*/energy_uj"):
        file.write_text("9000000")
    first.write_text("7000000")
    second.write_text("500000")
    meter.read()
    assert meter.joules == {"cpu": pytest.approx(2.5)}
    second.write_text("1500000")
    meter.read()
    assert meter.joules == {"cpu": pytest.approx(3.5)}


def test_a_counter_that_starts_anew_goes_on(tmp_path):
    file = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000, span=10_000_000)
    meter = EnergyMeter(CPU, powercap=tmp_path)
    file.write_text("2000000")
    meter.read()
    assert meter.joules == {"cpu": pytest.approx(3.0)}


def test_what_cannot_be_read_is_not_there(tmp_path):
    meter = EnergyMeter(CPU, powercap=tmp_path / "none")
    meter.tick()
    meter.read()
    assert meter.joules == {}
    zone(tmp_path, "intel-rapl:0", "package-0", 0).unlink()
    assert EnergyMeter(CPU, powercap=tmp_path).joules == {}
    with pytest.raises(OSError):
        cpu_counters(tmp_path)


def test_half_of_a_run_does_not_pass_for_the_whole(tmp_path):
    file = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = EnergyMeter(CPU, powercap=tmp_path)
    file.write_text("1000000")
    meter.read()
    assert meter.joules == {"cpu": 1.0}
    file.write_text("nonsense")
    meter.read()
    assert meter.joules == {}
    file.write_text("4000000")
    meter.read()
    assert meter.joules == {}


def test_a_resumed_run_goes_on_with_what_was_counted_from_its_beginning(tmp_path):
    file = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    joules = {"cpu": 10.0, "gpu": 5.0}
    meter = EnergyMeter(CPU, joules, resumed=True, powercap=tmp_path)
    file.write_text("1000000")
    meter.read()
    assert joules == {"cpu": 11.0}  # there is no GPU to go on with
    late: dict[str, float] = {}
    meter = EnergyMeter(CPU, late, resumed=True, powercap=tmp_path)
    meter.read()
    assert late == {}


def test_counters_are_read_now_and_then(tmp_path, monkeypatch):
    file = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    clock = [100.0]
    monkeypatch.setattr(energy.time, "monotonic", lambda: clock[0])
    meter = EnergyMeter(CPU, powercap=tmp_path)
    file.write_text("1000000")
    clock[0] += energy.EVERY - 1
    meter.tick()
    assert meter.joules == {}
    clock[0] += 1
    meter.tick()
    assert meter.joules == {"cpu": 1.0}


class Driver:
    """The driver's library: two GPUs by identity, and a counter in millijoules."""

    def __init__(self, status: int = 0) -> None:
        self.status, self.millijoules = status, 1000

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetHandleByUUID(self, identity: bytes, handle: object) -> int:
        self.identity = identity
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object, value: object) -> int:
        value._obj.value = self.millijoules
        return self.status


@pytest.fixture
def driver(monkeypatch):
    made = Driver()
    monkeypatch.setattr(energy.ctypes, "CDLL", lambda name: made)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: type("Of", (), {"uuid": "12-34"}))
    return made


def test_a_gpu_is_asked_for_by_its_identity(driver, tmp_path):
    meter = EnergyMeter(torch.device("cuda"), powercap=tmp_path)
    driver.millijoules = 3500
    meter.read()
    assert driver.identity == b"GPU-12-34"
    assert meter.joules == {"gpu": 2.5}


def test_a_gpu_that_does_not_count_is_left_out(driver, tmp_path):
    driver.status = 3  # not supported
    meter = EnergyMeter(torch.device("cuda"), powercap=tmp_path)
    meter.read()
    assert meter.joules == {}


def test_without_a_driver_there_is_no_gpu_to_read(monkeypatch, tmp_path):
    def no_library(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(energy.ctypes, "CDLL", no_library)
    assert EnergyMeter(torch.device("cuda"), powercap=tmp_path).joules == {}
