"""How numbers read."""

from __future__ import annotations


def percent(share: float | None) -> str:
    """A share in [0, 1] as a percentage; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.1f} %"


def points(share: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    return f"{100 * share:+.1f}"


def seconds(value: float) -> str:
    """A duration in the unit that suits it."""
    if value < 0.0995:
        return f"{1000 * value:.0f} ms"
    if value < 99.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def size(count: int) -> str:
    """Bytes in the unit that suits them."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"


def joules(value: float) -> str:
    """Energy in the unit that suits it."""
    for unit in ("J", "kJ"):
        if value < 1000:
            return f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} MJ"
