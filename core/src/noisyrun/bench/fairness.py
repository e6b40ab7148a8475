"""The rules of a fair comparison, each a small function that marks what breaks it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """What a reader of a row must know. It stands in every table and cannot be switched off.

    Attributes
    ----------
    code
        Name of the rule: ``slow``, ``trusted-labels``.
    sign
        One or two characters for a cell of a table.
    text
        One line.
    breaks
        True where it breaks a rule of the suite; False for what the suite permits, and a reader still should know.
    comparison, method
        Where it holds; None for all.
    """

    code: str
    sign: str
    text: str
    breaks: bool = True
    comparison: str | None = None
    method: str | None = None
