"""What the loop gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from noisyrun.engine.evaluate import View
from noisyrun.engine.label_state import LabelState
from noisyrun.engine.network import Network


@dataclass(frozen=True)
class Outcome:
    """What a finished training gives.

    Attributes
    ----------
    network
        The trained network, as it stood after the last epoch.
    state
        What the last label phase decided, by position of the training samples.
    accuracy
        ``last``: test accuracy after the last epoch; ``best_noisy_val``: at the epoch of the highest accuracy on noisy
        validation; ``oracle``: at the epoch that is best on the test set itself, which no honest selection can reach.
        In [0, 1]; None where there is no test (or no validation) set.
    by_class
        Accuracy on the test set by class after the last epoch, as `noisyrun.engine.evaluate.Measured`; empty where
        there is no test set.
    history
        One record an epoch: stage, epoch, step, lr, loss, seconds, and the numbers of
        `noisyrun.engine.evaluate.Measured`, led by ``val_`` and ``test_``.
    rounds
        One record a label phase: stage, round, epoch and its metrics.
    seconds
        Wall seconds by phase: data, train, features, label_phase, evaluate, checkpoint.
    seen
        Training samples seen, each as often as it was.
    peak_memory
        Bytes, peak resident memory of the process, and of the GPU where there is one; of several processes the most.
    energy
        Joules from the first epoch to the last, by kind of device, where they can be read.
    view
        How samples are shown to the network as it stands.
    """

    network: Network
    state: LabelState
    accuracy: Mapping[str, float | None]
    by_class: Sequence[float | None] = ()
    history: Sequence[Mapping[str, Any]] = ()
    rounds: Sequence[Mapping[str, Any]] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    seen: int = 0
    peak_memory: Mapping[str, int] = field(default_factory=dict)
    energy: Mapping[str, float] = field(default_factory=dict)
    view: View | None = None
