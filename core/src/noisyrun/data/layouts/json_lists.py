"""Lists in JSON files, as columns of the few fields that are wanted.

COCO's annotations are half a gigabyte, of polygons mostly, which the standard library would keep as Python's numbers at
ten times the bytes. Here one entry of a list is Python's at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from noisyrun.api import UserError

#: Characters read at a time.
_BLOCK = 1 << 20
#: Characters of one entry of a list, or of one value beside the lists: more is refused rather than held in memory.
MAX_ENTRY = 64 << 20
#: Bytes of a JSON file that is read whole.
MAX_WHOLE = 256 << 20
#: Entries whose fields are Python's before they become Arrow's.
_CHUNK = 1 << 16
_BLANK = " \t\n\r"
#: Characters after which a number is over: its exponent has no more.
_NUMBER = 32


class Number(int):
    """A whole number from 0 on, which may be written as text."""


#: A list that is wanted, by its key: its fields, each with the type it must have.
Fields = Mapping[str, Mapping[str, type]]
_TYPES = {int: pa.int64(), Number: pa.int64(), str: pa.large_string()}


class _Stream:
    """A JSON text that is read as far as somebody asks."""

    def __init__(self, stream: TextIO, file: Path) -> None:
        self.file = file
        self._stream = stream
        self._held, self._at, self._ended = "", 0, False
        self._decoder = json.JSONDecoder()

    def _more(self) -> bool:
        if self._ended:
            return False
        # As much again as is held: a long value is tried a few times, not once a block.
        block = self._stream.read(max(_BLOCK, len(self._held) - self._at))
        self._held, self._at = self._held[self._at :] + block, 0
        self._ended = not block
        return not self._ended

    def peek(self) -> str:
        """The next character that is no blank; nothing at the end."""
        while True:
            while self._at < len(self._held):
                if self._held[self._at] not in _BLANK:
                    return self._held[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, wanted: str) -> str:
        """The next character, which must be one of some."""
        found = self.peek()
        if not found or found not in wanted:
            raise ValueError(f"{found!r} in place of one of {wanted!r}" if found else "it ends too early")
        self._at += 1
        return found

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._held, self._at)
                # A number at the end of what is held may go on: 1. before 5.
                left = len(self._held) - end
                if self._ended or left >= (_NUMBER if isinstance(value, int | float) else 1):
                    self._at = end
                    return value
            except json.JSONDecodeError:
                if self._ended:
                    raise
            self._more()
            if len(self._held) - self._at > MAX_ENTRY:
                raise UserError(
                    f"{self.file}: one entry is longer than {MAX_ENTRY >> 20} million characters: not read into memory"
                )

    def members(self) -> Iterator[str]:
        """Keys of an object; whoever takes one takes its value, too, before the next."""
        self.take("{")
        if self.peek() == "}":
            self.take("}")
            return
        while True:
            key = self.value()
            if not isinstance(key, str):
                raise ValueError(f"a key {str(key)[:40]!r} that is no text")
            self.take(":")
            yield key
            if self.take(",}") == "}":
                return

    def entries(self) -> Iterator[Any]:
        """Values of a list."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return


def json_lists(file: Path, wanted: Fields) -> dict[str, dict[str, pa.Array]]:
    """Lists of objects in a JSON object, as columns by key and field; other fields and keys are passed over.

    Raises
    ------
    UserError
        When the file is missing, no JSON or no object, lacks a list, or has an entry that lacks a field, or whose
        field is of another type, which is named.
    """
    found: dict[str, dict[str, pa.Array]] = {}
    try:
        with open(file, encoding="utf-8-sig") as text:
            stream = _Stream(text, file)
            if stream.peek() != "{":
                raise UserError(f"{file} holds no JSON object")
            for key in stream.members():
                if key not in wanted:
                    _pass_over(stream)
                elif stream.peek() != "[":
                    raise UserError(f"{file} holds no list {key!r}")
                else:
                    found[key] = _columns(stream, key, wanted[key])
            if stream.peek():
                raise ValueError("more after its end")
    except FileNotFoundError:
        raise UserError(f"{file} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is no JSON file ({' '.join(str(error).split())})") from None
    for key in wanted:
        if key not in found:
            raise UserError(f"{file} holds no list {key!r}")
    return found


def _pass_over(stream: _Stream) -> None:
    if stream.peek() == "[":
        for _ in stream.entries():
            pass
    else:
        stream.value()


def _columns(stream: _Stream, key: str, fields: Mapping[str, type]) -> dict[str, pa.Array]:
    chunks: dict[str, list[pa.Array]] = {name: [] for name in fields}
    held: dict[str, list[Any]] = {name: [] for name in fields}

    def store() -> None:
        for name, kind in fields.items():
            chunks[name].append(pa.array(held[name], _TYPES[kind]))
            held[name].clear()

    for number, entry in enumerate(stream.entries()):
        for name, kind in fields.items():
            held[name].append(_field(entry, name, kind, f"{stream.file}: entry {number} of {key!r}, from 0,"))
        if number % _CHUNK == _CHUNK - 1:
            store()
    store()
    return {name: pa.concat_arrays(parts) for name, parts in chunks.items()}


def _field(entry: Any, name: str, kind: type, where: str) -> Any:
    value: Any = entry.get(name) if isinstance(entry, dict) else None
    if kind is Number:
        if isinstance(value, bool) or not re.fullmatch("[0-9]{1,18}", str(value)):
            raise UserError(f"{where} has {name!r} that is no whole number (got {str(value)[:40]!r})")
        return int(value)
    if kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    else:
        fits = isinstance(value, str)
    if not fits:
        raise UserError(f"{where} has no {name!r} of the right type")
    if isinstance(value, str) and not is_text(value):
        raise UserError(f"{where} has {name!r} that is no text")
    return value


def is_text(value: str) -> bool:
    """Whether text can be written as UTF-8 and stand in a path: JSON can hold halves of letters and zero bytes."""
    return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def load_json(file: Path, limit: int = MAX_WHOLE) -> Any:
    """What a JSON file of a bounded size holds.

    Raises
    ------
    FileNotFoundError
        When it is missing.
    OSError, ValueError, RecursionError
        When it is no JSON, or is larger than the bound.
    """
    with open(file, "rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"more than {limit >> 20} MiB: not read into memory")
    return json.loads(content)
