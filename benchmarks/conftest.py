"""What benchmarks of speed share: `measured`, which times work beside its floor, and the table at the end.

    uv run pytest benchmarks/perf --benchmark-only [--cpu-seconds]

By the clock, unless `--cpu-seconds` asks for CPU time (with OMP_NUM_THREADS=1), which other work on the machine hardly
changes. Every floor is measured between the rounds of the work that it belongs to.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parent))

from speed.machine import Clock, Machine, about, cpu_seconds, measure, timed, wait
from speed.table import lines

_CLOCK = pytest.StashKey[Clock]()
_MACHINES = pytest.StashKey[dict[torch.device, Machine]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cpu-seconds", action="store_true", help="benchmarks of speed: CPU time, not the clock's")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_CLOCK] = time.perf_counter
    config.stash[_MACHINES] = {}
    if config.getoption("--cpu-seconds", default=False):
        config.stash[_CLOCK] = cpu_seconds
        config.option.benchmark_timer = f"{cpu_seconds.__module__}.{cpu_seconds.__name__}"


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where the work is done."""
    return torch.device("cpu")


class Measured:
    """Times some work beside its floor, round by round, so that what else the machine does falls on both."""

    def __init__(self, benchmark: Any, device: torch.device, config: pytest.Config) -> None:
        self.benchmark = benchmark
        self.device = device
        self.clock = config.stash[_CLOCK]
        self.machines = config.stash[_MACHINES]

    def __call__(
        self,
        case: str,
        work: Callable[[], Any],
        *,
        side: str = "noisyrun",
        reads: float = 0.0,
        floor: Callable[[Machine], float] | None = None,
        bare: Callable[[], object] | None = None,
        items: int | None = None,
        rounds: int = 5,
    ) -> Any:
        """What the work gives, after as many rounds and one to warm up.

        Parameters
        ----------
        case
            Name of the row.
        side
            ``noisyrun``, or what stands beside it: ``naive``, ``scikit-learn``.
        reads
            Bytes that must be read: the floor is what the machine needs for these.
        floor
            Or what tells the seconds that a machine needs at best.
        bare
            Or a program that does only what must be done, which is timed between the rounds.
        items
            Samples or images, for a rate.
        """
        floors: list[float] = []
        machines: list[Machine] = []

        def beside() -> None:
            if bare is not None:
                floors.append(timed(bare, self.clock, self.device))
            elif reads or floor is not None:
                machines.append(measure(self.device, self.clock))
            wait(self.device)

        def waited() -> Any:
            found = work()
            wait(self.device)
            return found

        self.benchmark.group = case
        found = self.benchmark.pedantic(waited, setup=beside, rounds=rounds, warmup_rounds=int(rounds > 1))
        info: dict[str, Any] = {"side": side, "floor_is": "the same work, bare" if bare is not None else "the machine"}
        if machines:
            here = machines[0]
            for other in machines[1:]:
                here = here.best(other)
            self.machines[self.device] = here.best(self.machines.get(self.device, here))
            floors.append(here.floor(reads) if floor is None else floor(here))
            info |= {"bandwidth": here.bandwidth, "single": here.single, "double": here.double}
        if floors:
            info["floor"] = min(floors)
        if items is not None:
            info["items"] = items
        if self.benchmark.stats is not None and floors:
            info["share_of_floor"] = info["floor"] / self.benchmark.stats.stats.min
        self.benchmark.extra_info.update(info)
        return found


@pytest.fixture
def measured(benchmark: Any, device: torch.device, request: pytest.FixtureRequest) -> Measured:
    """`Measured` of this test."""
    return Measured(benchmark, device, request.config)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Every case with its floor, and the naive form beside it."""
    session = getattr(config, "_benchmarksession", None)
    found = [one for one in ([] if session is None else session.benchmarks) if one.stats and not one.has_error]
    rows: dict[str, dict[str, Any]] = {}
    for one in found:
        if "side" in one.extra_info:
            row = rows.setdefault(one.group, {})
            row[one.extra_info["side"]] = one.stats.min
            row |= {key: value for key, value in one.extra_info.items() if key not in ("side", "share_of_floor")}
    if not rows:
        return
    terminalreporter.section("noisyrun beside its floor")
    what = "CPU seconds" if config.stash[_CLOCK] is cpu_seconds else "seconds by the clock"
    machines = config.stash[_MACHINES]
    for device in list(machines) or [torch.device("cpu")]:
        terminalreporter.write_line(about(device))
    for machine in machines.values():
        terminalreporter.write_line(f"best seen: {machine}")
    terminalreporter.write_line(f"least {what} of each:")
    terminalreporter.write_line("")
    for line in lines(rows):
        terminalreporter.write_line(line)
