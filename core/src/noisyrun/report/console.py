"""What a run says while it runs: a bar within an epoch, a line for each, and the table at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import suppress
from typing import Any, TextIO, TypeVar, cast

from rich.console import Console as Terminal
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from noisyrun.api.hooks import EpochResult, LabelPhaseResult
from noisyrun.printable import printable
from noisyrun.report import table
from noisyrun.report.numbers import percent, seconds

T = TypeVar("T")

#: Seconds between two movements of a bar; a step of a small network is far shorter than drawing one.
MOVE_EVERY = 0.1


def _shown(line: str) -> str:
    """A line, which may quote data, with neither markup nor control characters at work."""
    return escape(printable(line, keep="\n\t"))


class Console:
    """Speaks to the person who started the run.

    What the run is and what came of it goes to stdout; progress and warnings go to stderr, so that output sent to a
    file is not full of bars. Without a terminal there are no bars and no colours, and an epoch is one plain line.

    Parameters
    ----------
    quiet
        Only warnings and the final table.
    out, err
        Streams in place of stdout and stderr.

    Attributes
    ----------
    warnings
        What was warned of, each once.
    """

    def __init__(self, *, quiet: bool = False, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.quiet = quiet
        self._out = terminal(_Outlived(out or sys.stdout))
        self._err = terminal(_Outlived(err or sys.stderr))
        self._bars: Progress | None = None
        self._open = 0
        self.warnings: list[str] = []

    @property
    def interactive(self) -> bool:
        """Whether progress is drawn as bars."""
        return self._err.is_terminal and not self.quiet

    def say(self, line: str) -> None:
        """One line about the run, to stdout."""
        if not self.quiet:
            self._print(self._out, _shown(line))

    def warn(self, line: str) -> None:
        """One warning, to stderr; the same warning is said once."""
        if line not in self.warnings:
            self.warnings.append(line)
            self._print(self._err, f"[bold yellow]warning:[/] {_shown(line)}")

    def progress(self, items: Iterable[T], total: int | None = None, what: str = "") -> Iterator[T]:
        """Yield the items; on a terminal, show how far along they are.

        Parameters
        ----------
        items
            What is worked through.
        total
            How many there are; their length by default, where they have one.
        what
            What is being done, in a few words.
        """
        if not self.interactive:
            yield from items
            return
        if total is None and isinstance(items, Sized):
            total = len(items)
        bars = self._start_bars()
        task = bars.add_task(escape(what), total=total)
        done, moved = 0, time.monotonic()
        try:
            for item in items:
                yield item
                done += 1
                now = time.monotonic()
                if now - moved >= MOVE_EVERY:
                    bars.update(task, completed=done)
                    moved = now
        finally:
            bars.remove_task(task)
            self._stop_bars()

    def epoch(self, result: EpochResult, total: int | None = None) -> None:
        """The line of a finished epoch.

        Parameters
        ----------
        total
            Epochs of the whole run, where known.
        """
        if self.quiet:
            return
        width = len(str(total or result.epoch))
        counter = f"{result.epoch:>{width}}/{total}" if total else f"{result.epoch:>{max(width, 3)}}"
        self._print(self._err, f"epoch [bold]{counter}[/]  {escape(result.stage):<8}  {epoch_numbers(result.metrics)}")

    def label_phase(self, result: LabelPhaseResult) -> None:
        """The line of a finished label phase."""
        if not self.quiet:
            numbers = label_numbers(result.metrics)
            self._print(self._err, f"[cyan]labels[/] before epoch [bold]{result.epoch + 1:>2}[/]  {numbers}")

    def results(self, summary: Mapping[str, Any]) -> None:
        """The table at the end of a run, to stdout.

        Parameters
        ----------
        summary
            The content of ``summary.json``; keys may be absent.
        """
        self._out.print()
        for part in table.results(summary):
            self._out.print(part, soft_wrap=isinstance(part, str), highlight=False)

    def evaluation(self, record: Mapping[str, Any]) -> None:
        """The table of an evaluation, to stdout: fields of `noisyrun.report.summary.Evaluation`."""
        if not self.quiet:
            self._out.print(table.evaluation_table(record), highlight=False)
            self._print(self._out, f"[dim]time[/]    {seconds(record['seconds'])}")

    def _print(self, where: Terminal, markup: str) -> None:
        # A bar that is being drawn belongs to stderr's terminal; only that one knows how to step around it.
        drawn = self._bars is not None and where is self._out and self._out.is_terminal
        (self._err if drawn else where).print(markup, soft_wrap=True, highlight=False)

    def _start_bars(self) -> Progress:
        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=32),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                console=self._err,
                transient=True,
                refresh_per_second=4,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bars.start()
        self._open += 1
        return self._bars

    def _stop_bars(self) -> None:
        self._open -= 1
        if self._open == 0 and self._bars is not None:
            self._bars.stop()
            self._bars = None


class Muted(Console):
    """Says nothing and keeps warnings: of a process beside the one that talks to the user."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def warn(self, line: str) -> None:
        """Keep a warning, for the process that talks."""
        if line not in self.warnings:
            self.warnings.append(line)

    def results(self, summary: Mapping[str, Any]) -> None:
        """Nothing."""


class _Outlived:
    """A stream whose end is not the run's: a terminal that was closed, a full disk, a reader that has gone.

    What cannot be written is dropped; where there is room again, lines appear again.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def terminal(stream: TextIO | _Outlived) -> Terminal:
    """A rich console on a stream. Off a terminal it is wide enough that a table never breaks a row."""
    width = None if stream.isatty() else 110
    return Terminal(file=cast(TextIO, stream), width=width, highlight=False, emoji=False)


def epoch_numbers(metrics: Mapping[str, float]) -> str:
    """The numbers of an epoch's line."""
    parts = []
    if "loss" in metrics:
        parts.append(f"loss {metrics['loss']:7.4f}")
    for name, word in (("val_accuracy", "val"), ("test_accuracy", "test")):
        if metrics.get(name) is not None:
            parts.append(f"{word} {percent(metrics[name]):>7}")
    if "lr" in metrics:
        parts.append(f"lr {metrics['lr']:.2g}")
    if "seconds" in metrics:
        parts.append(seconds(metrics["seconds"]))
    return "  ".join(parts)


#: Metrics of a label phase worth a place in its line: name, words before it, how it reads.
LABEL_METRICS = (
    ("changed", "changed", percent),
    ("wrong", "called wrong", percent),
    ("auroc", "AUROC", lambda value: f"{value:.3f}"),
    ("seconds", "", seconds),
)


def label_numbers(metrics: Mapping[str, float]) -> str:
    """The numbers of a label phase's line."""
    parts = []
    before, after = metrics.get("label_accuracy_before"), metrics.get("label_accuracy_after")
    if "changed" in metrics and before is not None and after is not None:
        parts.append(f"label accuracy {percent(before)} → {percent(after)}")
    for name, words, form in LABEL_METRICS:
        if metrics.get(name) is not None:
            parts.append(f"{words} {form(metrics[name])}".strip())
    return "  ".join(parts)
