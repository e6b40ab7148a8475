"""One run from its configuration to its results: the place that holds all parts together.

configuration → plan → data → folder → training → report.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisyrun import data as datasets
from noisyrun import evaluation
from noisyrun import plan as plans
from noisyrun.api.errors import UserError
from noisyrun.api.hooks import RunResult
from noisyrun.bank.sizes import budget, choose_residence
from noisyrun.config.resolve import RunConfig, resolve
from noisyrun.data.samples import Data
from noisyrun.engine.clock import Stopwatch, forget_peak_memory
from noisyrun.engine.corrections import changed, corrected_labels
from noisyrun.engine.device import device_of
from noisyrun.engine.ensemble import load_members
from noisyrun.engine.evaluate import Member
from noisyrun.engine.interrupt import Interrupted, signal_of, stopped_at_once
from noisyrun.engine.label_phase import label_measures, unverified
from noisyrun.engine.outcome import Outcome
from noisyrun.engine.parallel import share_warnings
from noisyrun.engine.precision import Precision
from noisyrun.engine.stages import baseline_stages, refuse_small_batches
from noisyrun.engine.trainer import Trainer
from noisyrun.engine.world import World
from noisyrun.files import Fault, WriteError, fault
from noisyrun.lineage import plugin_versions, run_info
from noisyrun.methods import Methods
from noisyrun.plan import Plan
from noisyrun.report import drawing
from noisyrun.report import summary as summaries
from noisyrun.report.by_class import class_records
from noisyrun.report.console import Console, Muted
from noisyrun.report.labels import label_frame, label_table, write_labels
from noisyrun.report.summary import library_versions
from noisyrun.run_folder import BASELINE, CONFIG, LABELS, NOISE, SUMMARY, RunFolder
from noisyrun.torchrun import (
    GONE,
    RESTARTS_NEED_OUT,
    ToldElsewhere,
    folder_of_restart,
    launcher,
    may_restart,
    restarts_left,
)
from noisyrun.tracking.journal import Journal
from noisyrun.tracking.manager import Observers

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    folder
        Where everything was written.
    summary
        The content of ``summary.json``.
    network
        The network after the last epoch.

    Under ``torchrun`` every process gets the same.
    """

    folder: Path
    summary: Mapping[str, Any]
    network: nn.Module

    @property
    def labels(self) -> pd.DataFrame:
        """One row a training sample: index, observed, corrected, weight, quality, wrong."""
        import pyarrow.parquet as pq

        return label_frame(pq.read_table(self.folder / LABELS))

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch."""
        import pandas as pd

        return pd.DataFrame(self.summary["history"])


def run(config: RunConfig | Mapping[str, Any] | Path | str | None = None, *, console: Console | None = None) -> Run:
    """Train.

    Parameters
    ----------
    config
        A resolved configuration; or settings by name (``{"weighter": "sinet", "epochs": 10}``); or the path of a
        TOML file. Without one the run is the demonstration on noisy digits.
    console
        Who is told how it goes.

    Raises
    ------
    UserError
        For everything the user can mend, in one line, before training wherever possible.
    Interrupted
        A KeyboardInterrupt, after a checkpoint was written; it says how to go on.

    Examples
    --------
    >>> import noisyrun
    >>> done = noisyrun.run({"weighter": "sinet", "prototypes": "smp"})  # doctest: +SKIP
    >>> done.summary["accuracy"]["last"]  # doctest: +SKIP
    """
    world = World.of_environment()
    with world.joined():
        if not isinstance(config, RunConfig):
            config = resolve(config=config) if isinstance(config, Path | str) else resolve(config)
        return _Session(config, console, world).start()


def resume(folder: Path | str, *, console: Console | None = None) -> Run:
    """Go on with a run that was stopped; the result is that of an unbroken run.

    A run that was stopped before its first checkpoint starts again from nothing.

    Raises
    ------
    UserError
        When the folder holds no run, or the data, the configuration or the checkpoint do not fit each other.
    """
    world = World.of_environment()
    with world.joined():
        # The folder need not be within reach of every machine.
        content = world.broadcast(RunFolder.open(Path(folder)).config() if world.first else None)
        return _Session(RunConfig.from_dict(content), console, world).resume(RunFolder(Path(folder)))


class _Session:
    """One start of a run, whether the first or a later one."""

    def __init__(self, config: RunConfig, console: Console | None, world: World) -> None:
        self.config = config
        self.console = (console or Console()) if world.first else Muted()
        self.clock = Stopwatch()
        self.world = world

    @stopped_at_once()
    def start(self) -> Run:
        data, plan = self._prepare()
        again = self.world.restarted()
        with ExitStack() as until_done:
            place = None
            if self.world.first:
                matters, out = _what_matters(plan.config.as_dict()), plan.config.settings.out
                found = folder_of_restart(out, lambda was: _what_matters(was) == matters) if again else None
                if out is None and may_restart():
                    self.console.warn(RESTARTS_NEED_OUT)
                folder = found or RunFolder.create(out, _name(plan.methods))
                until_done.enter_context(folder.locked(self.console.warn))
                if found is None:
                    folder.begin(plan.config.as_dict())
                place = [str(folder.path), folder.run_id(), found is not None]
            return self._go(data, plan, *self.world.broadcast(place))

    @stopped_at_once()
    def resume(self, folder: RunFolder) -> Run:
        with ExitStack() as until_done:
            if self.world.first:
                until_done.enter_context(folder.locked(self.console.warn))
            data, plan = self._prepare()
            place = [str(folder.path), folder.run_id(), True] if self.world.first else None
            return self._go(data, plan, *self.world.broadcast(place))

    def _prepare(self) -> tuple[Data, Plan]:
        """Everything that can go wrong before training goes wrong here."""
        for note in self.config.notes:
            self.console.say(note)
        methods = plans.make_methods(self.config)
        self.device = device_of(self.config.settings.device, self.world)
        forget_peak_memory(self.device)
        bank = self.config.settings.bank
        # Both refuse what the device cannot do.
        Precision(self.config.settings.train.amp, self.device)
        choose_residence(bank.residence, 0, self.device, budget(bank.memory, self.world))
        with self.clock("data"):
            data = datasets.load(self.config.settings)
        plan = plans.check(self.config, methods, data)
        refuse_small_batches(plan.stages, plan.config.settings.batch_size, plan.batches, self.world.size)
        # Built again at the end: what does not fit is found now, and does not take up memory until then.
        load_members(self.config.settings.eval.ensemble, data, self.config.settings, self.device)
        for note in data.notes:
            self.console.say(note)
        if methods.prototypes is not None and not methods.judge_labels:
            self.console.say(
                "nothing uses the prototypes: choose a --weighter or a --corrector; this is plain training"
            )
        if self.world.size > 1:
            self.console.say(f"{self.world.size} processes share each batch of {plan.config.settings.batch_size}")
        return data, plan

    def _go(self, data: Data, plan: Plan, path: str, run_id: str, resumed: bool) -> Run:
        """Train and report; of several processes the first alone writes and tells."""
        folder, first = RunFolder(Path(path)), self.world.first
        if first:
            self._note_versions(folder, plan.config)
        listening = {"journal": Journal(), **plans.make_observers(plan.config)} if first else {}
        observers = Observers(listening, self.console.warn)
        self.console.say(f"{'going on in' if resumed else 'writing to'} {summaries.from_here(folder.path)}")
        observers.run_start(run_info(plan.config, data, folder, run_id, self.device, resumed, self.world))
        try:
            outcome = self._train(plan, data, folder.path, observers, resumed)
            baseline = self._train_baseline(plan, data, folder.path, resumed)
            averaged = self._evaluate_again(plan, data, outcome, baseline)
            share_warnings(self.console, self.world)
            report = (plan, data, outcome, baseline, averaged, folder, run_id, observers)
            summary, files = self._report(*report) if first else ({}, [])
            if first:
                folder.note("finished")
        except KeyboardInterrupt as stop:
            self._ended(folder, observers, "interrupted")
            raise Interrupted(f"interrupted; {self._how_to_go_on(folder)}", signal=signal_of(stop)) from stop
        except Exception as error:
            told = self._told(error, folder)
            stopped = isinstance(told, ToldElsewhere) and told.code > 128
            reason = " ".join(str(told).split())[:1000]
            self._ended(folder, observers, "interrupted" if stopped else "failed", error=reason)
            if told is error:
                raise
            raise told from error
        observers.run_end(RunResult("finished", summary, tuple(files)))
        if first:
            summary = self._with_trackers(summary, observers, folder)
            self.console.results(summary)
        return Run(folder.path, self.world.broadcast(summary), outcome.network)

    def _note_versions(self, folder: RunFolder, config: RunConfig) -> None:
        """Keep what the run is done with, and say what is another than at its last start."""
        now = library_versions(plugin_versions(config))
        before = folder.status().get("versions")
        old = before if isinstance(before, dict) else {}
        other = [f"{name} {now[name]} (was {old[name]})" for name in now if old.get(name, now[name]) != now[name]]
        if other:
            self.console.warn(f"the run goes on with {', '.join(other)}: its result may not be that of an unbroken run")
        folder.note("running", versions=now)

    def _ended(self, folder: RunFolder, observers: Observers, status: str, **facts: str) -> None:
        """Note an end before the end; the disk may be at fault, and then takes no note either."""
        if self.world.first:
            with suppress(WriteError):
                folder.note(status, **facts)
        observers.run_end(RunResult(status))

    def _told(self, error: Exception, folder: RunFolder) -> BaseException:
        """What is told of an error: of a disk's one line, of several processes' one reason."""
        line = fault(error)
        told = self.world.explained(error if line is None else Fault(line, self._how_to_go_on(folder)))
        if isinstance(told, UserError) and str(told) == GONE and not restarts_left():
            return UserError(f"{GONE}; {self._how_to_go_on(folder)}")
        return told

    def _how_to_go_on(self, folder: RunFolder) -> str:
        command = f"noisyrun resume {shlex.quote(summaries.from_here(folder.path))}"
        return f"go on with: {launcher(self.world.size, self.world.local_size)}{command}"

    def _train(self, plan: Plan, data: Data, folder: Path, observers: Observers, resumed: bool) -> Outcome:
        trainer = Trainer(
            plan.config.settings,
            plan.methods,
            data,
            device=self.device,
            plan=plan.stages,
            batches=plan.batches,
            folder=folder,
            config=_what_matters(plan.config.as_dict()),
            observers=observers,
            console=self.console,
            world=self.world,
        )
        return trainer.run(resume=resumed)

    def _train_baseline(self, plan: Plan, data: Data, folder: Path, resumed: bool) -> Outcome | None:
        """The same run with plain cross entropy: same seed, same epochs, nothing judged or corrected."""
        if not plan.config.settings.baseline:
            return None
        self.console.say("baseline: the same run with plain cross entropy")
        trainer = Trainer(
            plan.config.settings,
            Methods(backbone=plan.methods.backbone),
            data,
            device=self.device,
            plan=baseline_stages(plan.stages),
            folder=folder / BASELINE,
            config=_what_matters(plan.config.as_dict()),
            console=self.console,
            world=self.world,
        )
        return trainer.run(resume=resumed)

    def _evaluate_again(
        self, plan: Plan, data: Data, outcome: Outcome, baseline: Outcome | None
    ) -> dict[str, Any] | None:
        """The test set once more, averaged over the views and networks that the settings ask for."""
        with self.clock("averages"):
            other = None if baseline is None else _member(baseline)
            return evaluation.at_the_end(plan.config, data, _member(outcome), other, outcome.history[-1], self.world)

    def _report(
        self,
        plan: Plan,
        data: Data,
        outcome: Outcome,
        baseline: Outcome | None,
        averaged: dict[str, Any] | None,
        folder: RunFolder,
        run_id: str,
        observers: Observers,
    ) -> tuple[dict[str, Any], list[Path]]:
        """Write what a run leaves; returns the summary and the files."""
        train, state = data.train, outcome.state
        table = label_table(train.index, train.labels, state, data.task, train.truth)
        write_labels(table, folder.file(LABELS))
        files = {"summary": SUMMARY, "labels": LABELS, "config": CONFIG}
        if data.noise is not None:
            data.noise.save(folder.file(NOISE))
            files["noise"] = NOISE
        files |= drawing.draw(data, outcome, baseline, folder, run_id, self.console.warn)
        measures = _label_measures(plan.methods, data, outcome)
        summary = summaries.build(
            config=plan.config,
            data=data,
            outcome=outcome,
            detection=measures if plan.methods.judge_labels else None,
            unverified=unverified(train, state) if plan.methods.judge_labels else None,
            per_class=class_records(train, state, data.test, outcome.by_class),
            label_accuracy=measures,
            baseline=baseline,
            evaluation=averaged,
            versions=summaries.library_versions(plugin_versions(plan.config)),
            seconds={**self.clock.seconds, **outcome.seconds},
            run_id=run_id,
            out=folder.path,
            files=files,
            tracking=observers.records(),
            warnings=self.console.warnings,
        )
        summaries.write(summary, folder.file(SUMMARY))
        return summary, [folder.file(name) for name in files.values()]

    def _with_trackers(self, summary: dict[str, Any], observers: Observers, folder: RunFolder) -> dict[str, Any]:
        """The summary with what trackers know only once they have ended."""
        records = observers.records()
        if records != summary["tracking"]:
            summary = {**summary, "tracking": records}
            summaries.write(summary, folder.file(SUMMARY))
        return summary


def _label_measures(methods: Methods, data: Data, outcome: Outcome) -> dict[str, float | None]:
    """What was called wrong and changed; and where clean labels are known, how right that was."""
    train, state = data.train, outcome.state
    corrected = corrected_labels(train.labels, state.targets, data.task.multi)
    shares: dict[str, float | None] = {}
    if state.wrong is not None:
        shares["called_wrong"] = float(state.wrong.float().mean())
    if methods.correct_labels:
        shares["changed"] = float(changed(train.labels, corrected).float().mean())
    if train.truth is None:
        return shares
    found = label_measures(train.labels, corrected, state, train.truth, data.task)
    return {**shares, **found, **summaries.label_fields(found, corrected=methods.correct_labels)}


def _member(outcome: Outcome) -> Member:
    assert outcome.view is not None
    return Member(outcome.network, outcome.view)


def _name(methods: Methods) -> str:
    """What a fresh folder is called after: the methods, each name once."""
    chosen = [method.key.partition(".")[2] for method in methods if method is not methods.backbone]
    return "-".join(dict.fromkeys(chosen)) or "plain"


def _what_matters(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without what may change between the start of a run and its resume."""
    values = json.loads(json.dumps(config))
    for name in ("out", "device", "lifecycle", "tracking", "strict", "baseline"):
        values.pop(name, None)
    values["data"].pop("workers", None)
    return values
