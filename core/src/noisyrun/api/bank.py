"""The feature bank: everything a label phase may know of the training samples, in blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from noisyrun.api.labels import PAD, Labels
from noisyrun.api.task import Task

Split = Literal["all", "train", "held"]


class Block:
    """Some rows of the bank, with everything the bank knows of them.

    A row may appear more than once: when (sample, label) pairs are judged, there is one row for each pair.

    Attributes
    ----------
    bank
        The bank it is part of.
    rows
        int64 [R]: rows of the bank, on the CPU.
    """

    def __init__(self, bank: FeatureBank, rows: Tensor, features: Tensor | Callable[[], Tensor]) -> None:
        self.bank = bank
        self.rows = rows
        self._features = features

    def __len__(self) -> int:
        return self.rows.shape[0]

    @property
    def features(self) -> Tensor:
        """float32 [R, D], on the phase's device, in the space the run chose (raw, centred or whitened).

        Read when they are first asked for: many methods go by labels and predictions alone.
        """
        if not isinstance(self._features, Tensor):
            self._features = self._features()
        return self._features

    def _pick(self, values: Tensor) -> Tensor:
        if self._in_order:
            start = int(self.rows[0])
            return values[start : start + len(self)].to(self.bank.device, copy=True)
        return values[self.rows.to(values.device)].to(self.bank.device)

    @cached_property
    def _in_order(self) -> bool:
        """Whether the rows are neighbours: what is known of them is copied as one piece."""
        return len(self) > 0 and is_run(self.rows)

    @property
    def index(self) -> Tensor:
        """int64 [R]: stable index of each sample in its data set."""
        return self._pick(self.bank.index)

    @property
    def labels(self) -> Labels:
        """Observed labels of the rows."""
        labels = self.bank.labels
        return Labels(self._pick(labels.classes), None if labels.known is None else self._pick(labels.known))

    @property
    def observed(self) -> Tensor:
        """int64 [R]: observed label, single-label only."""
        return self.labels.single

    @property
    def label_probs(self) -> Tensor:
        """float32 [R, k]: probability the classifier gives each observed label (0 at padding)."""
        return self._pick(self.bank.label_probs)

    @property
    def top_classes(self) -> Tensor:
        """int64 [R, K]: the classifier's most probable classes, best first."""
        return self._pick(self.bank.top_classes)

    @property
    def top_probs(self) -> Tensor:
        """float32 [R, K]: their probabilities."""
        return self._pick(self.bank.top_probs)

    def predictions(self, name: str) -> tuple[Tensor, Tensor]:
        """Classes int64 [R, K] and probabilities float32 [R, K] that an earlier stage kept under `name`."""
        classes, probs = self.bank.predictions(name)
        return self._pick(classes), self._pick(probs)

    @property
    def verified(self) -> Tensor:
        """int8 [R]: 1 observed label verified right, 0 verified wrong, −1 not verified (training split)."""
        return self._pick(self.bank.verified("train"))

    @property
    def trusted(self) -> Labels:
        """Trusted labels of the rows (`PAD` where there is none)."""
        trusted = self.bank.trusted
        return Labels(self._pick(trusted.classes), None if trusted.known is None else self._pick(trusted.known))

    @property
    def clean(self) -> Tensor:
        """bool [R]: the sample belongs to the trusted clean subset."""
        return self._pick(self.bank.clean)

    @property
    def source(self) -> Tensor | None:
        """int64 [R]: index into `bank.source_names`; None where the data does not say."""
        return None if self.bank.source is None else self._pick(self.bank.source)

    @property
    def rank(self) -> Tensor | None:
        """int64 [R]: rank in its search, from 0; None where the data does not say."""
        return None if self.bank.rank is None else self._pick(self.bank.rank)

    def take(self, positions: Tensor) -> Block:
        """Some of these rows, by position in the block."""
        return Block(self.bank, self.rows[positions.cpu()], lambda: self.features[positions.to(self.features.device)])


def is_run(rows: Tensor) -> bool:
    """Whether int64 [R], R ≥ 1, is first, first + 1, first + 2, …"""
    if int(rows[-1]) - int(rows[0]) != len(rows) - 1:
        return False
    return bool((rows[1:] - rows[:-1] == 1).all())


class FeatureBank(ABC):
    """Features of the N training samples, and what is known of each, by row.

    Features live on the GPU, in memory or in a memory-mapped half-precision file: a method never sees which, and
    reads them as blocks. Everything else is one tensor of N rows on the CPU. Rows ascend with the sample's stable
    index.

    Attributes
    ----------
    task
        What is to be learned.
    dim
        D, the width of the features.
    device
        Where blocks arrive.
    index
        int64 [N]: stable index of each row's sample.
    labels
        Observed labels.
    label_probs
        float32 [N, k]: probability the classifier gives each observed label.
    top_classes, top_probs
        int64 and float32 [N, K]: the classifier's K most probable classes, best first.
    trusted
        Trusted labels, `PAD` where there is none.
    clean
        bool [N]: the sample belongs to the trusted clean subset.
    source, source_names
        int64 [N] and the names it points to; None where the data does not say.
    rank
        int64 [N], from 0; None where the data does not say.
    """

    task: Task
    dim: int
    device: torch.device
    index: Tensor
    labels: Labels
    label_probs: Tensor
    top_classes: Tensor
    top_probs: Tensor
    trusted: Labels
    clean: Tensor
    source: Tensor | None
    source_names: tuple[str, ...]
    rank: Tensor | None

    def __len__(self) -> int:
        return self.index.shape[0]

    @property
    def num_classes(self) -> int:
        """C."""
        return self.task.num_classes

    @abstractmethod
    def take(self, rows: Tensor) -> Block:
        """The block of some rows, int64 [R], in that order."""

    @abstractmethod
    def blocks(self, rows: Tensor | None = None, size: int | None = None) -> Iterator[Block]:
        """Blocks over some rows (all by default), in order.

        Parameters
        ----------
        size
            Rows in a block; by default what the memory budget allows.
        """

    @abstractmethod
    def of_class(self, c: int) -> Tensor:
        """int64 [n], ascending: rows whose observed label is, or includes, class c."""

    @abstractmethod
    def verified(self, split: Split = "all") -> Tensor:
        """int8 [N]: 1 observed label verified right, 0 verified wrong, −1 not verified.

        What trains uses ``train``; thresholds and early stopping use ``held``. One fixed split serves a whole run.
        """

    @abstractmethod
    def predictions(self, name: str) -> tuple[Tensor, Tensor]:
        """Classes int64 [N, K] and probabilities float32 [N, K] that an earlier stage kept under `name`.

        Raises
        ------
        UserError
            When no stage kept predictions under that name.
        """

    def class_counts(self) -> Tensor:
        """int64 [C]: samples whose observed label is, or includes, each class."""
        # Padding, which is −1, is counted first, and left out.
        return torch.bincount(self.labels.classes.flatten() - PAD, minlength=self.num_classes + 1)[1:]
