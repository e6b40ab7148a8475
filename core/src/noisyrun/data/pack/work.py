"""The folder in which a pack grows until it is whole, and how far it has come: what a killed pack goes on from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from noisyrun.api import UserError
from noisyrun.data.pack.read import PACK, read_pack
from noisyrun.files import sync, take_lock, write_text

_STATE, _LOCK = ".packing.json", ".lock"


@dataclass
class Progress:
    """How far one split has come.

    Attributes
    ----------
    shards
        Fields of `noisyrun.data.pack.read.Shard`, without their final names.
    next
        The first row that is in no finished shard.
    skipped
        A line for each image that was left out.
    done
        All rows are in shards.
    """

    shards: list[dict[str, Any]] = field(default_factory=list)
    next: int = 0
    skipped: list[str] = field(default_factory=list)
    done: bool = False


class Work:
    """The working folder ``DIR.packing`` beside the folder that a pack will be.

    Nobody reads it. It takes the name it is meant for when all is written, at once.
    """

    def __init__(self, to: Path, plan: Mapping[str, Any]) -> None:
        self.to = to
        self.path = to.with_name(f"{to.name}.packing")
        self.plan = json.loads(json.dumps(plan))
        self.splits: dict[str, Progress] = {}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder, or go on with what a killed pack left in it.

        Raises
        ------
        UserError
            When another process works in it, or it holds a pack begun of something else.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if take_lock(handle) is False:
                raise UserError(f"--to: another noisyrun is packing to {self.to}; wait for it to end")
            self._read()
            yield
        finally:
            os.close(handle)

    def _read(self) -> None:
        file = self.path / _STATE
        if not file.is_file():
            strange = next((entry.name for entry in self.path.iterdir() if entry.name != _LOCK), None)
            if strange is not None and not strange.startswith(f".{_STATE}"):
                raise UserError(f"--to: {self.path}, where the pack would grow, holds something else ({strange})")
            self.save()
            return
        try:
            held = json.loads(file.read_text(encoding="utf-8"))
            plan, splits = held["plan"], {name: Progress(**part) for name, part in held["splits"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"--to: {file} cannot be read; delete {self.path} to begin anew") from None
        if plan != self.plan:
            named = ", ".join(sorted(key for key in {*plan, *self.plan} if plan.get(key) != self.plan.get(key)))
            raise UserError(
                f"--to: {self.path} holds a pack begun of other data or with other settings ({named}); "
                "delete it to begin anew, or name another folder"
            )
        self.splits = splits
        for name, split in splits.items():
            for number, shard in enumerate(split.shards):
                found = next((path for path in self.names(name, number, split) if (self.path / path).is_file()), None)
                if found is None or (self.path / found).stat().st_size != shard["bytes"]:
                    raise UserError(f"--to: a shard in {self.path} is gone or cut off; delete the folder to begin anew")

    def names(self, split: str, number: int, progress: Progress) -> list[str]:
        """Where a finished shard lies: under its working name, or under the final one."""
        ending = self.plan["ending"]
        names = [f"{split}-{number:06d}.{ending}"]
        if ending == "parquet":
            names.append(f"data/{split}-{number:05d}-of-{len(progress.shards):05d}.parquet")
        return names

    def save(self) -> None:
        """Note how far all splits have come."""
        parts = {name: asdict(split) for name, split in self.splits.items()}
        write_text(self.path / _STATE, json.dumps({"plan": self.plan, "splits": parts}))

    def settle(self) -> None:
        """Give every shard its final name."""
        for name, split in self.splits.items():
            for number, shard in enumerate(split.shards):
                names = self.names(name, number, split)
                (self.path / names[-1]).parent.mkdir(exist_ok=True)
                if len(names) > 1 and (self.path / names[0]).is_file():
                    os.replace(self.path / names[0], self.path / names[-1])
                shard["file"] = names[-1]

    def finish(self) -> None:
        """Let the whole folder take its name."""
        for leftover in (*self.path.glob(".*.tmp"), *self.path.glob(".*.places")):
            leftover.unlink()
        for entry in (self.path, *(path for path in self.path.iterdir() if path.is_dir())):
            sync(entry)
        os.replace(self.path, self.to)
        sync(self.to.parent)
        for name in (_STATE, _LOCK):
            (self.to / name).unlink(missing_ok=True)


def refuse_target(to: Path, digest: str, options: Mapping[str, Any]) -> bool:
    """Whether a folder holds the very pack that is asked for.

    Raises
    ------
    UserError
        When it holds something else, or cannot be replaced.
    """
    if to.exists() and not to.is_dir():
        raise UserError(f"--to: {to} is a file; name a folder")
    if not to.exists() or next(to.iterdir(), None) is None:
        if to.is_dir() and to.is_mount():
            raise UserError(f"--to: {to} is a mounted disk; name a folder on it, which can appear at once when whole")
        return False
    there = read_pack(to) if (to / PACK).is_file() else None
    if there is not None and there.digest == digest and there.options == dict(options):
        return True
    what = "another pack" if there is not None else "something else"
    raise UserError(f"--to: {to} holds {what}; name a new folder")
