"""Noise regularization: a clean net learns from few trusted labels, and through a residual net from all noisy ones.

Hu, Han, Shan, Chen: Weakly Supervised Image Classification through Noise Regularization, CVPR 2019, section 3.
"""

from __future__ import annotations

from torch import Tensor, nn

from noisyrun.api import MIX, PAD, Batch, LabelCorrector, Labels, Needs, OnlinePart, Targets, Task
from noisyrun_noisereg import equations
from noisyrun_noisereg.config import NoiseregConfig


class Mapping(nn.Module):
    """F_c or F_r: linear, activation, linear; features [B, D] → [B, C]."""

    def __init__(self, dim: int, hidden: int, num_classes: int, activation: str) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, hidden)
        self.outer = nn.Linear(hidden, num_classes)
        self.activation = equations.ACTIVATIONS[activation]

    def forward(self, features: Tensor) -> Tensor:
        inner, outer = (self.inner.weight, self.inner.bias), (self.outer.weight, self.outer.bias)
        return equations.mapping(features, inner, outer, self.activation)


class TwoNets(nn.Module):
    """The clean net and the residual net.

    Attributes
    ----------
    clean
        F_c.
    residual
        F_r; None where clean labels alone train.
    noisy
        The head gives the logits of h in place of those of g.
    multi
        Whether a sample may have any number of labels.
    """

    def __init__(self, dim: int, task: Task, config: NoiseregConfig) -> None:
        super().__init__()
        hidden, classes = config.hidden or dim, task.num_classes
        self.clean = Mapping(dim, hidden, classes, config.activation)
        self.residual = None if config.variant == "g" else Mapping(dim, hidden, classes, config.activation)
        self.multi = task.multi
        self.noisy = config.variant == "h"

    def head(self, features: Tensor) -> Tensor:
        """Logits [B, C] of g; of h in the ablation that trains h alone."""
        c: Tensor = self.clean(features)
        return equations.noisy_logits(self.residual(features), c) if self.noisy and self.residual is not None else c


class Noisereg(LabelCorrector[NoiseregConfig], OnlinePart):
    """Two nets on the features in place of the head, trained by binary cross entropy in place of the loop's loss.

    The clean net gives c; g = σ(c) learns from the trusted labels of clean samples. The residual net gives r;
    h = σ(r + c) learns from the labels of all others, and its gradient reaches the clean net through c: that is the
    regularization. The class of the highest c is predicted. Labels stay as they are, for weighters and other correctors
    to judge; the noisy loss uses what those made of them.
    """

    replaces_loss = True
    head = True

    @property
    def needs(self) -> Needs:
        # h alone looks at no clean label.
        return Needs(batches=None if self.config.variant == "h" else MIX(1, 9))

    def part(self, dim: int, task: Task) -> nn.Module:
        return TwoNets(dim, task, self.config)

    def loss(self, part: nn.Module, batch: Batch, features: Tensor, logits: Tensor) -> dict[str, Tensor]:
        assert isinstance(part, TwoNets)
        terms: dict[str, Tensor] = {}
        if self.config.variant != "h":
            alpha = 1.0 if self.config.variant == "g" else self.config.alpha
            terms["clean"] = alpha * clean_loss(logits.float(), batch, part.multi)
        if part.residual is not None:
            # In the ablation the head itself gave r + c.
            sum_ = logits if part.noisy else equations.noisy_logits(part.residual(features), logits)
            terms["noise"] = noise_loss(sum_.float(), batch, part.multi, self.config.noisy_of_clean)
        return terms


def clean_loss(logits: Tensor, batch: Batch, multi: bool) -> Tensor:
    """L_clean: the mean over the batch's clean samples, each over the classes whose trusted label is known.

    source: equation 6
    """
    labels, known, given = _label(batch.trusted, logits.shape[1], multi)
    return equations.mean_over(equations.cross_entropy(logits, labels, known), batch.clean & batch.mask & given)


def noise_loss(logits: Tensor, batch: Batch, multi: bool, of_clean: bool = False) -> Tensor:
    """L_noise: the mean over the batch's noisy samples; observed and corrected labels in their shares, as weighed.

    Parameters
    ----------
    of_clean
        Count the noisy labels of clean samples, too.

    source: equation 5
    """
    targets = batch.targets
    observed, given = _weighed(logits, batch.labels, None, batch.weights, multi)
    corrected, given_too = _weighed(
        logits, Labels(targets.classes, targets.known), targets.values, batch.target_weights, multi
    )
    own = batch.mask & (given | (given_too & (targets.alpha > 0)))
    losses = (1 - targets.alpha) * observed + targets.alpha * corrected
    return equations.mean_over(losses, own if of_clean else own & ~batch.clean)


def _label(labels: Labels, classes: int, multi: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Labels [B, C] of 0 and 1, bool [B, C] the known pairs, and bool [B] whether a sample has a label at all."""
    known = labels.known_mask(classes)
    given = known.any(1) if multi else (labels.classes != PAD).any(1)
    return labels.multi_hot(classes).clamp(max=1), known, given


def _weighed(
    logits: Tensor, labels: Labels, values: Tensor | None, weights: Tensor | None, multi: bool
) -> tuple[Tensor, Tensor]:
    """Loss [B] of each sample, and whether it has a label; weights as in the loop's loss.

    Single-label: a sample counts as its classes weigh. Multi-label: each listed pair counts by its weight, the others
    by 1.
    """
    dense, known, given = _label(labels, logits.shape[1], multi)
    listed = (labels.classes != PAD).to(logits.dtype)
    values = listed if values is None else values
    if multi:
        spread = None if weights is None else 1 + _dense(labels.classes, (weights - 1) * listed, logits.shape[1])
        dense = _dense(labels.classes, values, logits.shape[1]).clamp(max=1)
    else:
        weighed = values if weights is None else values * weights * listed
        spread = weighed.sum(1, keepdim=True)
        dense = _dense(labels.classes, weighed, logits.shape[1]) / spread.clamp(min=1e-12)
    return equations.cross_entropy(logits, dense, known, spread), given


def _dense(classes: Tensor, values: Tensor, num_classes: int) -> Tensor:
    """[B, C]: values [B, k] in the places of their classes, 0 elsewhere."""
    return Targets(classes, values, values.new_zeros(len(classes))).dense(num_classes)
