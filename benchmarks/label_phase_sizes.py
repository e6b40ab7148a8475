"""Label phases by size: seconds, memory, the naive formula and the machine's floor, each in a process of its own.

    OMP_NUM_THREADS=1 uv run python benchmarks/label_phase_sizes.py [CASE …] [--rows 50000 400000] [--classes 100 2000]

Seconds are of CPU time, and so are the floor's, so that other work on the machine matters less; beside them stands what
the clock said. The naive formula is computed, and compared, at the smallest size alone. Memory is how far the process's
peak rises above what it held before, bank included. The run fails where a result differs from the naive one, or where
memory comes near what all samples × all classes would take.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from label_phase_cases import CASES, Case, synthetic_bank

from noisyrun.api import FeatureBank

DIM = 512
#: Tries, of which the best counts; one alone for what takes longer than this many seconds.
TRIES, LONG = 5, 4.0


def main() -> None:
    """Measure every case at every size, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="as 'smp corrector'; all by default")
    parser.add_argument("--rows", nargs="+", type=int, default=[50_000, 400_000])
    parser.add_argument("--classes", nargs="+", type=int, default=[100, 2_000])
    arguments = parser.parse_args()
    if torch.get_num_threads() != 1:  # threads do not survive the fork
        sys.exit("set OMP_NUM_THREADS=1: the naive formulas and noisyrun are compared on one thread each")
    names = arguments.cases or list(CASES)
    sizes = [(rows, classes) for classes in arguments.classes for rows in arguments.rows]
    found: dict[tuple[str, int, int], dict[str, Any]] = {}
    for rows, classes in sizes:
        bank = synthetic_bank(rows, DIM, classes)
        for name in names:
            one = _apart(partial(_measure, CASES[name], bank, compare=(rows, classes) == min(sizes)))
            print(f"{name} {rows} × {DIM}, {classes} classes: {one}", file=sys.stderr, flush=True)
            found[name, rows, classes] = one
    print("\n".join(_report(names, sizes, found)))
    _check_memory(found)


def _apart(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What some work gives in a process of its own, which shares the bank with this one."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(writes, "w") as file:
                json.dump(work(), file)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as file:
        said = file.read()
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(1)
    found: dict[str, Any] = json.loads(said)
    return found


# --- In the process of its own ------------------------------------------------------------------------------------


@torch.no_grad()
def _measure(make: Callable[[FeatureBank], Case], bank: FeatureBank, compare: bool) -> dict[str, Any]:
    case = make(bank)
    machine = _machine()
    _forget_peak()
    before = _resident("VmRSS")
    ours: list[Any] = []
    spent = [_timed(lambda: ours.append(case.work()))]
    rise = _resident("VmHWM") - before
    while len(spent) < TRIES and sum(wall for _, wall in spent) < LONG:
        spent.append(_timed(case.work))
    machine = {key: max(value, again) for (key, value), again in zip(machine.items(), _machine().values())}
    floor = max(case.reads / machine["bandwidth"], case.single / machine["single"] + case.double / machine["double"])
    cpu, wall = (min(one) for one in zip(*spent))
    found = {"cpu": cpu, "wall": wall, "rise": rise, "floor": floor, **machine}
    if compare and case.naive is not None:
        features = bank.take(torch.arange(len(bank))).features.double().numpy()
        theirs: list[Any] = []
        found["naive"], _ = _timed(lambda: theirs.append(case.naive(features)))
        case.agrees(ours[0], theirs[0])
    return found


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of CPU time and by the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def _machine() -> dict[str, float]:
    """Bytes a second read from memory, and operations a second of matrix products: measured, not looked up."""
    block = torch.ones(1 << 25)
    single, double = torch.rand(1024, 1024), torch.rand(1024, 1024, dtype=torch.float64)
    work = 2 * 1024**3
    return {
        "bandwidth": block.nbytes / min(_timed(block.sum)[0] for _ in range(5)),
        "single": work / min(_timed(lambda: single @ single)[0] for _ in range(5)),
        "double": work / min(_timed(lambda: double @ double)[0] for _ in range(5)),
    }


def _resident(what: str) -> int:
    """Bytes of this process in memory, VmRSS, or the most there were since the peak was forgotten, VmHWM."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(what))
    return 1024 * int(line.split()[1])


def _forget_peak() -> None:
    ctypes.CDLL(None).malloc_trim(0)  # what was freed counts as free
    Path("/proc/self/clear_refs").write_text("5")


# --- What is said of it -------------------------------------------------------------------------------------------


def _report(
    names: list[str], sizes: list[tuple[int, int]], found: dict[tuple[str, int, int], dict[str, Any]]
) -> list[str]:
    machines = list(found.values())
    lines = [
        f"{date.today()}; Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}; "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} thread(s); best seen: "
        f"{max(m['bandwidth'] for m in machines) / 1e9:.1f} GB/s read, matrix products "
        f"{max(m['single'] for m in machines) / 1e9:.0f} GFLOP/s in float32, "
        f"{max(m['double'] for m in machines) / 1e9:.0f} in float64",
        "",
        "| label phase | CPU s | clock s | memory, MB | naive / noisyrun | noisyrun / floor |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in names:
        one = found[name, *min(sizes)]
        ratio = f"{one['naive'] / one['cpu']:.1f}" if "naive" in one else "-"
        lines.append(
            f"| {name} | {one['cpu']:.3g} | {one['wall']:.3g} | {one['rise'] / 1e6:.0f} | {ratio} | "
            f"{one['cpu'] / one['floor']:.1f} |"
        )
    for what, unit, scale in (("cpu", "CPU seconds", 1.0), ("rise", "Memory, MB", 1e6)):
        heads = [f"{n:,} × {c:,}" for n, c in sizes]
        lines += ["", f"| {unit} by samples × classes | {' | '.join(heads)} |", f"| --- |{' --- |' * len(sizes)}"]
        for name in names:
            cells = [f"{found[name, n, c][what] / scale:.3g}" for n, c in sizes]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _check_memory(found: dict[tuple[str, int, int], dict[str, Any]]) -> None:
    """No label phase may take a third of what a float32 number for each sample and class would, where that is much."""
    for (name, rows, classes), one in found.items():
        everything = 4 * rows * classes
        if everything > 1 << 30 and one["rise"] > everything / 3:
            sys.exit(f"{name}: {one['rise'] / 1e9:.2f} GB at {rows} samples and {classes} classes")


if __name__ == "__main__":
    main()
