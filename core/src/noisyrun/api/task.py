"""What is to be learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Task:
    """What is to be learned, the same for every method of a run.

    Attributes
    ----------
    classes
        Names of the C classes, in the order of their indices.
    labels
        ``single``: each sample has one label; ``multi``: any number of labels.
    loss
        The loop's loss: ``cross-entropy`` or ``binary-cross-entropy``. Follows `labels` unless the user says otherwise.
    image_size
        Height and width in pixels as they enter the backbone; None for a run on features alone.
    channels
        Channels of an image; None for a run on features alone.
    feature_dim
        Width of the given features of a run on features alone; None for images.
    """

    classes: tuple[str, ...]
    labels: Literal["single", "multi"] = "single"
    loss: Literal["cross-entropy", "binary-cross-entropy"] = "cross-entropy"
    image_size: tuple[int, int] | None = None
    channels: int | None = None
    feature_dim: int | None = None

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.classes)

    @property
    def multi(self) -> bool:
        """Whether a sample may have any number of labels."""
        return self.labels == "multi"
