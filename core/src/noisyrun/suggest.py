"""Did you mean."""

from __future__ import annotations

from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like another, or None when none is much like it."""
    from difflib import get_close_matches

    by_form = {name.lower().replace("_", "-"): name for name in known}
    found = get_close_matches(word.lower().replace("_", "-"), by_form, n=1, cutoff=0.6)
    return by_form[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """`` (did you mean x?)``, or nothing."""
    found = closest(word, known)
    return f" (did you mean {prefix}{found}?)" if found else ""
