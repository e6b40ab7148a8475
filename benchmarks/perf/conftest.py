"""What the benchmarks share: the data, the machine's floor, and a table of ratios at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

FEATURES = ROOT.parent / "shared/data/features/cifar10n-worse.npz"
ROWS, DIM, CLASSES = 50_000, 256, 10


@dataclass(frozen=True)
class Arrays:
    """Features [N, D], logits [N, C] and labels [N], float64 for the naive formulas."""

    name: str
    features: Any
    logits: Any
    labels: Any


@dataclass(frozen=True)
class Machine:
    """What the machine can do at best, with the threads that torch uses.

    Attributes
    ----------
    bandwidth
        Bytes a second read from memory.
    single, double
        Floating-point operations a second of a matrix product, float32 and float64.
    """

    bandwidth: float
    single: float
    double: float


@pytest.fixture(scope="session")
def arrays() -> Arrays:
    """The CIFAR-10N features where they are at hand, else random ones of the same size."""
    if FEATURES.exists():
        with np.load(FEATURES, allow_pickle=False) as file:
            features, logits, labels = (file[name] for name in ("features", "logits", "noisy_label"))
        return Arrays("CIFAR-10N worse", features.astype(np.float64), logits.astype(np.float64), labels)
    draw = np.random.default_rng(0)
    labels = draw.integers(0, CLASSES, ROWS)
    centres = draw.normal(size=(CLASSES, DIM))
    features = np.maximum(0, centres[labels] + draw.normal(size=(ROWS, DIM)))
    return Arrays("random", features, features @ centres.T, labels)


def best(work: Callable[[], object], times: int = 5) -> float:
    """Least seconds of a few tries."""
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return min(spent)


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> Machine:
    """Measured, not looked up."""
    block = torch.ones(1 << 25)
    single, double = torch.rand(1280, 1280), torch.rand(1280, 1280, dtype=torch.float64)
    work = 2 * 1280**3
    found = Machine(
        bandwidth=block.nbytes / best(lambda: block.sum()),
        single=work / best(lambda: single @ single),
        double=work / best(lambda: double @ double),
    )
    request.config.stash[_MACHINE] = found
    return found


_MACHINE = pytest.StashKey[Machine]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Ratios by case: the naive formula and the machine's floor beside noisyrun."""
    session = getattr(config, "_benchmarksession", None)
    cases: dict[str, dict[str, Any]] = {}
    for one in [] if session is None else session.benchmarks:
        side = one.extra_info.get("side")
        if side is not None and one.stats is not None and not one.has_error:
            cases.setdefault(one.group, {})[side] = one.stats.min
            cases[one.group].update({k: v for k, v in one.extra_info.items() if k != "side"})
    if not cases:
        return
    terminalreporter.section("noisyrun beside the naive float64 formula and the machine's floor")
    machine = config.stash.get(_MACHINE, None)
    if machine is not None:
        terminalreporter.write_line(
            f"{torch.get_num_threads()} threads: {machine.bandwidth / 1e9:.1f} GB/s read from memory, matrix products "
            f"{machine.single / 1e9:.0f} GFLOP/s in float32 and {machine.double / 1e9:.0f} in float64"
        )
    columns = f"{'case':32} {'noisyrun':>12} {'base':>12} {'base/noisyrun':>14} {'floor':>12} {'noisyrun/floor':>15}"
    terminalreporter.write_line(columns)
    for name, case in cases.items():
        ours, base, floor = case.get("noisyrun"), case.get("base"), case.get("floor")
        terminalreporter.write_line(
            f"{name:32} {_ms(ours)} {_ms(base)} {_ratio(base, ours):>14} {_ms(floor)} {_ratio(ours, floor):>15}"
        )


def _ms(seconds: float | None) -> str:
    return f"{'-':>12}" if seconds is None else f"{seconds * 1e3:9.2f} ms"


def _ratio(above: float | None, below: float | None) -> str:
    return "-" if above is None or not below else f"{above / below:.2f}"
