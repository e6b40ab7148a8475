"""Label phases by size: seconds, memory, the naive formula and the machine's floor, each in a process of its own.

    OMP_NUM_THREADS=1 uv run python benchmarks/label_phase_sizes.py [CASE …] [--samples N …] [--classes C …]
    OMP_NUM_THREADS=1 uv run python benchmarks/label_phase_sizes.py --samples 500000 4000000 --classes 1000 --disk DIR

Seconds are of CPU time, and so are the floor's, so that other work on the machine matters less; beside them stands what
the clock said. The naive formula is computed, and compared, at the smallest size alone, and not for a bank on disk.

Memory is how far the process's peak rises above what it held before, bank included. With `--disk` the features lie in a
half-precision file in that folder, which is removed at the end; then the most anonymous memory that the whole process
held at any time stands apart from the pages of the file, which the system may take back. The run fails where a result
differs from the naive one, or where memory comes near what all samples × all classes would take.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shlex
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from label_phase_cases import CASES, Case, synthetic_bank
from label_phase_cases.case import all_features
from label_phase_cases.disk import disk_bank
from speed.machine import Machine, about, cpu_seconds, forget_operands, measure

from noisyrun.api import FeatureBank
from noisyrun.bank.sizes import parse_memory

DIM = 512
CPU = torch.device("cpu")
#: Tries, of which the best counts; one alone for what takes longer than this many seconds.
TRIES, LONG = 5, 4.0
#: Seconds between two looks at the process's memory.
LOOK = 0.005

Size = tuple[int, int]
Found = dict[tuple[str, int, int], dict[str, Any]]


def main() -> None:
    """Measure every case at every size, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="as 'smp corrector'; all by default")
    parser.add_argument("--samples", nargs="+", type=int, default=[50_000, 400_000])
    parser.add_argument("--classes", nargs="+", type=int, default=[100, 2_000])
    parser.add_argument("--disk", type=Path, metavar="DIR", help="features in a file there, in half precision")
    parser.add_argument("--memory", default="2GB", help="with --disk, as --bank.memory of a run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="what was found, written after every case")
    arguments = parser.parse_args()
    if torch.get_num_threads() != 1:  # threads do not survive the fork
        sys.exit("set OMP_NUM_THREADS=1: the naive formulas and noisyrun are compared on one thread each")
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        sys.exit(f"{unknown[0]!r} is none of: {', '.join(CASES)}")
    names = arguments.cases or list(CASES)
    sizes = [(rows, classes) for classes in arguments.classes for rows in arguments.samples]
    found: Found = {}
    for rows, classes in sizes:
        if arguments.disk is None:
            bank = synthetic_bank(rows, DIM, classes)
        else:
            bank = disk_bank(rows, DIM, classes, arguments.disk, parse_memory(arguments.memory) // 2)
        compare = (rows, classes) == min(sizes) and arguments.disk is None
        for name in names:
            one = _apart(partial(_measure, CASES[name], bank, compare))
            print(f"{name} {rows} × {DIM}, {classes} classes: {one}", file=sys.stderr, flush=True)
            found[name, rows, classes] = one
            if arguments.json is not None:
                arguments.json.write_text(json.dumps(_kept(found), indent=1) + "\n", encoding="utf-8")
        close = getattr(bank, "close", None)
        if arguments.disk is not None and close is not None:
            close()
    print("\n".join(_report(names, sizes, found, on_disk=arguments.disk is not None)))
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
    machine = measure(CPU, cpu_seconds)
    forget_operands()
    _forget_peak()
    before = _resident("VmRSS"), _resident("RssAnon")
    ours: list[Any] = []
    with Watch() as watch:
        spent = [_timed(lambda: ours.append(case.work()))]
    rise = _resident("VmHWM") - before[0]
    while len(spent) < TRIES and sum(wall for _, wall in spent) < LONG:
        spent.append(_timed(case.work))
    machine = machine.best(measure(CPU, cpu_seconds))
    cpu, wall = (min(one) for one in zip(*spent))
    found = {
        "cpu": cpu,
        "wall": wall,
        "rise": rise,
        "anonymous": watch.anonymous,
        "anonymous_rise": watch.anonymous - before[1],
        "file": watch.file,
        "floor": case.floor(machine),
        "machine": vars(machine),
        "reads": case.reads,
        "products": case.single,
        "double": case.double,
        "passes": {
            "bytes": sum(one.reads for one in case.passes()),
            "products": sum(one.single for one in case.passes()),
        },
    }
    naive = case.naive
    if compare and naive is not None:
        features = all_features(bank)
        theirs: list[Any] = []
        found["naive"], _ = _timed(lambda: theirs.append(naive(features)))
        case.agrees(ours[0], theirs[0])
    return found


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of CPU time and by the clock."""
    cpu, wall = time.thread_time(), time.perf_counter()
    work()
    return time.thread_time() - cpu, time.perf_counter() - wall


class Watch:
    """Looks at the process's memory while some work is done.

    Attributes
    ----------
    anonymous
        The most bytes of anonymous memory: what the process made, and the system cannot drop.
    file
        The most bytes of pages of files, which it can.
    """

    def __init__(self) -> None:
        self.anonymous = self.file = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._done.wait(LOOK):
            self.anonymous = max(self.anonymous, _resident("RssAnon"))
            self.file = max(self.file, _resident("RssFile"))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.anonymous = max(self.anonymous, _resident("RssAnon"))
        self.file = max(self.file, _resident("RssFile"))


def _resident(what: str) -> int:
    """Bytes of this process in memory: VmRSS, RssAnon, RssFile; VmHWM: the most since the peak was forgotten."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(what))
    return 1024 * int(line.split()[1])


def _forget_peak() -> None:
    ctypes.CDLL(None).malloc_trim(0)  # what was freed counts as free
    Path("/proc/self/clear_refs").write_text("5")


def _kept(found: Found) -> dict[str, Any]:
    """What was found, for a file."""
    seen = _best_seen(found)
    return {
        "about": about(CPU),
        "command": shlex.join(["python", "benchmarks/label_phase_sizes.py", *sys.argv[1:]]),
        "machine": {"read": seen.bandwidth, "single": seen.single, "double": seen.double},
        "found": [
            {"case": name, "samples": rows, "dim": DIM, "classes": classes, **one}
            for (name, rows, classes), one in found.items()
        ],
    }


# --- What is said of it -------------------------------------------------------------------------------------------


def _report(names: list[str], sizes: list[Size], found: Found, *, on_disk: bool) -> list[str]:
    seen = _best_seen(found)
    lines = [
        about(CPU),
        "",
        f"Best seen: {seen}.",
        "",
        "| label phase | CPU s | clock s | memory, MB | naive / noisyrun | noisyrun / floor |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in names:
        one = found[name, *min(sizes)]
        ratio = f"{one['naive'] / one['cpu']:.1f}" if "naive" in one else "-"
        rise = one["anonymous_rise" if on_disk else "rise"]
        lines.append(
            f"| {name} | {one['cpu']:.3g} | {one['wall']:.3g} | {rise / 1e6:.0f} | {ratio} | "
            f"{one['cpu'] / one['floor']:.1f} |"
        )
    tables = [("cpu", "CPU seconds", 1.0), ("clock", "Seconds by the clock", 1.0), ("share", "noisyrun / floor", 1.0)]
    if on_disk:
        tables += [
            ("anonymous", "Peak anonymous memory of the process, MB", 1e6),
            ("file", "Peak pages of files, MB", 1e6),
        ]
    else:
        tables.append(("rise", "Memory, MB", 1e6))
    for one in found.values():
        one |= {"clock": one["wall"], "share": one["cpu"] / one["floor"]}
    for what, unit, scale in tables:
        heads = [f"{n:,} × {c:,}" for n, c in sizes]
        lines += ["", f"| {unit} by samples × classes | {' | '.join(heads)} |", f"| --- |{' --- |' * len(sizes)}"]
        for name in names:
            cells = [f"{found[name, n, c][what] / scale:.3g}" for n, c in sizes]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _best_seen(found: Found) -> Machine:
    seen = Machine(0.0, 0.0, 0.0)
    for one in found.values():
        seen = seen.best(Machine(**one["machine"]))
    return seen


def _check_memory(found: Found) -> None:
    """No label phase may take a third of what a float32 number for each sample and class would, where that is much."""
    for (name, rows, classes), one in found.items():
        everything = 4 * rows * classes
        if everything > 1 << 30 and one["anonymous_rise"] > everything / 3:
            sys.exit(f"{name}: {one['anonymous_rise'] / 1e9:.2f} GB at {rows} samples and {classes} classes")


if __name__ == "__main__":
    main()
