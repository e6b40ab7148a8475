"""What all text encoders share: the texts of classes and samples, and the side information made of them."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from noisyrun.api import CosineRows, Phase, Rows, SideInfo, SideInfoEncoder, Task, Text, TextEncoder, UserError
from noisyrun_text.config import TextConfig

T = TypeVar("T", bound=TextConfig)

#: Bytes in the units that messages use.
GIGABYTE = 1 << 30

#: Texts of samples encoded at a time: enough to fill the encoder's own batches, few enough to bound memory.
CHUNK = 4096


def readable(name: str) -> str:
    """A class name as words: folder and column names often join them by underscores."""
    return " ".join(name.replace("_", " ").split())


def class_texts(text: Text, which: str) -> list[str]:
    """The C texts that stand for the classes.

    Parameters
    ----------
    which
        ``name``, ``description`` or ``name+description``. A class without a description is its name.
    """
    names = [readable(name) for name in text.names]
    if which == "name" or text.descriptions is None:
        return names
    described = [" ".join(words.split()) for words in text.descriptions]
    if which == "description":
        return [words or name for name, words in zip(names, described)]
    return [f"{name}. {words}" if words else name for name, words in zip(names, described)]


def sample_texts(text: Text, which: Sequence[str]) -> tuple[int, Callable[[Sequence[int]], list[str]]] | None:
    """How many samples there are, and the texts of some rows; None when the data has none of the chosen texts."""
    columns: list[Sequence[str] | Sequence[tuple[str, ...]]] = []
    for name in which:
        column = {"titles": text.titles, "descriptions": text.sample_descriptions, "tags": text.tags}[name]
        if column is not None:
            columns.append(column)
    if not columns:
        return None

    def join(part: str | tuple[str, ...]) -> str:
        return part if isinstance(part, str) else " ".join(part)

    def read(rows: Sequence[int]) -> list[str]:
        return [". ".join(words for words in (join(column[r]) for column in columns) if words) for r in rows]

    return len(columns[0]), read


class EncodedRows(Rows):
    """Vectors of samples [N, d], each encoded when it is first read and kept in half precision.

    They are kept in memory, or in a temporary file where they would not fit a label phase's memory budget.

    Parameters
    ----------
    texts
        Texts of some rows.
    memory
        Bytes up to which vectors are kept in memory.
    """

    def __init__(
        self, encoder: TextEncoder, texts: Callable[[Sequence[int]], list[str]], rows: int, memory: int
    ) -> None:
        self.shape = (rows, encoder.dim)
        self._encoder = encoder
        self._texts = texts
        self._known = torch.zeros(rows, dtype=torch.bool)
        self._vectors = self._storage(memory)

    def _storage(self, memory: int) -> Tensor:
        if self.shape[0] * self.shape[1] * 2 <= memory:
            return torch.zeros(self.shape, dtype=torch.float16)
        # The mapping keeps the nameless file alive; it is gone with the process.
        with tempfile.TemporaryFile(prefix="noisyrun-text-") as file:
            return torch.from_numpy(np.memmap(file, dtype=np.float16, mode="w+", shape=self.shape))

    def take(self, rows: Tensor) -> Tensor:
        wanted = rows.cpu()
        missing = torch.unique(wanted[~self._known[wanted]])
        for some in torch.split(missing, CHUNK):
            # Beyond half precision's range lies no sensible embedding; clamping keeps one outlier from being infinite.
            self._vectors[some] = self._encoder.vectors(self._texts(some.tolist())).clamp(-65504, 65504).half()
            self._known[some] = True
        return self._vectors[wanted].float().to(rows.device)


class TextSideInfo(SideInfoEncoder[T]):
    """A side-info encoder that is a text encoder applied to the data's texts."""

    def __init__(self, config: T) -> None:
        super().__init__(config)
        gives = {"class_embeddings", "class_similarity", "sample_embeddings", "text_encoder"}
        self.gives = frozenset(gives | {"class_tokens"} if config.class_tokens else gives)

    @abstractmethod
    def make_encoder(self, text: Text, phase: Phase) -> TextEncoder:
        """The text encoder for a data set's texts."""

    def encode(self, task: Task, text: Text, before: SideInfo, phase: Phase) -> SideInfo:
        classes = class_texts(text, self.config.class_text)
        encoder = self.make_encoder(text, phase)
        embeddings = encoder.vectors(classes)
        empty = int((embeddings == 0).all(1).sum())
        if empty == len(classes):
            raise UserError(
                f"{self.key}: knows no word of any class's text (the first is {classes[0]!r}); choose another encoder"
            )
        phase.log("classes_without_known_words", float(empty))
        tokens, mask = self._class_tokens(encoder, classes, phase) if self.config.class_tokens else (None, None)
        return SideInfo(
            class_embeddings=embeddings,
            class_tokens=tokens,
            class_tokens_mask=mask,
            class_similarity=CosineRows(embeddings),
            sample_embeddings=self._sample_rows(encoder, text, phase),
            text_encoder=encoder,
        )

    def _class_tokens(self, encoder: TextEncoder, classes: list[str], phase: Phase) -> tuple[Tensor, Tensor]:
        longest = max(classes, key=len)
        width = encoder.tokens([longest])[0].shape[1]
        size = len(classes) * width * encoder.dim * 4
        if size > phase.memory:
            raise UserError(
                f"{self.key}: tokens of {len(classes)} classes would take {size / GIGABYTE:.1f} GB, and the memory "
                f"budget is {phase.memory / GIGABYTE:.1f} GB; leave them out (--side-info.class_tokens false), shorten "
                "the texts, or raise --bank.memory"
            )
        return encoder.tokens(classes)

    def _sample_rows(self, encoder: TextEncoder, text: Text, phase: Phase) -> Rows | None:
        found = sample_texts(text, self.config.sample_text)
        if found is None:
            return None
        rows, texts = found
        return EncodedRows(encoder, texts, rows, phase.memory)
