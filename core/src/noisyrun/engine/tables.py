"""Labels, targets and weights of all training samples on the device, gathered by position for each step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from noisyrun.api.labels import PAD, Labels, Targets, scatter
from noisyrun.api.online import Batch
from noisyrun.api.stage import Stage
from noisyrun.data.loader import Rows
from noisyrun.data.samples import Samples
from noisyrun.engine.label_state import LabelState
from noisyrun.engine.loss import counted
from noisyrun.engine.network import Step


@dataclass
class LabelTables:
    """What the steps of a stage learn from.

    Tables that would change nothing (α = 0 everywhere, weights of 1) are left out, so that plain training costs what
    plain training costs.
    """

    samples: Samples
    state: LabelState
    stage: Stage
    device: torch.device

    def __post_init__(self) -> None:
        samples, state, device = self.samples, self.state, self.device
        targets = self.stage.targets
        self.labels = (samples.trusted if targets == "trusted" else samples.labels).to(device)
        corrected = targets == "corrected" and bool((state.targets.alpha > 0).any())
        self.targets = state.targets.to(device) if corrected else None
        weighted = self.stage.weighted and targets != "trusted"
        self.weights = _unless_ones(state.weights, device) if weighted else None
        self.target_weights = _unless_ones(state.target_weights, device) if weighted and corrected else None
        self.mixed = targets == "mixed"
        self.only_clean = targets == "trusted" and samples.task.multi
        # Trusted labels are looked up only where they are mixed in or online parts see them.
        self._trusted: tuple[Labels, Tensor, Tensor] | None = None

    def step(self, positions: Tensor, mask: Tensor, bags: Tensor | None, *, for_parts: bool) -> Step:
        """What the loss of a step needs.

        Parameters
        ----------
        positions
            int64 [B], on the device.
        mask
            bool [B], False for padding.
        for_parts
            Whether online parts will look at the batch.
        """
        labels = self.labels.take(positions)
        weights = None if self.weights is None else self.weights[positions]
        if self.mixed:
            trusted, clean, _ = self._of_trusted()
            labels, weights = mix(
                labels, weights, trusted.take(positions), clean[positions], self.samples.task.num_classes
            )
        if self.only_clean:
            # Of several labels none would read as "no class holds"; outside the clean subset nothing is said.
            mask = mask & self._of_trusted()[1][positions]
        step = Step(
            labels=labels,
            mask=mask,
            targets=None if self.targets is None else self.targets.take(positions),
            weights=weights,
            target_weights=None if self.target_weights is None else self.target_weights[positions],
        )
        return self._for_parts(step, positions, mask, bags) if for_parts else step

    def part_of(self, whole: Rows, step: Step, processes: int, *, for_parts: bool) -> Step:
        """What the loss of a step needs where its samples are a part of a batch that several processes share.

        Gradients are averaged over the processes: each counts as if its share of the batch's labels were of a batch.
        """
        shared = self.step(whole.positions, whole.mask, whole.bags, for_parts=for_parts)
        task = self.samples.task
        counts = counted(
            shared.labels,
            shared.targets,
            shared.mask,
            num_classes=task.num_classes,
            loss=task.loss,
            multi=task.multi,
        )
        return replace(step, batch=shared.batch, count=counts.sum().clamp(min=1) / processes)

    def _for_parts(self, step: Step, positions: Tensor, mask: Tensor, bags: Tensor | None) -> Step:
        """The same, with what online parts see."""
        labels = step.labels
        trusted, clean, index = self._of_trusted()
        ones = torch.ones(labels.classes.shape, device=self.device)
        batch = Batch(
            index=index[positions],
            labels=labels,
            targets=Targets.of(labels) if step.targets is None else step.targets,
            weights=ones if step.weights is None else step.weights,
            clean=clean[positions],
            trusted=trusted.take(positions),
            mask=mask,
            bags=bags,
            target_weights=step.target_weights,
        )
        return Step(labels, mask, step.targets, step.weights, step.target_weights, batch)

    def _of_trusted(self) -> tuple[Labels, Tensor, Tensor]:
        """Trusted labels, the clean mask and stable indices of all samples, on the device."""
        if self._trusted is None:
            samples, device = self.samples, self.device
            self._trusted = samples.trusted.to(device), samples.clean.to(device), samples.index.to(device)
        return self._trusted


def mix(
    observed: Labels, weights: Tensor | None, trusted: Labels, clean: Tensor, num_classes: int
) -> tuple[Labels, Tensor | None]:
    """Trusted labels where there are some, else observed ones; of a batch.

    Labels that say of which pairs they are known are mixed pair by pair: a sample whose trusted label speaks for three
    classes keeps the observed one for the others. A trusted label weighs 1.

    Parameters
    ----------
    observed, weights
        Labels of B samples; float [B, k] or None, the weight of each.
    trusted, clean
        Trusted labels; bool [B], the samples in the clean subset, whose trusted label may be that no class holds.
    num_classes
        C.

    Returns
    -------
    Labels, Tensor or None
        The labels, [B, k] or [B, C], and the weight of each; None: 1.
    """
    given = clean | (trusted.classes != PAD).any(1)
    if observed.classes.shape[1] == trusted.classes.shape[1] == 1 and observed.known is None and trusted.known is None:
        column = given[:, None]
        labels = Labels(torch.where(column, trusted.classes, observed.classes))
        return labels, None if weights is None else weights.masked_fill(column, 1.0)
    whole = given[:, None].expand(-1, num_classes)
    spoken = whole if trusted.known is None else trusted.known_mask(num_classes)
    holds = torch.where(spoken, trusted.multi_hot(num_classes), observed.multi_hot(num_classes)) > 0
    every = torch.arange(num_classes, device=holds.device).expand_as(holds)
    labels = Labels(torch.where(holds, every, PAD))
    if observed.known is not None:
        labels = Labels(labels.classes, torch.where(spoken | observed.known_mask(num_classes), every, PAD))
    if weights is not None:
        weights = scatter(observed.classes, weights, num_classes).masked_fill(spoken, 1.0)
    return labels, weights


def _unless_ones(weights: Tensor, device: torch.device) -> Tensor | None:
    return None if bool((weights == 1).all()) else weights.to(device)
