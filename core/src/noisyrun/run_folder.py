"""The folder of a run: what is in it, who may write to it, and how the run in it ended. Imports no torch."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from noisyrun.api.errors import UserError
from noisyrun.files import FAULTS, remove_leavings, take_lock, write_text, writing

CONFIG, STATUS, CHECKPOINT = "config.json", "status.json", "checkpoint.safetensors"
SUMMARY, LABELS, NOISE = "summary.json", "labels.parquet", "noise.parquet"
CURVES, GALLERY, PAGE = "curves.svg", "gallery.png", "gallery.html"
#: The folder of the run by plain cross entropy, within that of the run it is compared with.
BASELINE = "baseline"


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
            if (out / STATUS).exists():
                with cls(out).locked():  # else it might be put aside while another process begins in it
                    if cls(out)._never_began():
                        os.replace(out, _fresh(out.absolute().parent, f"{out.absolute().name}-failed"))
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = FAULTS.get(error.errno or 0, error.strerror)
            raise UserError(f"--out: cannot make {error.filename} ({why})") from error
        cls(out)._refuse_another()
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
    def locked(self, warn: Callable[[str], object] | None = None) -> Iterator[None]:
        """Keep every other process from running in this folder; freed by the system when the process dies.

        What a process that was killed here left half-written is removed.

        Parameters
        ----------
        warn
            Takes a line where the file system has no locks, so that nothing keeps a second process out.

        Raises
        ------
        UserError
            When another process has it, or the folder cannot be written to.
        """
        handle, held = self._lock()
        try:
            if held is False:
                raise UserError(f"{self.path}: another noisyrun is running in this folder; wait for it to end")
            if held is None and warn is not None:
                warn(
                    f"{self.path}: this file system has no locks, so nothing keeps a second noisyrun out of this "
                    "folder; start none in it while this one runs"
                )
            for folder in (self.path, self.path / BASELINE):
                remove_leavings(folder)
            yield
        finally:
            os.close(handle)

    def _lock(self) -> tuple[int, bool | None]:
        """The open file that keeps others out, and what `noisyrun.files.take_lock` says of it."""
        path = self.path / ".lock"
        while True:
            with writing(path):
                handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
                try:
                    held = take_lock(handle)
                    with suppress(FileNotFoundError):
                        if os.path.samestat(os.fstat(handle), path.stat()):
                            return handle, held
                except BaseException:
                    os.close(handle)
                    raise
            os.close(handle)  # the folder was put aside between the two, and another stands in its place

    def file(self, name: str) -> Path:
        """A file in the folder."""
        return self.path / name

    def begin(self, config: Mapping[str, Any]) -> str:
        """Note a new run and what it was asked to do; returns its id. The folder is locked.

        Raises
        ------
        UserError
            When another process was quicker, and the folder holds its run.
        """
        self._refuse_another()
        # The configuration first: with it alone a run can be resumed, without it the folder is no run's.
        write_text(self.file(CONFIG), json.dumps(config, indent=2, ensure_ascii=False) + "\n")
        return self.run_id()

    def run_id(self) -> str:
        """The id of the run; a new one where it was stopped before it had any."""
        known = self.status().get("run_id")
        if isinstance(known, str):
            return known
        made = secrets.token_hex(16)
        self.note("running", run_id=made, started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        return made

    def _refuse_another(self) -> None:
        if self.file(STATUS).exists() or self.file(CONFIG).exists():
            raise UserError(
                f"--out: {self.path} holds a run already; go on with: noisyrun resume {quote(str(self.path))}, "
                "or name another folder"
            )

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
