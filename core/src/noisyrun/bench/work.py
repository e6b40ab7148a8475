"""Running the cells of a suite, each in a process of its own: its memory, crashes and kills stay its own.

Imports no torch: a fork server does, once for all cells.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from types import ModuleType
from typing import Any

from noisyrun.bench.plan import ENDED_BADLY, Cell, Plan
from noisyrun.bench.store import Result, Results
from noisyrun.engine.interrupt import StopRequest
from noisyrun.files import Fault

#: What a cell's process says by its exit code: another process has the cell; it was asked to stop.
BUSY, STOPPED = 75, 130
#: And: it could not write what it had to.
NO_ROOM = 74

#: The cell is still to be run: another process has it, or had; or someone asked just this process to stop.
AGAIN = (BUSY, STOPPED, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)

#: What asks a sweep to stop.
STOPS = (signal.SIGINT, signal.SIGTERM)

#: Seconds between two looks at what runs, and at cells that another process has.
LOOK = 0.5

#: Seconds that measuring plain training may take.
PATIENCE = 300.0


class Listener:
    """Who is told how a sweep goes."""

    def started(self, cell: Cell) -> None:
        """A cell runs."""

    def ended(self, cell: Cell, result: Result) -> None:
        """A cell ended, here or in another process."""

    def waiting(self, cells: Sequence[Cell]) -> None:
        """Nothing is left to start: other processes have these."""


@dataclass(frozen=True)
class Options:
    """How cells run; nothing here changes what comes of one.

    Attributes
    ----------
    jobs
        Cells at once.
    keep
        Whether checkpoints stay once a cell has ended.
    gpus
        GPUs to deal cells to; 0 leaves the choice to the run.
    """

    jobs: int = 1
    keep: bool = False
    gpus: int = 0

    @property
    def threads(self) -> int | None:
        """Threads of a cell: a share of the cores where several run at once."""
        if self.jobs == 1 or "OMP_NUM_THREADS" in os.environ:
            return None
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // self.jobs)


class Stopped(KeyboardInterrupt):
    """The sweep was asked to stop; cells that were running have saved where they stood."""


@dataclass
class _Running:
    cell: Cell
    process: ForkServerProcess
    gpu: int | None
    began: float = field(default_factory=time.monotonic)
    late: bool = False


class Sweep:
    """Runs the cells of a plan that have not ended.

    Parameters
    ----------
    results
        The results folder.
    plan
        The suite and its cells.
    cells
        Those that are this process's to run.
    options
        How they run.
    listeners
        Who is told.
    """

    def __init__(
        self, results: Results, plan: Plan, cells: Sequence[Cell], options: Options, listeners: Sequence[Listener] = ()
    ) -> None:
        self.results = results
        self.plan = plan
        self.cells = cells
        self.options = options
        self.listeners = listeners
        self._waiting = list(cells)
        self._running: list[_Running] = []

    def run(self) -> list[tuple[Cell, Result]]:
        """Run what is missing; returns the cells that ended without a result, with why.

        Raises
        ------
        Stopped
            After Ctrl-C or SIGTERM, once the running cells have saved where they stand.
        """
        self._waiting = [cell for cell in self.cells if self.results.result(cell.id) is None]
        self.results.write_table(self.plan.places)
        try:
            with StopRequest() as stop:
                while self._waiting or self._running:
                    if stop.requested:
                        self._stop()
                    self._start()
                    self._reap()
        finally:
            for one in self._running:
                one.process.kill()
        ended = ((cell, self.results.result(cell.id)) for cell in self.cells)
        return [(cell, result) for cell, result in ended if result is not None and result.status in ENDED_BADLY]

    def _start(self) -> None:
        """Start cells while there is room; those that another process has are looked at again later."""
        taken = []
        for cell in list(self._waiting):
            if len(self._running) >= self.options.jobs:
                return
            if (result := self.results.result(cell.id)) is not None:
                self._waiting.remove(cell)
                self._tell(cell, result)
            elif self.results.claimed(cell.id):
                taken.append(cell)
            else:
                self._waiting.remove(cell)
                self._running.append(self._launch(cell))
        if taken and not self._running:
            for one in self.listeners:
                one.waiting(taken)
            time.sleep(LOOK)

    def _launch(self, cell: Cell) -> _Running:
        config = cell.config.as_dict()
        self.results.describe(cell.id, {**cell.what, "resolved": config})
        for one in self.listeners:
            one.started(cell)
        gpu = self._free_gpu()
        process = start(
            "work",
            {
                "results": self.results.path.resolve(),
                "cell": cell.id,
                "task": self.plan.suite.task,
                "config": config,
                "gpu": gpu,
                "threads": self.options.threads,
                "keep": self.options.keep,
            },
        )
        return _Running(cell, process, gpu)

    def _free_gpu(self) -> int | None:
        if not self.options.gpus:
            return None
        used = [one.gpu for one in self._running]
        return min(range(self.options.gpus), key=used.count)

    def _reap(self) -> None:
        """Wait a moment for a cell to end, and see to those that have, or that took too long."""
        if self._running:
            wait([one.process.sentinel for one in self._running], LOOK)
        limit = self.plan.suite.timeout
        for one in list(self._running):
            if one.process.is_alive():
                if limit is not None and time.monotonic() - one.began > limit and not one.late:
                    one.late = True
                    one.process.kill()
                continue
            one.process.join()
            self._running.remove(one)
            self._settle(one)

    def _settle(self, one: _Running) -> None:
        """A cell's process has ended: see what came of it."""
        result, code = self.results.result(one.cell.id), one.process.exitcode
        if result is None and code == NO_ROOM:
            raise Fault(f"{one.cell}: {self.results.last_words(one.cell.id)}", "run the same command again")
        if result is None and code in AGAIN and not one.late:
            self._waiting.append(one.cell)
            return
        if result is None:
            result = self._gave_up(one, code)
        self._tell(one.cell, result)

    def _gave_up(self, one: _Running, code: int | None) -> Result:
        """Note a cell whose process could not do so itself."""
        with self.results.claim(one.cell.id) as mine:
            known = self.results.result(one.cell.id)
            if known is not None:
                return known
            result = Result(
                cell=one.cell.id,
                status="timeout" if one.late else "failed",
                error=f"not done after {self.plan.suite.timeout:g} s" if one.late else _death(code),
                started=_utc(time.time() - (time.monotonic() - one.began)),
                ended=_utc(time.time()),
            )
            if mine:  # else another process has taken the cell over
                self.results.keep(result)
            return result

    def _tell(self, cell: Cell, result: Result) -> None:
        self.results.write_table(self.plan.places)
        for one in self.listeners:
            one.ended(cell, result)

    def _stop(self) -> None:
        """Ask the running cells to save where they stand; a second Ctrl-C ends them as they are."""
        for one in self._running:
            if one.process.pid is not None and one.process.is_alive():
                os.kill(one.process.pid, signal.SIGINT)
        for one in self._running:
            one.process.join()
            if (result := self.results.result(one.cell.id)) is not None:
                self._tell(one.cell, result)
        self._running = []
        raise Stopped


