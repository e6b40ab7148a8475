"""Pickles of NumPy arrays, in which old data sets come, read so that nothing else can be in them.

A pickle may call any function when it is loaded. This reader knows six names, none of which reaches NumPy's own
unpickling: arrays are rebuilt here, from their bytes, shape and type.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from noisyrun.api import UserError

#: Bytes that an entry of a zip archive may unfold to: CIFAR-N's files hold a few megabytes.
_LARGEST = 256 << 20
#: What ``torch.save`` begins with in its older form: this number, then two more pickles, then the object.
_MAGIC = 0x1950A86A20F9469CFC6C
#: How deep lists, tuples and dictionaries may lie in each other: those of arrays are four deep.
_DEEPEST = 12
#: Operations that no writer of arrays, lists and dictionaries uses.
_UNUSED = {"POP", "POP_MARK", "DUP", "EMPTY_SET", "ADDITEMS", "FROZENSET", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"}
_NUMBERS = re.compile(r"[biuf]\d{1,2}\Z")


class _DType:
    """Stands for ``numpy.dtype``; numbers only."""

    def __init__(self, spec: Any, *_: Any) -> None:
        name = spec.decode("ascii") if isinstance(spec, bytes) else spec
        if not isinstance(name, str) or not _NUMBERS.match(name):
            raise pickle.UnpicklingError(f"an array of type {name!r}, which is no number")
        self.type = np.dtype(name)

    def __setstate__(self, state: Sequence[Any]) -> None:
        if state[1] in (">", b">"):
            self.type = self.type.newbyteorder(">")


class _Array:
    """Stands for ``numpy.ndarray``."""

    def __init__(self, *_: Any) -> None:
        self.value = np.zeros(0)

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, shape, dtype, fortran, data = state
        if isinstance(data, str):
            data = data.encode("latin1")
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array without its bytes")
        self.value = np.frombuffer(data, dtype.type).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _no_bytes(*_: Any) -> bytes:
    """How Python 3 writes no bytes at all into an old pickle."""
    return b""


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into an old pickle."""
    return text.encode("latin1")


#: All that a pickle may name.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("a PyTorch tensor")


def load_arrays(file: Path) -> dict[str, Any]:
    """A dictionary of arrays, lists and numbers, from a pickle or from what ``torch.save`` makes of one.

    Raises
    ------
    UserError
        When the file is missing or broken, or names anything but NumPy arrays of numbers.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{file} is missing") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from None
    try:
        found = _load(content)
        if not isinstance(found, dict):
            raise pickle.UnpicklingError(f"a {type(found).__name__}, not a dictionary of arrays")
        return {key.decode() if isinstance(key, bytes) else str(key): _plain(value) for key, value in found.items()}
    except pickle.UnpicklingError as error:
        raise UserError(f"{file}: a pickle may hold NumPy arrays of numbers alone; this one holds {error}") from None
    except Exception as error:  # a broken pickle raises whatever its bytes lead to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{file} is no pickle of NumPy arrays ({reason})") from None


def _load(content: bytes) -> Any:
    if not zipfile.is_zipfile(BytesIO(content)):
        stream = BytesIO(content)
        first = _next(stream)
        if first != _MAGIC:
            return first
        for _ in range(2):
            _next(stream)
        return _next(stream)
    with zipfile.ZipFile(BytesIO(content)) as archive:
        entry = next((one for one in archive.infolist() if one.filename.split("/")[-1] == "data.pkl"), None)
        if entry is None:
            raise ValueError("a zip archive without data.pkl")
        if entry.file_size > _LARGEST:
            raise ValueError(f"data.pkl unfolds to {entry.file_size:,} bytes")
        return _next(BytesIO(archive.read(entry)))


def _next(stream: BytesIO) -> Any:
    """The pickle at which a stream stands, unless it would cost more than its own size calls for."""
    start = stream.tell()
    _bounded(stream)
    stream.seek(start)
    return _Unpickler(stream, encoding="bytes").load()


def _bounded(stream: BytesIO) -> None:
    """Follow how deep the objects of a pickle lie in each other, without making them.

    A place of the memo far beyond the file would have gigabytes allocated. Tuples in tuples by the thousand crash the
    interpreter when they become a key, and one that stands in another twice, and that in another, takes for ever.
    """
    size = stream.getbuffer().nbytes
    stack: list[int] = []  # how deep each object is: numbers and arrays 0, what holds others more, names −1
    marks: list[int] = []
    memo: dict[int, int] = {}
    for code, argument, _ in pickletools.genops(stream):
        name = code.name
        if name == "MARK":
            marks.append(len(stack))
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name.endswith("PUT"):
            if not isinstance(argument, int) or argument > size:
                raise pickle.UnpicklingError(f"a place {argument} that no object of it can have")
            memo[argument] = stack[-1]
        elif name.endswith("GET"):
            depth = memo[int(str(argument))]
            if depth > 0:
                raise pickle.UnpicklingError("a list or tuple that stands in two places")
            stack.append(depth)
        elif name in _UNUSED:
            raise pickle.UnpicklingError(f"an operation {name} that arrays do not need")
        else:
            before, after = [one.name for one in code.stack_before], [one.name for one in code.stack_after]
            first = marks.pop() if "mark" in before else len(stack)
            first -= before.index("mark") if "mark" in before else len(before)
            if first < 0:
                raise ValueError("an operation without its operands")
            taken, stack[first:] = stack[first:], []
            if name == "BUILD" and taken[0] < 0:
                raise pickle.UnpicklingError("a change to a function")
            if after:
                holds = name == "BUILD" or after[0] in ("tuple", "list", "dict")
                # What grows, a thousand items at a time, is no deeper for having been there before.
                own, items = (taken[0], taken[1:]) if before[:1] == after[:1] else (0, taken)
                depth = max(own, 1 + max(items, default=0)) if holds else -1 if name.endswith("GLOBAL") else 0
                if depth > _DEEPEST:
                    raise pickle.UnpicklingError("lists or tuples deep in each other")
                stack.append(max(depth, 1) if holds else depth)


def _plain(value: Any) -> Any:
    """Arrays in place of what stood for them, text in place of bytes."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, bytes):
        return value.decode("latin1")
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
