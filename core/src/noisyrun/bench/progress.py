"""What a sweep says: the plan before it starts, a line for every cell, and what is left. Imports no torch."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from noisyrun.bench.cost import Costs
from noisyrun.bench.plan import ENDED_BADLY, Cell, Plan, State
from noisyrun.bench.store import Result, Results
from noisyrun.bench.work import Listener
from noisyrun.report.numbers import seconds

#: More comparisons than this do not fit side by side, and are counted together.
COLUMNS = 4

#: Seconds above which a cell is announced where nothing shows it while it runs.
LONG = 60.0

#: How a state reads in a table, and its colour.
WORDS: Mapping[State, tuple[str, str]] = {
    "finished": ("done", "green"),
    "running": ("running", "cyan"),
    "missing": ("missing", "default"),
    "failed": ("failed", "red"),
    "refused": ("refused", "red"),
    "timeout": ("timed out", "red"),
}


class Progress(Listener):
    """Tells a person how a sweep goes: lines on stdout, and on a terminal what runs now below them.

    Parameters
    ----------
    results
        The results folder.
    plan
        The suite and its cells.
    cells
        Those that are this process's to run.
    costs
        What they may take.
    jobs
        Cells at once.
    out
        Stream in place of stdout.
    """

    def __init__(
        self,
        results: Results,
        plan: Plan,
        cells: Sequence[Cell],
        costs: Costs,
        jobs: int = 1,
        out: TextIO | None = None,
    ) -> None:
        stream = out or sys.stdout
        width = None if stream.isatty() else 110
        self.console = Console(file=stream, width=width, highlight=False, emoji=False)
        self.results, self.plan, self.cells, self.costs, self.jobs = results, plan, cells, costs, jobs
        self._current: dict[str, tuple[Cell, float]] = {}
        self._done = {cell.id for cell in cells if results.result(cell.id) is not None}
        # How much longer, or shorter, cells took than was said: what is left is corrected by it.
        self._said = self._spent = 0.0
        self._status: Status | None = None
        self._waited = False

    def show_plan(self) -> None:
        """The plan: methods by comparisons, how their cells stand, and what they will cost."""
        states = self.plan.states(self.results)
        console, suite = self.console, self.plan.suite
        console.print(f"[bold]{escape(suite.title)}[/]")
        console.print(_table(self.plan, states, self.costs))
        for cell in self.plan.cells.values():
            if states[cell.id] in ENDED_BADLY:
                result = self.results.result(cell.id)
                console.print(
                    f"[red]{_word(states[cell.id])}[/] {escape(str(cell))}: {escape(result.error if result else '')}"
                )
        console.print(self._cost(states), soft_wrap=True)

    def _cost(self, states: Mapping[str, State]) -> str:
        left = [cell for cell in self.plan.cells.values() if states[cell.id] in ("missing", "running")]
        mine = [cell for cell in left if cell.id in {one.id for one in self.cells}]
        cells = f"{len(self.plan.cells)} cells, {len(self.plan.cells) - len(left)} ended, {len(left)} left"
        if not left:
            return cells
        total = self.costs.total(left)
        text = (
            f"{cells}: about {seconds(total)} ({self.costs.describe(left)})"
            if total
            else f"{cells}; {self.costs.describe(left)}"
        )
        if len(mine) < len(left):
            here = self.costs.total(mine)
            text += f"\nhere {len(mine)} of them" + (f": about {seconds(here)}" if here else "")
        if self.jobs > 1:
            text += f"; {self.jobs} at once"
        return text

    def started(self, cell: Cell) -> None:
        """A cell runs."""
        self._current[cell.id] = (cell, time.monotonic())
        said = self.costs.seconds.get(cell.id, 0.0)
        if said > LONG and not self.console.is_terminal:
            self._print(f"{escape(str(cell))}  started, about {seconds(said)}")
        self._live()

    def ended(self, cell: Cell, result: Result) -> None:
        """A cell ended."""
        self._done.add(cell.id)
        here = self._current.pop(cell.id, None)
        took = ""
        if here is not None:
            spent = time.monotonic() - here[1]
            took = f" in {seconds(spent)}"
            if said := self.costs.seconds.get(cell.id):
                self._said, self._spent = self._said + said, self._spent + spent
        word, colour = WORDS[result.status]
        headline = result.measures.get(self.plan.suite.headline)
        figure = "" if headline is None else f"  {self.plan.suite.headline} {headline:.4f}"
        why = f": {result.error}" if result.error else ""
        count = f"[{len(self._done):>{len(str(len(self.cells)))}}/{len(self.cells)}]"
        left = self._left()
        self._print(f"{escape(count)} {escape(str(cell))}  [{colour}]{word}[/]{took}{escape(why)}{figure}{left}")
        self._live()

    def warn(self, line: str) -> None:
        """Something a user should know."""
        self._print(f"[yellow]warning:[/] {escape(line)}")

    def waiting(self, cells: Sequence[Cell]) -> None:
        """Other processes have what is left."""
        if not self._waited:
            self._print(f"waiting for {len(cells)} that another process has: {escape(', '.join(map(str, cells[:3])))}")
            self._waited = True

    def close(self) -> None:
        """Take what is drawn off the terminal."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _left(self) -> str:
        left = [cell for cell in self.cells if cell.id not in self._done]
        total = self.costs.total(left) * (self._spent / self._said if self._said else 1.0) / self.jobs
        return f"  about {seconds(total)} left" if total else ""

    def _print(self, markup: str) -> None:
        self.console.print(markup, soft_wrap=True)

    def _live(self) -> None:
        if not self.console.is_terminal:
            return
        now = ", ".join(str(cell) for cell, _ in self._current.values())
        text = f"{len(self._done)}/{len(self.cells)} {escape(now)}{self._left()}"
        if self._status is None:
            self._status = self.console.status(text)
            self._status.start()
        else:
            self._status.update(text)


def _table(plan: Plan, states: Mapping[str, State], costs: Costs) -> Table:
    """Methods down, comparisons across; where these are many, all of them together."""
    comparisons = list(dict.fromkeys(place.comparison for place in plan.places))
    wide = len(comparisons) <= COLUMNS
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("method")
    for comparison in comparisons if wide else [f"{len(comparisons)} comparisons"]:
        table.add_column(escape(comparison))
    table.add_column("a cell", justify="right")
    for method in dict.fromkeys(place.method for place in plan.places):
        own = [place for place in plan.places if place.method == method]
        groups = [[p.cell for p in own if p.comparison == comparison] for comparison in comparisons] if wide else []
        cells = [_counted([states[cell] for cell in group]) for group in groups or [[p.cell for p in own]]]
        known = [costs.seconds[place.cell] for place in own if place.cell in costs.seconds]
        table.add_row(escape(method), *cells, seconds(sum(known) / len(known)) if known else "–")
    return table


def _counted(states: Sequence[State]) -> str:
    counted = Counter(states)
    return ", ".join(f"[{colour}]{counted[name]} {word}[/]" for name, (word, colour) in WORDS.items() if counted[name])


def _word(state: State) -> str:
    return WORDS[state][0]
