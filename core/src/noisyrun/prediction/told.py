"""Predictions on a terminal."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from rich.markup import escape
from rich.table import Table

from noisyrun.prediction import SHOWN, Predictions
from noisyrun.printable import printable
from noisyrun.report.console import terminal
from noisyrun.report.numbers import percent, seconds

#: Classes that are listed before the rest is counted.
_CLASSES = 12
#: Seconds of decoding from which on an image is worth a word.
_SLOW = 0.05


def tell(found: Predictions, out: TextIO | None = None) -> None:
    """What was predicted, how right it is, what could not be read, and how long it took."""
    screen = terminal(out or sys.stdout)

    def say(line: str) -> None:
        screen.print(line, soft_wrap=True, highlight=False)

    if found.out is None:
        screen.print(_images(found), highlight=False)
    if found.out is not None or found.images > SHOWN:
        screen.print(_classes(found), highlight=False)
    if found.measures:
        measures = "  ".join(f"{name} {percent(value)}" for name, value in found.measures.items())
        say(f"[bold]{measures}[/]  of {_count(found.judged, 'image')} by {_plain(found.given)}")
    if found.unreadable:
        say(f"[bold yellow]{_count(found.unreadable, 'image')} could not be read[/]")
        for name, reason in found.named:
            say(f"  {_plain(name)}: {_plain(reason)}")
        if found.unreadable > len(found.named):
            say(f"  and {found.unreadable - len(found.named):,} more")
    rate = found.images / max(found.seconds, 1e-9)
    slow = ""
    if found.slowest[0] >= _SLOW:
        slow = f", slowest to decode: {_plain(found.slowest[1])} ({seconds(found.slowest[0])})"
    say(f"[dim]time[/]     {seconds(found.seconds)}, {rate:,.0f} images a second{slow}")
    if found.out is not None:
        say(f"[dim]written[/]  {_plain(found.out)}")
    elif found.images + found.unreadable > SHOWN:
        say(f"the first {SHOWN} images are shown; --out FILE writes a row for each")


def _images(found: Predictions) -> Table:
    """The first rows."""
    table = _table("image", "predicted", "probability" if not found.card.multi else "probabilities", "next likeliest")
    for row in found.table.slice(0, SHOWN).to_pylist():
        if row["error"] is not None:
            table.add_row(_plain(row["path"]), f"[yellow]{_plain(row['error'])}[/]", "", "")
            continue
        pairs = [f"{_plain(label)} {percent(value)}" for label, value in zip(row["labels"], row["probabilities"])]
        if found.card.multi:
            labels, values = map(_plain, row["labels"]), map(percent, row["probabilities"])
            table.add_row(_plain(row["path"]), ", ".join(labels), ", ".join(values), "")
        else:
            table.add_row(_plain(row["path"]), _plain(row["label"]), percent(row["probability"]), ", ".join(pairs[1:3]))
    if found.card.multi:
        table.columns.pop()
    return table


def _classes(found: Predictions) -> Table:
    """How many images each class was predicted for."""
    table = _table("predicted class", "images", "mean probability")
    table.columns[1].justify = table.columns[2].justify = "right"
    ranked = sorted(((count, name) for name, count in found.counts.items() if count), key=lambda pair: -pair[0])
    for count, name in ranked[:_CLASSES]:
        table.add_row(_plain(name), f"{count:,}", percent(found.confidence[name]))
    if len(ranked) > _CLASSES:
        table.add_row(f"{len(ranked) - _CLASSES:,} more", f"{sum(count for count, _ in ranked[_CLASSES:]):,}", "")
    never = len(found.counts) - len(ranked)
    if never:
        table.add_row(f"[dim]never: {_count(never, 'class', 'es')}[/]", "", "")
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _plain(text: Any) -> str:
    """Text from data with neither markup nor control characters at work."""
    return escape(printable(str(text)))


def _count(count: int, what: str, plural: str = "s") -> str:
    return f"{count:,} {what}{'' if count == 1 else plural}"
