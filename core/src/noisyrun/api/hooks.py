"""Lifecycle hooks: what trackers and observers may implement. Methods are objects the loop calls, not hooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisyrun.api.plugin import hookspec


@dataclass(frozen=True)
class RunInfo:
    """What is known when a run starts.

    Attributes
    ----------
    run_id
        Unique to the run; the same after a resume.
    out
        The run's folder.
    config
        The resolved configuration, JSON values.
    parameters
        The same, flattened to dotted names.
    tags
        Plugin and API versions, commit, device, world size.
    dataset
        Name, sizes, and digests of the observed labels and of the noise.
    resumed
        Whether this continues a run that was stopped.
    """

    run_id: str
    out: Path
    config: Mapping[str, Any]
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    dataset: Mapping[str, Any]
    resumed: bool = False


@dataclass(frozen=True)
class LabelPhaseResult:
    """What a label phase gave.

    Attributes
    ----------
    stage, round, epoch
        Where the run stands.
    metrics
        Numbers of this label phase by name: detection and label accuracy where clean labels are known, shares
        changed and weighed down, seconds.
    """

    stage: str
    round: int
    epoch: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class EpochResult:
    """What an epoch gave.

    Attributes
    ----------
    stage
        Name of the stage.
    epoch
        Epochs finished, over all stages.
    step
        Steps finished, over all stages.
    metrics
        Numbers of this epoch by name.
    """

    stage: str
    epoch: int
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes
    ----------
    status
        ``finished``, ``interrupted`` or ``failed``.
    summary
        The content of ``summary.json``; empty unless finished.
    artifacts
        Files the run wrote.
    """

    status: str
    summary: Mapping[str, Any] = field(default_factory=dict)
    artifacts: tuple[Path, ...] = ()


class Lifecycle:
    """The hooks of a run, in the order in which they are called. An observer implements those it wants.

    An observer that raises is reported once and left out for the rest of the run; it never ends it.
    """

    @hookspec
    def noisyrun_run_start(self, run: RunInfo) -> None:
        """Before the first label phase or epoch, and again after a resume.

        Examples
        --------
        >>> from noisyrun.api import hookimpl
        >>> class Announce:
        ...     @hookimpl
        ...     def noisyrun_run_start(self, run):
        ...         print("writing to", run.out.name)
        """

    @hookspec
    def noisyrun_label_phase_end(self, result: LabelPhaseResult) -> None:
        """After every label phase.

        Examples
        --------
        >>> from noisyrun.api import hookimpl
        >>> class Rounds:
        ...     @hookimpl
        ...     def noisyrun_label_phase_end(self, result):
        ...         print("round", result.round, dict(result.metrics))
        """

    @hookspec
    def noisyrun_epoch_end(self, result: EpochResult) -> None:
        """After every epoch.

        Examples
        --------
        >>> from noisyrun.api import hookimpl
        >>> class Losses:
        ...     @hookimpl
        ...     def noisyrun_epoch_end(self, result):
        ...         print(result.epoch, result.metrics["loss"])
        """

    @hookspec
    def noisyrun_checkpoint(self, path: Path, epoch: int) -> None:
        """After a checkpoint is written and in place.

        Examples
        --------
        >>> from noisyrun.api import hookimpl
        >>> class Copies:
        ...     @hookimpl
        ...     def noisyrun_checkpoint(self, path, epoch):
        ...         print("saved", path.name)
        """

    @hookspec
    def noisyrun_run_end(self, result: RunResult) -> None:
        """When the run has finished, was interrupted, or failed.

        Examples
        --------
        >>> from noisyrun.api import hookimpl
        >>> class Done:
        ...     @hookimpl
        ...     def noisyrun_run_end(self, result):
        ...         print(result.status)
        """
