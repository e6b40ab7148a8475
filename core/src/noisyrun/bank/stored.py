"""The feature bank over a store: blocks of any rows, rows of a class, and all that is known of each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from noisyrun.api.bank import Block, FeatureBank, Split
from noisyrun.api.errors import UserError
from noisyrun.api.labels import Labels
from noisyrun.api.task import Task
from noisyrun.bank.classifier import Said
from noisyrun.bank.spaces import Space
from noisyrun.bank.stores import Store

#: More rows than this in a block gain no speed, and leave a progress bar without steps.
_MOST_ROWS = 65_536
#: Bytes of features in a block that is made on a processor: memory that is used again and again, and stays near it.
#: Blocks larger than the allocator keeps are new memory each time, which the system clears first.
_NEAR = 1 << 23
#: float32 [R, D] or [R, C] tensors that a method is assumed to hold at once while it works on a block.
_COPIES = 4


@dataclass(frozen=True)
class Facts:
    """What is known of the N samples besides their features; every tensor on the CPU.

    Attributes
    ----------
    index, labels, trusted, clean, source, source_names, rank
        As in `FeatureBank`.
    said
        What the classifier says; or what makes it say so, called when somebody first asks.
    verified
        int8 [N]: 1, 0 or −1, both splits together.
    held
        bool [N]: verification labels kept for thresholds and early stopping.
    predictions
        Classes int64 [N, K] and probabilities float32 [N, K] that earlier stages kept, by name.
    """

    index: Tensor
    labels: Labels
    said: Said | Callable[[], Said]
    verified: Tensor
    held: Tensor
    trusted: Labels
    clean: Tensor
    source: Tensor | None = None
    source_names: tuple[str, ...] = ()
    rank: Tensor | None = None
    predictions: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


class StoredBank(FeatureBank):
    """A feature bank over a store.

    Parameters
    ----------
    space
        What blocks are brought to; None: raw.
    memory
        Bytes a label phase may take; sets the default size of blocks.
    """

    def __init__(
        self,
        store: Store,
        task: Task,
        facts: Facts,
        device: torch.device,
        *,
        space: Space | None = None,
        memory: int = 1 << 30,
    ) -> None:
        if store.shape[0] != len(facts.labels):
            raise UserError(f"features: {store.shape[0]} rows, but there are {len(facts.labels)} labels")
        self.store = store
        self.space = space
        self.memory = memory
        self.task = task
        self.dim = store.shape[1]
        self.device = device
        self.index = facts.index
        self.labels = facts.labels
        self._said = facts.said
        if isinstance(facts.said, Said):
            self.ask()
        self.trusted = facts.trusted
        self.clean = facts.clean
        self.source = facts.source
        self.source_names = facts.source_names
        self.rank = facts.rank
        self._kept = dict(facts.predictions)
        nobody = torch.tensor(-1, dtype=torch.int8)
        self._verified = {
            "all": facts.verified,
            "train": torch.where(facts.held, nobody, facts.verified),
            "held": torch.where(facts.held, facts.verified, nobody),
        }
        self._rows_by_class, self._class_starts = _sort_by_class(facts.labels, task.num_classes)

    def __getattr__(self, name: str) -> Tensor:
        # Reached for attributes that are not there yet. Many methods never ask what the classifier says, and to fit
        # one may take longer than all they do.
        if name not in ("label_probs", "top_classes", "top_probs"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.ask()
        return getattr(self, name)

    def ask(self) -> None:
        """Have the classifier say now what it says of each sample; else it does when somebody first looks."""
        said = self._said if isinstance(self._said, Said) else self._said()
        self.label_probs, self.top_classes, self.top_probs = said.label_probs, said.top_classes, said.top_probs

    def take(self, rows: Tensor) -> Block:
        rows = rows.cpu()
        return Block(self, rows, lambda: self._in_space(self.store.read(rows, self.device)))

    def blocks(self, rows: Tensor | None = None, size: int | None = None) -> Iterator[Block]:
        size = self.block_rows if size is None else size
        for start in range(0, len(self) if rows is None else len(rows), size):
            if rows is None:
                yield self.take(torch.arange(start, min(start + size, len(self))))
            else:
                yield self.take(rows[start : start + size])

    @property
    def block_rows(self) -> int:
        """Rows in a block by default: what fits the budget when a method holds a few [R, D] and [R, C] of it."""
        row = 4 * _COPIES * (self.dim + self.num_classes)
        made = self.device.type == "cpu" and (self.store.converts or self.space is not None)
        most = max(1024, _NEAR // (4 * self.dim)) if made else _MOST_ROWS
        return max(1, min(_MOST_ROWS, most, self.memory // row))

    def of_class(self, c: int) -> Tensor:
        return self._rows_by_class[self._class_starts[c] : self._class_starts[c + 1]]

    def verified(self, split: Split = "all") -> Tensor:
        return self._verified[split]

    def predictions(self, name: str) -> tuple[Tensor, Tensor]:
        try:
            return self._kept[name]
        except KeyError:
            kept = ", ".join(sorted(self._kept)) or "none"
            raise UserError(
                f"no stage kept predictions under {name!r} (kept: {kept}); "
                f"give an earlier stage keep_predictions = {name!r}"
            ) from None

    def close(self) -> None:
        """Free the features; a file made for this bank is removed."""
        self.store.close()

    def _in_space(self, features: Tensor) -> Tensor:
        return features if self.space is None else self.space(features)


def _sort_by_class(labels: Labels, num_classes: int) -> tuple[Tensor, list[int]]:
    """Rows sorted by class (ascending within one), and where each class starts; C + 1 positions."""
    rows, classes = labels.pairs()
    order = torch.argsort(classes, stable=True)
    counts = torch.bincount(classes, minlength=num_classes)
    return rows[order], [0, *counts.cumsum(0).tolist()]
