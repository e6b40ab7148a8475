"""Paths of images, held below their root."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from pathlib import Path

from noisyrun.api import UserError


def checked_paths(paths: Sequence[str | None], root: Path, where: str) -> list[str]:
    """Paths relative to a root, with ``..`` and absolute paths resolved.

    Raises
    ------
    UserError
        Naming the first row without a path, or with one that leads outside the root or that no file can have.
    """
    top = os.path.abspath(root)
    out = []
    for row, path in enumerate(paths):
        if not path:
            raise UserError(f"row {row} of {where} has no path")
        if "\0" in path:
            raise UserError(f"row {row} of {where}: path {path!r} has a zero byte in it")
        full = os.path.normpath(os.path.join(top, path))
        if not full.startswith(top.rstrip(os.sep) + os.sep):
            raise UserError(
                f"row {row} of {where}: path {path!r} leads outside the root {root}; --data.root sets another"
            )
        out.append(full[len(top.rstrip(os.sep)) + 1 :])
    return out
