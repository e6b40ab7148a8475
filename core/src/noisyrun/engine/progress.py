"""How far a run has come: all that a resumed run needs besides weights, labels and methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass
class Best:
    """The epoch that was best by some measure; the earlier of two that are equal.

    Attributes
    ----------
    by
        The measure at that epoch; None before the first.
    test
        Test accuracy at that epoch.
    epoch
        Epochs finished by then.
    """

    by: float | None = None
    test: float | None = None
    epoch: int = 0

    def offer(self, by: float | None, test: float | None, epoch: int) -> None:
        """Take this epoch when it is better."""
        if by is not None and (self.by is None or by > self.by):
            self.by, self.test, self.epoch = by, test, epoch


@dataclass
class Progress:
    """Where a run stands. Everything is a JSON value.

    Attributes
    ----------
    stage, epoch, step
        Number of the stage, epochs finished within it, steps finished within the epoch.
    entered
        The stage's starting weights are in place.
    began
        Epochs finished over all stages when the stage that trained last began.
    selected
        The samples of the stage have been chosen.
    labelled
        The label phase due before the current epoch has run.
    epochs, steps, rounds_done
        Epochs, steps and label phases finished over all stages.
    loss
        Sum of the losses of the epoch's finished steps.
    epoch_seconds
        Seconds of the epoch's finished steps.
    lengths
        Epochs and steps of the stages that have begun, by name.
    history, rounds
        One record an epoch, one a label phase.
    by_class
        Accuracy on the test set by class, when it was last measured.
    by_val, by_test
        Best epoch on noisy validation, and on the test set.
    seconds
        Wall seconds by phase.
    seen
        Training samples seen, each as often as it was.
    energy
        Joules by kind of device.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    entered: bool = False
    began: int = 0
    selected: bool = False
    labelled: bool = False
    epochs: int = 0
    steps: int = 0
    rounds_done: int = 0
    loss: float = 0.0
    epoch_seconds: float = 0.0
    lengths: dict[str, tuple[int, int]] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    by_class: list[float | None] = field(default_factory=list)
    by_val: Best = field(default_factory=Best)
    by_test: Best = field(default_factory=Best)
    seconds: dict[str, float] = field(default_factory=dict)
    seen: int = 0
    energy: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Progress:
        """What `as_dict` gave."""
        known = {one.name for one in fields(cls)}
        made = cls(**{name: value for name, value in content.items() if name in known})
        made.by_val, made.by_test = Best(**content["by_val"]), Best(**content["by_test"])
        made.lengths = {name: (epochs, steps) for name, (epochs, steps) in content["lengths"].items()}
        return made

    def next_stage(self) -> None:
        """Stand at the beginning of the next stage."""
        self.stage += 1
        self.epoch = self.step = 0
        self.entered = self.selected = self.labelled = False

    @property
    def gained(self) -> bool:
        """Whether the stage that trained last raised the best accuracy on noisy validation."""
        return self.by_val.epoch > self.began

    @property
    def accuracy(self) -> dict[str, float | None]:
        """Test accuracy at the last epoch, at the best on noisy validation, and at the best on the test set."""
        last = self.history[-1].get("test_accuracy") if self.history else None
        return {"last": last, "best_noisy_val": self.by_val.test, "oracle": self.by_test.test}
