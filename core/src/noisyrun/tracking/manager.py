"""Observers of a run, each kept from disturbing it and the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pluggy

from noisyrun.api.hooks import EpochResult, LabelPhaseResult, Lifecycle, RunInfo, RunResult


class Observers:
    """Calls the lifecycle hooks of every observer. One that raises is reported once and left out from then on.

    Each observer has a plugin manager of its own: pluggy stops a call at the first implementation that raises, and
    what one tracker does must not decide whether the next is told.

    Parameters
    ----------
    observers
        Objects whose methods carry `noisyrun.api.hookimpl`, by the name that a warning calls them.
    warn
        Says one line to the user.
    """

    def __init__(self, observers: Mapping[str, object], warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._managers: dict[str, pluggy.PluginManager] = {}
        self._objects: dict[str, object] = {}
        for name, observer in observers.items():
            manager = pluggy.PluginManager("noisyrun")
            manager.add_hookspecs(Lifecycle)
            try:
                manager.register(observer)
                manager.check_pending()
            except Exception as error:
                self._leave_out(name, error)
            else:
                self._managers[name] = manager
                self._objects[name] = observer

    @property
    def names(self) -> tuple[str, ...]:
        """Observers that are still told what happens."""
        return tuple(self._managers)

    def records(self) -> dict[str, dict[str, str]]:
        """Where each observer records the run and how to open it, for those that say so in a `record` method."""
        found = {}
        for name in self.names:
            record = getattr(self._objects[name], "record", None)
            if record is not None:
                try:
                    found[name] = dict(record())
                except Exception as error:
                    self._leave_out(name, error)
        return found

    def run_start(self, run: RunInfo) -> None:
        """Tell that the run starts or goes on."""
        self._tell("noisyrun_run_start", run=run)

    def label_phase_end(self, result: LabelPhaseResult) -> None:
        """Tell what a label phase gave."""
        self._tell("noisyrun_label_phase_end", result=result)

    def epoch_end(self, result: EpochResult) -> None:
        """Tell what an epoch gave."""
        self._tell("noisyrun_epoch_end", result=result)

    def checkpoint(self, path: Path, epoch: int) -> None:
        """Tell that a checkpoint is in place."""
        self._tell("noisyrun_checkpoint", path=path, epoch=epoch)

    def run_end(self, result: RunResult) -> None:
        """Tell how the run ended."""
        self._tell("noisyrun_run_end", result=result)

    def _tell(self, hook: str, **what: Any) -> None:
        for name, manager in list(self._managers.items()):
            try:
                getattr(manager.hook, hook)(**what)
            except Exception as error:
                self._leave_out(name, error)

    def _leave_out(self, name: str, error: Exception) -> None:
        self._managers.pop(name, None)
        problem = " ".join(str(error).split()) or type(error).__name__
        self._warn(f"{name}: {problem[:300]}; the run goes on without it")