def retry(results: Results, cells: Sequence[Cell]) -> None:
    """Forget what came of cells that ended without a result, so that they run again."""
    for cell in cells:
        with results.claim(cell.id) as mine:
            result = results.result(cell.id) if mine else None
            if result is not None and result.status in ENDED_BADLY:
                results.forget(cell.id)


def price(cell: Cell) -> float | None:
    """Seconds of a plain training, measured over a few steps in a process of its own; None where that fails."""
    mine, theirs = multiprocessing.Pipe(duplex=False)
    process = start("price", {"config": cell.config.as_dict(), "answer": theirs})
    theirs.close()
    try:
        answer = mine.recv() if mine.poll(PATIENCE) else None
    except EOFError:
        answer = None
    process.kill()
    process.join()
    return answer if isinstance(answer, float) else None


def start(what: str, order: Mapping[str, Any]) -> ForkServerProcess:
    """Start a process that does one thing of `noisyrun.bench.cell`."""
    process = _context().Process(target=_enter, args=(what, order))
    # The new process would import this one's main module, which may be a script that starts a sweep.
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        _serve()
        process.start()
    finally:
        sys.modules["__main__"] = main
    return process


def _serve() -> None:
    """Start the fork server unless it runs, deaf to what asks the sweep to stop: that reaches all of its group.

    So does Ctrl-C in a terminal, and what a cluster's scheduler sends before it takes a machine back. A server that
    died of it would leave its cells without anyone to hear how they ended. What it forks is deaf as well, until it
    has a group of its own and has said what Ctrl-C means.
    """
    resource_tracker.ensure_running()  # starts with the server, and would hear again for both
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["noisyrun.bench.cell", "noisyrun.bench.work"])
    return context


def _enter(what: str, order: Mapping[str, Any]) -> None:
    """Within the new process: only here is torch imported, and the fork server has done so already."""
    from noisyrun.bench import cell

    if what == "work":
        cell.work(cell.Order(**order))
    else:
        cell.price(**order)


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        why = "; the system often does so when memory runs out" if -code == signal.SIGKILL else ""
        return f"its process was ended by {name}{why}"
    return f"its process ended with code {code}; its log says why"


def _utc(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
