"""What is known of the classes and samples beside the images, and the socket that encodes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from noisyrun.api.errors import MethodError
from noisyrun.api.labels import Labels
from noisyrun.api.method import C, Method, check
from noisyrun.api.phase import Phase
from noisyrun.api.task import Task


@dataclass(frozen=True)
class Text:
    """The words beside the images, as the data set gives them. Everything but the names may be absent.

    Attributes
    ----------
    names
        C class names.
    wnids
        C WordNet ids (``n02084071``), or None.
    descriptions
        C descriptions of the classes, or None.
    parents
        A tree over the classes: child → parent, by name; leaves are class names (or wnids where there are some).
    titles, sample_descriptions
        N texts, by row of the bank; an empty string where a sample has none. None where the data has no such text.
    tags
        N tuples of tags, by row of the bank.
    labels
        Observed labels of the N samples, by row of the bank, so that texts of samples can be read by class; the host
        fills it in.
    """

    names: tuple[str, ...]
    wnids: tuple[str, ...] | None = None
    descriptions: tuple[str, ...] | None = None
    parents: Mapping[str, str] | None = None
    titles: Sequence[str] | None = None
    sample_descriptions: Sequence[str] | None = None
    tags: Sequence[tuple[str, ...]] | None = None
    labels: Labels | None = None

    @property
    def has_samples(self) -> bool:
        """Whether samples have texts."""
        return self.titles is not None or self.sample_descriptions is not None or self.tags is not None


class TextEncoder(ABC):
    """Turns texts into vectors; handed on from one side-info encoder to whoever needs it.

    Attributes
    ----------
    dim
        d, the width of a vector.
    """

    dim: int

    @abstractmethod
    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """A sequence of vectors for each text: float32 [B, T, d] and its mask bool [B, T], on the CPU."""

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """One vector for each text, float32 [B, d]: the mean over its tokens, 0 for a text without any."""
        tokens, mask = self.tokens(texts)
        share = mask.unsqueeze(-1).to(tokens.dtype)
        return (tokens * share).sum(1) / share.sum(1).clamp(min=1.0)


class Rows(ABC):
    """A matrix that is read by rows and never formed whole.

    Attributes
    ----------
    shape
        Rows and columns.
    """

    shape: tuple[int, int]

    @abstractmethod
    def take(self, rows: Tensor) -> Tensor:
        """float32 [r, columns] of some rows, int64 [r], on the device of `rows`."""

    def dense(self) -> Tensor:
        """The whole matrix on the CPU; for small ones."""
        return self.take(torch.arange(self.shape[0]))


class DenseRows(Rows):
    """Rows of a matrix that is small enough to hold."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.shape = (matrix.shape[0], matrix.shape[1])

    def take(self, rows: Tensor) -> Tensor:
        return self.matrix[rows.to(self.matrix.device)].to(rows.device, torch.float32)


class CosineRows(Rows):
    """Rows of the cosine between all pairs of vectors [n, d]."""

    def __init__(self, vectors: Tensor) -> None:
        self.unit = functional.normalize(vectors.float(), dim=1)
        self.shape = (vectors.shape[0], vectors.shape[0])

    def take(self, rows: Tensor) -> Tensor:
        return (self.unit[rows.to(self.unit.device)] @ self.unit.T).to(rows.device)


class SumRows(Rows):
    """Rows of the sum of several matrices of one shape."""

    def __init__(self, *parts: Rows) -> None:
        if len({part.shape for part in parts}) != 1:
            raise ValueError(f"parts must have one shape (got {[part.shape for part in parts]})")
        self.parts = parts
        self.shape = parts[0].shape

    def take(self, rows: Tensor) -> Tensor:
        total = self.parts[0].take(rows)
        for part in self.parts[1:]:
            total = total + part.take(rows)
        return total


@dataclass(frozen=True)
class SideInfo:
    """What the side-info encoders of a run give. Any field may be absent.

    Attributes
    ----------
    class_embeddings
        float32 [C, d].
    class_tokens, class_tokens_mask
        float32 [C, T, d] and bool [C, T].
    class_similarity
        [C, C], read by rows; higher is more alike.
    sample_embeddings
        [N, d], read by row of the bank.
    text_encoder
        Encodes further texts in the same space.
    """

    class_embeddings: Tensor | None = None
    class_tokens: Tensor | None = None
    class_tokens_mask: Tensor | None = None
    class_similarity: Rows | None = None
    sample_embeddings: Rows | None = None
    text_encoder: TextEncoder | None = field(default=None, compare=False)

    def updated(self, other: SideInfo) -> SideInfo:
        """These fields, with those of `other` in front wherever it has them."""
        given = {name: value for name, value in vars(other).items() if value is not None}
        return replace(self, **given)


class SideInfoEncoder(Method[C]):
    """Encodes what is known beside the images. Encoders stack: each sees what the one before gave."""

    #: Fields of SideInfo this encoder gives, so that a plan can say before training whether a need is met.
    gives: frozenset[str] = frozenset()

    def __call__(self, task: Task, text: Text, before: SideInfo, phase: Phase) -> SideInfo:
        """Encode, hold the answer against the contract, and lay it over what came before. The host calls this."""
        made = self.encode(task, text, before, phase)
        if not isinstance(made, SideInfo):
            raise MethodError(self.key, f"must return SideInfo (got {type(made).__name__})")
        classes = task.num_classes
        if made.class_embeddings is not None:
            check(self.key, "class_embeddings", made.class_embeddings, (classes, None), torch.float32)
        if made.class_tokens is not None:
            check(self.key, "class_tokens", made.class_tokens, (classes, None, None), torch.float32)
            shape = (classes, made.class_tokens.shape[1])
            check(self.key, "class_tokens_mask", made.class_tokens_mask, shape, torch.bool)
        if made.class_similarity is not None:
            if made.class_similarity.shape != (classes, classes):
                shape = made.class_similarity.shape
                raise MethodError(self.key, f"class_similarity must be [{classes}, {classes}] (got {list(shape)})")
            first = made.class_similarity.take(torch.arange(min(2, classes)))
            check(self.key, "class_similarity rows", first, (min(2, classes), classes), torch.float32)
        return before.updated(made)

    def preflight_text(self, text: Text) -> None:
        """As `preflight`, with the words the data set carries: what they lack is found before anything is written.

        Optional and quick.

        Raises
        ------
        UserError
            One line that says what is missing and how to give it.
        """

    def encode(self, task: Task, text: Text, before: SideInfo, phase: Phase) -> SideInfo:
        """Encode the side information of a data set.

        Parameters
        ----------
        task
            What is to be learned.
        text
            The words the data set carries.
        before
            What the previous encoder gave; empty for the first.
        phase
            Where the run stands.
        """
        raise MethodError(self.key, "must define encode")
