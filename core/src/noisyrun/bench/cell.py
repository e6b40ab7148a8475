"""The process that runs one cell. Its imports are those of a run: a fork server imports them once for all cells."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import sklearn.metrics  # noqa: F401
import torch

from noisyrun import cost, detection, plan, runner
from noisyrun import data as datasets
from noisyrun.api.errors import UserError
from noisyrun.bench.store import Result, Results, measures
from noisyrun.bench.work import BUSY, NO_ROOM, STOPPED
from noisyrun.config.resolve import RunConfig
from noisyrun.files import Fault
from noisyrun.report.console import Console
from noisyrun.run_folder import CHECKPOINT, SUMMARY, RunFolder

# The first optimiser of a process imports it, which takes longer than a small cell. Not where there is an accelerator:
# whatever asks for its devices before the fork would leave the cells unable to use them.
if not any(any(Path("/dev").glob(name)) for name in ("nvidia*", "kfd", "dri")):
    import_module("torch._dynamo")


@dataclass(frozen=True)
class Order:
    """What a process is to do.

    Attributes
    ----------
    results
        The results folder.
    cell
        The cell.
    task
        train or detect.
    config
        Its resolved configuration, as JSON values.
    gpu
        The one GPU it may see; None for all there are.
    threads
        Threads it may compute with; None for as many as it likes.
    keep
        Whether the checkpoint stays once the cell has ended.
    """

    results: Path
    cell: str
    task: str
    config: Mapping[str, Any]
    gpu: int | None = None
    threads: int | None = None
    keep: bool = False


def work(order: Order) -> None:
    """Run a cell, and leave what came of it; the process ends with `BUSY` or `STOPPED` where nothing did."""
    try:
        _begin(order)
    except KeyboardInterrupt:  # which waited for this process to hear it
        sys.exit(STOPPED)
    results = Results(order.results)
    with results.claim(order.cell) as mine:
        if not mine:
            sys.exit(BUSY)
        if results.result(order.cell) is not None:  # another process was quicker
            return
        try:
            _work(order, results)
        except Fault as fault:
            # Not what came of the cell, but of the machine: the sweep stops, and goes on with it once that is mended.
            with suppress(OSError):  # the log may lie on the same disk
                print(fault.told, file=sys.stderr, flush=True)
            os._exit(NO_ROOM)


def _work(order: Order, results: Results) -> None:
    _redirect(results.log(order.cell))
    started = now()
    status, error = "finished", ""
    try:
        summary = _run(order, results)
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    except Fault:
        raise
    except UserError as refusal:
        summary, status, error = {}, "refused", one_line(str(refusal))
    except Exception as failure:
        traceback.print_exception(failure)
        summary, status, error = {}, "failed", one_line(f"{type(failure).__name__}: {failure}")
    results.keep(
        Result(
            cell=order.cell,
            status=status,
            error=error,
            measures=measures(summary),
            machine=machine(),
            started=started,
            ended=now(),
        )
    )
    if status == "finished" and not order.keep:
        (results.run(order.cell) / CHECKPOINT).unlink(missing_ok=True)


def price(config: Mapping[str, Any], answer: Connection) -> None:
    """Seconds that a training would take by `noisyrun.cost`, sent through a pipe; or why that cannot be told."""
    _watch_parent()
    try:
        resolved = RunConfig.from_dict(config)
        data = datasets.load(resolved.settings)
        answer.send(cost.estimate(plan.check(resolved, plan.make_methods(resolved), data), data).total)
    except Exception as error:
        answer.send(one_line(str(error)))


def _begin(order: Order) -> None:
    _watch_parent()
    # Ctrl-C in a terminal is for the sweep, which asks its cells to stop once and in its own time.
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT, signal.SIGTERM])
    if order.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(order.gpu)
    if order.threads is not None:
        torch.set_num_threads(order.threads)


def _watch_parent() -> None:
    """End this process at once when the one that started it has ended, even by ``kill -9``."""
    parent = parent_process()
    if parent is None:
        return

    def watch(sentinel: Any, end: Callable[[int], None]) -> None:
        wait([sentinel])
        end(1)

    threading.Thread(target=watch, args=(parent.sentinel, os._exit), daemon=True).start()


def _redirect(log: Path) -> None:
    """Send what is printed, by whatever library, to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _run(order: Order, results: Results) -> Mapping[str, Any]:
    """Run, or go on with, what the cell is; returns its summary."""
    folder = results.run(order.cell)
    saved = RunFolder(folder)
    if _finished(saved):
        return results.summary(order.cell)
    values = {**order.config, "out": str(folder)}
    config = RunConfig.from_dict(values)
    if order.task == "train" and saved.file(CHECKPOINT).exists():
        runner.resume(folder, console=Console())
    else:
        shutil.rmtree(folder, ignore_errors=True)
        if order.task == "train":
            runner.run(config, console=Console())
        else:
            detection.detect_file(config, console=Console())
    # From the file, so that a cell killed between its last two steps gives the same numbers.
    return results.summary(order.cell)


def _finished(saved: RunFolder) -> bool:
    """Whether the run ended, and only what came of the cell was not yet written."""
    try:
        return saved.status().get("status") == "finished" and saved.file(SUMMARY).exists()
    except UserError:
        return False


def one_line(text: str) -> str:
    """Text as one line of printable characters, of a length that fits a table."""
    line = "; ".join(part.strip() for part in text.splitlines() if part.strip())
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in line)[:500] or "no reason was given"


def now() -> str:
    """The time, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def machine() -> dict[str, Any]:
    """Where this process runs: host, processor, cores, memory, threads, and the GPU where it used one."""
    found: dict[str, Any] = {
        "host": platform.node(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
