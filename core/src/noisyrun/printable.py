"""Text from data, made safe to show on a terminal."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """Text whose control characters, such as those that colour a terminal, do nothing.

    Parameters
    ----------
    keep
        Characters that stay as they are, such as the end of a line.
    """
    return "".join(letter if letter.isprintable() or letter in keep else "\ufffd" for letter in text)
