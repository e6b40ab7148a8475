"""The table at the end of a benchmark: one row a case, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HEADS = ("case", "noisyrun", "floor", "share of the floor's speed", "beside it", "its time / noisyrun's", "rate")
#: What else a row's dictionary holds; every other key with a time is something that noisyrun stands beside.
_FACTS = frozenset({"noisyrun", "floor", "floor_is", "bandwidth", "single", "double", "items"})


def lines(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Markdown of rows by case: seconds of ``noisyrun``, its ``floor``, and others by name."""
    cells = [_HEADS, *(_row(case, facts) for case, facts in rows.items())]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_HEADS))]
    made = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    return [made[0], "| " + " | ".join("-" * width for width in widths) + " |", *made[1:]]


def _row(case: str, facts: Mapping[str, Any]) -> tuple[str, ...]:
    ours, floor = facts.get("noisyrun"), facts.get("floor")
    others = {name: value for name, value in facts.items() if name not in _FACTS}
    rate = "" if ours is None or "items" not in facts else f"{facts['items'] / ours:,.0f}/s"
    return (
        case,
        seconds(ours),
        seconds(floor) + (" (bare)" if floor is not None and "bare" in facts.get("floor_is", "") else ""),
        "-" if ours is None or floor is None else f"{100 * floor / ours:.0f} %",
        ", ".join(f"{name} {seconds(value)}" for name, value in others.items()) or "-",
        ", ".join("-" if ours is None else f"{value / ours:.1f}" for value in others.values()) or "-",
        rate or "-",
    )


def seconds(value: float | None) -> str:
    """A time in three digits, with its unit."""
    if value is None:
        return "-"
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if value * scale >= 1:
            return f"{value * scale:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"
