"""Parts of the network that a weighter or a corrector may bring, trained with it in the loop."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from noisyrun.api.labels import Labels, Targets
from noisyrun.api.task import Task


@dataclass(frozen=True)
class Batch:
    """One step's samples, as an online part sees them: what the loop's own loss would use, and the trusted labels.

    Attributes
    ----------
    index
        int64 [B]: stable index of each sample.
    labels
        The labels that the stage trains on, with their known mask: the observed ones, unless the stage asks for trusted
        or mixed ones. `PAD` where a sample has none.
    targets
        What the correctors made of them; alpha 0 in a stage that does not train on corrected labels.
    weights
        float32 [B, k]: weight of each of `labels`; 1 in a stage that is not weighted.
    clean
        bool [B]: the sample belongs to the trusted clean subset.
    trusted
        Trusted labels; `PAD` where there is none.
    mask
        bool [B]: False where a row is padding, which must count in no loss. A bag of a class that has too few samples
        left is filled up with one of its own.
    bags
        int64 [B]: number of the bag each sample is in, when batches are bags; None otherwise.
    target_weights
        float32 [B, kt]: weight of each corrected label; None: 1.
    """

    index: Tensor
    labels: Labels
    targets: Targets
    weights: Tensor
    clean: Tensor
    trusted: Labels
    mask: Tensor
    bags: Tensor | None = None
    target_weights: Tensor | None = None


class OnlinePart:
    """Mixed into a SampleWeighter or LabelCorrector that trains a part of the network.

    The loop optimises, wraps, checkpoints and restores the part; the method itself keeps no reference to it.

    Attributes
    ----------
    replaces_loss
        The loop's own loss is switched off, and `loss` is all there is.
    head
        The part's ``head(features) → logits`` takes the place of the backbone's head, at inference too. One a run. The
        backbone's own head is kept beside it only where a stage has ``online = false``.
    """

    replaces_loss: bool = False
    head: bool = False

    def part(self, dim: int, task: Task) -> nn.Module | None:
        """The part, for features [B, dim]; None when the configuration asks for none."""
        return None

    def loss(self, part: nn.Module, batch: Batch, features: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Named scalars to be added to the loss of a step; rows that `batch.mask` leaves out count in none.

        Parameters
        ----------
        part
            What `part` built.
        batch
            The step's samples.
        features
            [B, D], with gradient.
        logits
            [B, C] of the head in use, with gradient.
        """
        return {}

    def predict(self, part: nn.Module, features: Tensor) -> Tensor | None:
        """Logits [B, C] for ablations that predict with the part; None: the head alone predicts."""
        return None
