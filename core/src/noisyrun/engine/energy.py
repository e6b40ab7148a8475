"""Joules that devices used, from the counters of their drivers. Where there is none, or it may not be read, nothing."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch

#: Where Linux shows the energy counters of CPU packages (RAPL).
POWERCAP = Path("/sys/class/powercap")
#: Seconds between two readings: counters of CPU packages start anew after some minutes under full load.
EVERY = 30.0

#: Reads a counter in joules.
Read = Callable[[], float]


class Counter:
    """Adds up what a counter goes forward.

    Parameters
    ----------
    read
        The counter in joules.
    span
        Joules after which it starts anew at 0; None where it never does.
    """

    def __init__(self, read: Read, span: float | None = None) -> None:
        self._read = read
        self._span = span
        self._last = read()

    def gone(self) -> float:
        """Joules since this was last asked."""
        now = self._read()
        step, self._last = now - self._last, now
        if step >= 0:
            return step
        return max(0.0, step + self._span) if self._span else 0.0


class EnergyMeter:
    """Adds up the energy of the devices that a run computes on, whatever else they do in that time.

    Nothing here raises: a counter that cannot be read is left out, from then on and for what it told before.

    Parameters
    ----------
    device
        Of the run; on a GPU its counter is read beside those of the CPU packages.
    joules
        Sums by kind of device, ``cpu`` and ``gpu``.
    resumed
        Go on from those sums: what was not counted so far stays uncounted.
    powercap
        Folder of the CPU packages' counters.
    """

    def __init__(
        self,
        device: torch.device,
        joules: dict[str, float] | None = None,
        *,
        resumed: bool = False,
        powercap: Path = POWERCAP,
    ) -> None:
        self.joules = {} if joules is None else joules
        self._counters: dict[str, list[Counter]] = {}
        with suppress(OSError, ValueError):
            if packages := cpu_counters(powercap):
                self._counters["cpu"] = packages
        if device.type == "cuda":
            with suppress(OSError, AttributeError, RuntimeError, AssertionError):
                self._counters["gpu"] = [Counter(gpu_counter(device))]
        # Half a run's energy would pass for the whole.
        for kind in {*self._counters, *self.joules}:
            if kind not in self._counters or (resumed and kind not in self.joules):
                self._forget(kind)
        self._next = time.monotonic() + EVERY

    def tick(self) -> None:
        """Read the counters if it is time to: cheap enough for every step."""
        if self._counters and time.monotonic() >= self._next:
            self.read()

    def read(self) -> None:
        """Read the counters, and add what they went forward to ``joules``."""
        self._next = time.monotonic() + EVERY
        for kind, counters in list(self._counters.items()):
            try:
                gone = sum(counter.gone() for counter in counters)
            except (OSError, ValueError, RuntimeError):
                self._forget(kind)
            else:
                self.joules[kind] = self.joules.get(kind, 0.0) + gone

    def _forget(self, kind: str) -> None:
        self._counters.pop(kind, None)
        self.joules.pop(kind, None)


def cpu_counters(powercap: Path = POWERCAP) -> list[Counter]:
    """Counters of all CPU packages; their parts (cores, memory) and the whole platform are left out.

    Raises
    ------
    OSError, ValueError
        When one of them cannot be read.
    """
    found = []
    # The same interface on processors of any maker; some show a package once more by another one.
    for zone in sorted(powercap.glob("intel-rapl:*")):
        if (zone / "name").read_text().startswith("package"):
            span = _microjoules(zone / "max_energy_range_uj")
            found.append(Counter(partial(_microjoules, zone / "energy_uj"), span))
    return found


def _microjoules(file: Path) -> float:
    return int(file.read_text()) / 1e6


def gpu_counter(device: torch.device) -> Read:
    """The driver's counter of all the energy a GPU used, in joules.

    Raises
    ------
    OSError, AttributeError, RuntimeError
        Where the driver is not there, is too old, or does not count.
    """
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    _ask(nvml.nvmlInit_v2)
    # By its identity: the driver numbers GPUs in another order than CUDA, and knows nothing of those hidden from it.
    identity = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    _ask(nvml.nvmlDeviceGetHandleByUUID, identity, ctypes.byref(handle))

    def read() -> float:
        _ask(nvml.nvmlDeviceGetTotalEnergyConsumption, handle, ctypes.byref(millijoules))
        return millijoules.value / 1e3

    return read


def _ask(function: Callable[..., int], *arguments: object) -> None:
    if status := function(*arguments):
        raise RuntimeError(f"the driver's answer is {status}")
