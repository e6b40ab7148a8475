"""Side information from word vectors in a text file, of which only the words needed are read."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from noisyrun.api import Phase, Text, TextEncoder, UserError
from noisyrun_text.config import FastTextConfig
from noisyrun_text.words import TextSideInfo

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
#: Bytes beyond which a line is no line: a binary file may hold none.
LINE = 1 << 20
#: How fastText's binary format begins.
_MAGIC = (793712314).to_bytes(4, "little")


class WordVectors:
    """A file of word vectors, one word and its d values a line; a first line of count and width may precede them.

    The first look-up goes through the file once. For a plain file it notes where each word stands (16 bytes a word), so
    that later look-ups seek; a compressed one is gone through again.

    Attributes
    ----------
    dim
        d.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key
        self.compressed = path.suffix == ".gz"
        self._found: dict[str, np.ndarray | None] = {}
        self._hashes: np.ndarray | None = None
        self._offsets: np.ndarray | None = None
        self.dim, self._header = self._width()

    def look_up(self, words: Iterable[str]) -> dict[str, np.ndarray]:
        """Vectors float32 [d] of those words that the file has."""
        wanted = set(words)
        fresh = wanted - self._found.keys()
        if fresh:
            self._found.update(dict.fromkeys(fresh))
            if self._hashes is None or self.compressed:
                self._scan(fresh)
            else:
                self._seek(fresh)
        return {word: vector for word in wanted if (vector := self._found[word]) is not None}

    def _open(self) -> BinaryIO:
        try:
            return gzip.open(self.path, "rb") if self.compressed else self.path.open("rb")  # type: ignore[return-value]
        except OSError as error:
            raise UserError(f"{self.key}: vectors: {self.path}: {error.strerror or error}") from error

    def _width(self) -> tuple[int, bool]:
        """Width of a vector, and whether the first line is a header."""
        with self._open() as file:
            try:
                first, second = file.readline(LINE), file.readline(LINE)
            except (OSError, EOFError) as error:
                raise UserError(f"{self.key}: vectors: {self.path} cannot be read: {error}") from error
        if first.startswith(_MAGIC):
            raise UserError(
                f"{self.key}: vectors: {self.path} is fastText's binary format, which is not read; give the text "
                "format (.vec), which comes beside it"
            )
        if first.startswith((b"\x80", b"PK\x03\x04")):
            raise UserError(f"{self.key}: vectors: {self.path} is no text file of word vectors")
        fields = first.split()
        if len(fields) == 2 and all(part.isdigit() for part in fields):
            dim, header = int(fields[1]), True
        else:
            dim, header = len(fields) - 1, False
        example = second if header else first
        if dim < 2 or not _is_vector(example.rstrip().rsplit(b" ", dim), dim):
            raise UserError(
                f"{self.key}: vectors: {self.path} is no file of word vectors: each line must be a word and its values"
            )
        return dim, header

    def _scan(self, wanted: set[str]) -> None:
        names = {word.encode(): word for word in wanted}
        hashes: list[int] = []
        offsets: list[int] = []
        place = 0
        with self._open() as file:
            try:
                for number, line in enumerate(file):
                    if number > 0 or not self._header:
                        name = line[: line.find(b" ")]
                        if name in names:
                            self._found[names[name]] = self._parse(line, number + 1)
                        if not self.compressed:
                            hashes.append(_hash(name))
                            offsets.append(place)
                    place += len(line)
            except (OSError, EOFError) as error:
                raise UserError(f"{self.key}: vectors: {self.path} cannot be read to its end: {error}") from error
        if not self.compressed:
            unsorted = np.array(hashes, dtype=np.uint64)
            order = np.argsort(unsorted, kind="stable")
            self._hashes, self._offsets = unsorted[order], np.array(offsets, dtype=np.int64)[order]

    def _seek(self, wanted: set[str]) -> None:
        assert self._hashes is not None
        assert self._offsets is not None
        with self._open() as file:
            for word in wanted:
                name = word.encode()
                value = np.uint64(_hash(name))
                low, high = (int(np.searchsorted(self._hashes, value, side=side)) for side in ("left", "right"))
                for place in self._offsets[low:high]:
                    file.seek(int(place))
                    line = file.readline()
                    if line[: line.find(b" ")] == name:
                        self._found[word] = self._parse(line, None)
                        break

    def _parse(self, line: bytes, number: int | None) -> np.ndarray:
        parts = line.rstrip().rsplit(b" ", self.dim)
        if not _is_vector(parts, self.dim):
            where = "" if number is None else f" line {number}"
            raise UserError(f"{self.key}: vectors: {self.path}{where}: a word and {self.dim} finite values expected")
        return np.array(parts[1:], dtype=np.float32)


class WordEncoder(TextEncoder):
    """A text as the vectors of its words, and their mean."""

    def __init__(self, vectors: WordVectors, lower: bool) -> None:
        self.vectors_of = vectors
        self.lower = lower
        self.dim = vectors.dim

    def learn(self, texts: Iterable[str]) -> None:
        """Read the words of many texts in one pass."""
        self.vectors_of.look_up(set().union(*(self._forms(word) for text in texts for word in split(text))))

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Float32 [B, T, d] and bool [B, T]: the words of each text that have a vector, in order."""
        words = [split(text) for text in texts]
        found = self.vectors_of.look_up({form for some in words for word in some for form in self._forms(word)})
        known = [[vector for word in some if (vector := self._choose(word, found)) is not None] for some in words]
        width = max((len(some) for some in known), default=0)
        made = np.zeros((len(texts), width, self.dim), dtype=np.float32)
        mask = np.zeros((len(texts), width), dtype=bool)
        for i, some in enumerate(known):
            if some:
                made[i, : len(some)] = some
                mask[i, : len(some)] = True
        return torch.from_numpy(made), torch.from_numpy(mask)

    def _forms(self, word: str) -> list[str]:
        return [word, word.lower()] if self.lower else [word]

    def _choose(self, word: str, found: dict[str, np.ndarray]) -> np.ndarray | None:
        return next((found[form] for form in self._forms(word) if form in found), None)


class FastTextSideInfo(TextSideInfo[FastTextConfig]):
    """Texts of classes and samples as means of word vectors."""

    def preflight(self) -> None:
        """Look at the file's first lines."""
        self._vectors()

    def _vectors(self) -> WordVectors:
        path = self.config.vectors
        if path is None:
            raise UserError(f"{self.key}: needs a file of word vectors (--side-info.vectors FILE.vec)")
        if not path.is_file():
            raise UserError(f"{self.key}: vectors: no file {str(path)!r}")
        return WordVectors(path, self.key)

    def make_encoder(self, text: Text, phase: Phase) -> TextEncoder:
        encoder = WordEncoder(self._vectors(), self.config.lower)
        encoder.learn(_all_texts(text))
        return encoder


def split(text: str) -> list[str]:
    """Words of a text, without punctuation and underscores."""
    return _WORD.findall(text)


def _all_texts(text: Text) -> Iterator[str]:
    """Every text of the data, so that all words are read in one pass over the file."""
    yield from text.names
    yield from text.descriptions or ()
    yield from text.titles or ()
    yield from text.sample_descriptions or ()
    yield from (tag for tags in text.tags or () for tag in tags)


def _is_vector(parts: list[bytes], dim: int) -> bool:
    try:
        return len(parts) == dim + 1 and bool(np.isfinite(np.array(parts[1:], dtype=np.float32)).all())
    except ValueError:
        return False


def _hash(name: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
