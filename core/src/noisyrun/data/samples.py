"""Samples of one split, by position, with a stable index; and the splits of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from noisyrun.api.labels import Labels
from noisyrun.api.side_info import Text
from noisyrun.api.task import Task

if TYPE_CHECKING:
    from noisyrun.data.noise_manifest import NoiseManifest
    from noisyrun.data.unreadable import Unreadable


class Images(ABC):
    """Decoded images by position.

    Attributes
    ----------
    shape
        Channels, height, width of every image as `load` gives it.
    resident
        uint8 [N, channels, height, width] when all images are held in memory; None when they are read as needed.
    bad
        Where images are noted that cannot be decoded; None where that is an error, or all have been decoded.
    """

    shape: tuple[int, int, int]
    resident: Tensor | None = None
    bad: Unreadable | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def load(self, positions: Tensor) -> Tensor:
        """uint8 [R, channels, height, width] of some images, int64 [R]."""


@dataclass(frozen=True)
class Samples:
    """N samples of one split. Position r of every field is the same sample.

    Attributes
    ----------
    index
        int64 [N], ascending: stable index of each sample in its source.
    labels
        Observed labels.
    images
        Their images; None for a run on features alone.
    features, logits
        float [N, D] and [N, C] made elsewhere, for a run on features alone.
    truth
        Clean labels, for measures only: no method, threshold or selection ever sees them.
    verified
        int8 [N]: 1 observed label verified right, 0 wrong, −1 not verified.
    verified_held
        bool [N]: verification labels kept for thresholds and early stopping.
    trusted
        Trusted labels; `PAD` where there is none.
    clean
        bool [N]: the trusted clean subset.
    text
        Texts of classes and samples.
    source, source_names, rank
        Where each sample came from, and at which rank of its search.
    """

    task: Task
    index: Tensor
    labels: Labels
    verified: Tensor
    verified_held: Tensor
    trusted: Labels
    clean: Tensor
    text: Text
    images: Images | None = None
    features: Tensor | None = None
    logits: Tensor | None = None
    truth: Labels | None = None
    source: Tensor | None = None
    source_names: tuple[str, ...] = ()
    rank: Tensor | None = None

    def __len__(self) -> int:
        return self.index.shape[0]

    @property
    def labelled_text(self) -> Text:
        """`text` with the observed labels, so that encoders can read the texts of samples by class."""
        return replace(self.text, labels=self.labels)

    def checked(self, *, verify: bool = False) -> list[str]:
        """Lines that say how many samples carry a verification label, and how many are of the clean subset, if any.

        Where `verify` says that verification was asked for, none is told, too: a file may hold no verdict that counts.
        """
        right, wrong, clean = (int(part.sum()) for part in (self.verified == 1, self.verified == 0, self.clean))
        verdicts = f"verification labels: {right + wrong:,} ({right:,} right, {wrong:,} wrong)"
        return [verdicts] * (verify or right + wrong > 0) + [f"trusted clean subset: {clean:,}"] * bool(clean)


@dataclass(frozen=True)
class Data:
    """The splits of a run.

    Attributes
    ----------
    name
        What the run calls the data set.
    train
        What is trained on; label phases see these and nothing else.
    val
        Noisy validation: held out of training, with observed labels. None when its share is 0.
    test
        The test set with clean labels, or None.
    digests
        SHA-256 of the observed labels, of the images or features, and of the noise, for lineage and resume.
    notes
        Lines a user should read: what was injected, skipped or assumed, and how many labels are checked.
    mean, std
        Of the training images, by channel in [0, 1].
    lineage
        What a tracker records of the data, JSON values.
    noise
        The record of injected noise (``noise.save(path)``), or None.
    """

    name: str
    train: Samples
    val: Samples | None
    test: Samples | None
    digests: Mapping[str, str]
    notes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    lineage: Mapping[str, Any] = field(default_factory=dict)
    noise: NoiseManifest | None = None

    @property
    def task(self) -> Task:
        """What is to be learned."""
        return self.train.task

    @property
    def unreadable(self) -> dict[str, Unreadable]:
        """Images of the source of each split that could not be decoded as they were needed; see `Unreadable`."""
        splits = {"train": self.train, "test": self.test}
        found = {name: split.images.bad for name, split in splits.items() if split is not None and split.images}
        return {name: bad for name, bad in found.items() if bad is not None}


def no_labels(n: int) -> Labels:
    """Labels of n samples that have none."""
    return Labels(torch.full((n, 1), -1, dtype=torch.int64))
