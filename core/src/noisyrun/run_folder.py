"""The folder of a run: what is in it, who may write to it, and how the run in it ended. Imports no torch."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisyrun.api.errors import UserError
from noisyrun.files import write_text

CONFIG, STATUS, CHECKPOINT = "config.json", "status.json", "checkpoint.safetensors"
SUMMARY, LABELS, NOISE = "summary.json", "labels.parquet", "noise.parquet"
CURVES, GALLERY, PAGE = "curves.svg", "gallery.png", "gallery.html"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    It holds ``config.json`` (the resolved configuration), ``status.json`` (running, interrupted, failed or finished),
    ``checkpoint.safetensors``, and at the end ``summary.json``, ``labels.parquet``, the noise manifest
    and pictures.
    """

    path: Path

    @classmethod
    def create(cls, out: Path | None, name: str) -> RunFolder:
        """The folder of a new run: `out`, or a fresh one under ``runs/``.

        A run in `out` that failed before its first checkpoint is put aside as ``OUT-failed``: it cannot be resumed.

        Raises
        ------
        UserError
            When `out` is no folder, or holds a run already.
        """
        try:
            if out is None:
                return cls(_fresh(Path("runs"), time.strftime("%Y%m%d-%H%M%S") + f"-{name}"))
            if (out / STATUS).exists() and cls(out)._never_began():
                os.replace(out, _fresh(out.absolute().parent, f"{out.absolute().name}-failed"))
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out: cannot make {error.filename} ({error.strerror})") from error
        if (out / STATUS).exists() or (out / CONFIG).exists():
            raise UserError(
                f"--out: {out} holds a run already; go on with: noisyrun resume {out}, or name another folder"
            )
        return cls(out)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of a run that was started before.

        Raises
        ------
        UserError
            When it is none.
        """
        if not (path / CONFIG).is_file():
            raise UserError(f"{path}: not the folder of a run ({CONFIG} is missing)")
        return cls(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from running in this folder; freed by the system when the process dies.

        Raises
        ------
        UserError
            When another process has it.
        """
        handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(
                    f"{self.path}: another noisyrun is running in this folder; wait for it to end"
                ) from None
            yield
        finally:
            os.close(handle)

    def file(self, name: str) -> Path:
        """A file in the folder."""
        return self.path / name

    def begin(self, config: Mapping[str, Any]) -> str:
        """Note a new run and what it was asked to do; returns its id."""
        run_id = secrets.token_hex(16)
        self.note("running", run_id=run_id, started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        write_text(self.file(CONFIG), json.dumps(config, indent=2, ensure_ascii=False) + "\n")
        return run_id

    def note(self, status: str, **facts: Any) -> None:
        """Note how the run stands."""
        write_text(self.file(STATUS), json.dumps({**self.status(), "status": status, **facts}, indent=2) + "\n")

    def status(self) -> dict[str, Any]:
        """What is noted; empty where nothing is."""
        return _read(self.file(STATUS)) if self.file(STATUS).exists() else {}

    def _never_began(self) -> bool:
        return self.status().get("status") == "failed" and not self.file(CHECKPOINT).exists()

    def config(self) -> dict[str, Any]:
        """The resolved configuration of the run."""
        return _read(self.file(CONFIG))


def _fresh(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 1000):
        path = parent / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise UserError(f"{parent}: too many runs called {name}")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold an object")
    return content
