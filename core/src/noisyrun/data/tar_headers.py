"""Members of one tar archive, told from their headers alone: nothing is extracted, and nothing between is read.

The standard library's reader follows extended headers of any length, keeps an object a member and takes three times as
long; web data has 40 million members.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from noisyrun.api import UserError

#: Bytes of a header; members are filled up to a multiple of it.
BLOCK = 512
#: Bytes read at a header: small members and the header after them often lie within.
_WINDOW = 4096
#: Bytes of an extended header, which holds a name or a few numbers; more is an attack on memory.
_MAX_EXTENDED = 1 << 20
_EMPTY = bytes(BLOCK)
_FILE = (b"\0", b"0", b"7")
_FOLDER = b"5"
_LONG_NAME, _LONG_LINK, _EXTENDED, _EXTENDED_ALL = b"L", b"K", b"x", b"g"
_EXTENDING = (_LONG_NAME, _LONG_LINK, _EXTENDED, _EXTENDED_ALL)
_WITHOUT_DATA = tuple(b"%d" % kind for kind in range(1, 7))
_JOINED = "archives were joined (tar --concatenate makes one of them), or it was not downloaded whole"
_SPARSE = "a sparse file: write the archive without --sparse"
_SKIPPED = {
    b"1": "hard links",
    b"2": "symbolic links",
    b"3": "devices",
    b"4": "devices",
    b"6": "pipes",
}
#: First bytes of archives that are compressed, and what makes plain ones of them.
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"\x28\xb5\x2f\xfd": "unzstd", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz"}


class Member(NamedTuple):
    """A file in an archive: its name, and where its bytes stand."""

    name: str
    offset: int
    size: int


class Archive:
    """A tar archive that is open for reading.

    Parameters
    ----------
    path
        The archive; not compressed.

    Attributes
    ----------
    size
        Bytes of the archive.
    skipped
        How many members of each kind are no files.
    marked
        Whether blocks of zeros mark the end, once all members were read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped: dict[str, int] = {}
        self.marked = True
        self._file = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._file).st_size
        self._start, self._held = 0, b""
        if hasattr(os, "posix_fadvise"):  # headers lie apart: what the system would read ahead is skipped
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def read(self, offset: int, size: int) -> bytes:
        """Some bytes of the archive; fewer where it ends before."""
        at = offset - self._start
        if at < 0 or at + size > len(self._held):
            self._start, at = offset, 0
            self._held = os.pread(self._file, max(size, _WINDOW), offset)
        return self._held[at : at + size]

    def length_at(self, at: int) -> int | None:
        """Bytes of the member whose header stands at a place; None where none does."""
        try:
            return self._checked(self.read(at, BLOCK), at)
        except UserError:
            return None

    def members(self) -> Iterator[Member]:
        """Its files, in order.

        Raises
        ------
        UserError
            For an archive that is compressed, damaged or cut off, and for names that lead outside.
        """
        at, name, size, pending = 0, None, None, False
        while (header := self.read(at, BLOCK)) != _EMPTY:
            if at > self.size:
                raise self._damaged(at, "the archive ends before: it is cut off")
            if at == self.size:
                self.marked = False
                break
            own, kind, data = self._checked(header, at), header[156:157], at + BLOCK
            extends = kind in _EXTENDING
            length = own if extends or size is None else size
            if kind in _WITHOUT_DATA:
                length = 0
            if data + length > self.size:
                raise self._damaged(at, f"{length:,} bytes, but the archive ends at {self.size:,}: it is cut off")
            if extends:
                if length > _MAX_EXTENDED:
                    raise self._damaged(at, f"an extended header of {length:,} bytes")
                name, size = self._extend(at, kind, self.read(data, length), name, size)
                pending |= kind != _EXTENDED_ALL
            else:
                if kind in _FILE and not header[:100].partition(b"\0")[0].endswith(b"/"):
                    yield Member(self._inside(at, _name(header) if name is None else name), data, length)
                elif kind == b"S":
                    raise self._damaged(at, _SPARSE)
                elif kind not in _FILE and kind != _FOLDER:
                    what = _SKIPPED.get(kind, "members of no known kind")
                    self.skipped[what] = self.skipped.get(what, 0) + 1
                name, size, pending = None, None, False
            at = data + -(-length // BLOCK) * BLOCK
        if pending:
            raise self._damaged(at, "nothing after an extended header: the archive is cut off")
        self._nothing_behind(at)

    def _nothing_behind(self, end: int) -> None:
        """Archives that were joined, and downloads with holes, go on behind what looks like the end."""
        for start in range(end, self.size, _MAX_EXTENDED):
            part = self.read(start, _MAX_EXTENDED)
            if part.count(0) < len(part):
                at = start + len(part) - len(part.lstrip(b"\0"))
                raise self._damaged(at, f"more stands behind the end of the archive, byte {end}: {_JOINED}")

    def _extend(
        self, at: int, kind: bytes, content: bytes, name: bytes | None, size: int | None
    ) -> tuple[bytes | None, int | None]:
        """Name and size that a header gives the member after it, where it gives any."""
        if kind == _LONG_LINK:
            return name, size
        if kind == _LONG_NAME:
            return content.partition(b"\0")[0], size
        given = self._records(at, content)
        if kind == _EXTENDED:
            length = self._number(at, given.get(b"size"))
            return given.get(b"path", name), size if length is None else length
        if given.keys() & {b"path", b"size"}:
            raise self._damaged(at, "one name or size for all members")
        return name, size

    def _checked(self, header: bytes, at: int) -> int:
        """Bytes of a member, from a header whose sum is right."""
        try:
            if not _sum_fits(header):
                raise ValueError
            # A first byte above 127 says that the number is in base 256; negative ones begin with 255.
            high = header[124] >= 128
            length = int.from_bytes(header[125:136], "big") if high else _octal(header[124:136])
            if high and header[124] != 128:
                raise ValueError
        except ValueError:
            start = header[:6]
            if at == 0 and (tool := next((t for sign, t in _COMPRESSED.items() if start.startswith(sign)), None)):
                raise UserError(
                    f"{self.path} is compressed, and images in it cannot be reached one by one: unpack it ({tool}), "
                    "which costs little space, since images are compressed themselves"
                ) from None
            why = "it is no tar archive" if at == 0 else "it is damaged or cut off"
            raise self._damaged(at, f"no header of a member: {why}") from None
        return length

    def _records(self, at: int, content: bytes) -> dict[bytes, bytes]:
        """Records ``LENGTH KEY=VALUE`` of an extended header."""
        found: dict[bytes, bytes] = {}
        place = 0
        while place < len(content) and content[place]:
            digits, space, _ = content[place : place + 20].partition(b" ")
            length = int(digits) if space and digits.isdigit() else 0
            record = content[place + len(digits) + 1 : place + length]
            key, equals, value = record[:-1].partition(b"=")
            if not equals or place + length > len(content) or record[-1:] != b"\n":
                raise self._damaged(at, "an extended header that cannot be read")
            if key.startswith(b"GNU.sparse."):
                raise self._damaged(at, _SPARSE)
            found[key] = value
            place += length
        return found

    def _number(self, at: int, value: bytes | None) -> int | None:
        if value is not None and not (value.isdigit() and len(value) < 20):
            raise self._damaged(at, f"a size of {value[:30]!r}")
        return None if value is None else int(value)

    def _inside(self, at: int, name: bytes) -> str:
        """The name as text, which must not lead outside the folder that the archive stands for."""
        text = name.decode("utf-8", "backslashreplace")
        while text.startswith("./"):
            text = text[2:].lstrip("/")
        if text.startswith("/") or ".." in text.split("/") or not text:
            raise UserError(f"{self.path}, byte {at}: member {text[:200]!r} leads outside the archive's folder")
        return text

    def _damaged(self, at: int, what: str) -> UserError:
        return UserError(f"{self.path}, byte {at}: {what}")


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0" and header[345]:
        return header[345:500].partition(b"\0")[0] + b"/" + name
    return name


def _octal(field: bytes) -> int:
    """A number of octal digits with blanks and zero bytes around them."""
    digits = field.strip(b" \0")
    if digits and not digits.isdigit():
        raise ValueError
    return int(digits or b"0", 8)


def _sum_fits(header: bytes) -> bool:
    """Whether the bytes of a header, its sum taken as blanks, add up to that sum."""
    if len(header) < BLOCK:
        return False
    given = _octal(header[148:156].partition(b"\0")[0])
    blank = header[:148] + b" " * 8 + header[156:]
    # The low half of Adler-32 is the sum of the bytes plus one, modulo 65,521: no loop over them here.
    if zlib.adler32(blank) & 0xFFFF == (given + 1) % 65521:
        return True
    return sum(byte - 256 if byte > 127 else byte for byte in blank) == given  # as some old writers added
