"""The loop: stages, label phases, epochs, steps, evaluation, checkpoints."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisyrun.api.hooks import EpochResult
from noisyrun.api.needs import UNIFORM, Batches
from noisyrun.api.side_info import SideInfo
from noisyrun.api.stage import Stage
from noisyrun.config.settings import RunSettings
from noisyrun.data.loader import LoadedBatch
from noisyrun.data.samples import Data
from noisyrun.engine import checkpoint, persist, rounds, stages
from noisyrun.engine.clock import Stopwatch, peak_memory
from noisyrun.engine.energy import EnergyMeter
from noisyrun.engine.evaluate import View, evaluate, top_predictions
from noisyrun.engine.features import FeatureSource
from noisyrun.engine.interrupt import AtOnce, Interrupted, StopRequest
from noisyrun.engine.label_state import LabelState
from noisyrun.engine.network import Step, build_network
from noisyrun.engine.optim import set_rate
from noisyrun.engine.outcome import Outcome
from noisyrun.engine.parallel import Agreement, share_buffers, share_warnings, spread
from noisyrun.engine.precision import Precision, deterministic, seed_build, seed_of_process, seed_step
from noisyrun.engine.progress import Progress
from noisyrun.engine.tables import LabelTables
from noisyrun.engine.watch import LossWatch
from noisyrun.engine.work import Work, prepare
from noisyrun.engine.world import ALONE, World, of_another
from noisyrun.files import writing
from noisyrun.methods import Methods
from noisyrun.report.console import Console
from noisyrun.tracking.manager import Observers


class Trainer:
    """Trains one network on one data set, in stages.

    Parameters
    ----------
    settings, methods, data
        What to train, with what, on what.
    device
        Where to compute.
    plan
        Stages in place of those that the settings give.
    batches
        How batches are drawn.
    folder
        Where checkpoints go; None keeps none.
    config
        The resolved configuration, JSON values: a checkpoint of another one is refused.
    observers, console
        Who is told how it goes.
    world
        The processes that train together. All of them call `run`; the first alone writes.
    """

    def __init__(
        self,
        settings: RunSettings,
        methods: Methods,
        data: Data,
        *,
        device: torch.device,
        plan: Sequence[Stage] | None = None,
        batches: Batches = UNIFORM,
        folder: Path | None = None,
        config: Mapping[str, Any] | None = None,
        observers: Observers | None = None,
        console: Console | None = None,
        world: World = ALONE,
    ) -> None:
        self.settings = settings
        self.methods = methods
        self.data = data
        self.device = device
        self.stages = tuple(plan or stages.resolve_stages(settings, judge_labels=methods.judge_labels))
        self.batches = batches
        self.path = None if folder is None else folder / checkpoint.NAME
        self.folder = folder
        self.config = dict(config or {})
        self.console = console or Console(quiet=True)
        self.observers = observers or Observers({}, self.console.warn)
        self.world = world
        self.seed = seed_of_process(settings.seed, world.rank)

        self.progress = Progress()
        self.clock = Stopwatch(self.progress.seconds)
        self.state = LabelState.initial(data.train.labels)
        self.precision = Precision(settings.train.amp, device)
        self.stop = StopRequest()
        self.agreed = Agreement(world, settings.train.log_every)
        self.kept: dict[str, tuple[Tensor, Tensor]] = {}
        self.snapshots: dict[str, dict[str, Tensor]] = {}
        self.selected: Tensor | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        self.optimizer_stage = -1
        #: State of the methods as it was before a label phase that is under way.
        self.methods_before: dict[str, Any] | None = None
        #: What the side-info encoders gave; None before.
        self.side: SideInfo | None = None
        self._unreadable: dict[str, int] = {}

    def run(self, *, resume: bool = False) -> Outcome:
        """Train to the end.

        Parameters
        ----------
        resume
            Go on from the folder's checkpoint; from nothing where there is none.

        Raises
        ------
        Interrupted
            On Ctrl-C, SIGTERM or SIGHUP, after a checkpoint was written.
        UserError
            When a loss is not finite, or a checkpoint does not fit.
        """
        if self.folder is not None and self.world.first:
            with writing(self.folder):
                self.folder.mkdir(exist_ok=True)
        gpus = [self.device] if self.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices=gpus),
            deterministic(self.settings.train.deterministic, self.device),
            StopRequest() as self.stop,
        ):
            self.stop.alone = self.world.size == 1
            self.build()
            if resume and self.path is not None:
                self._restore(self.path)
            if self.world.size > 1:
                self.progress.energy.clear()  # counters tell of one machine and one GPU
            begun = self.progress.steps > 0 or self.world.size > 1
            self.energy = EnergyMeter(self.device, self.progress.energy, resumed=begun)
            try:
                self._run_stages()
            except Interrupted:
                self._save()
                raise
            except RuntimeError as error:
                if self.stop.requested and of_another(error):  # the others were asked, too, and stopped first
                    raise AtOnce(signal=self.stop.signal) from None
                raise
        if self.world.any(self.stop.requested):  # when nothing was left to do here, but for whoever called
            raise Interrupted(signal=self.stop.signal)
        return self._outcome()

    def _restore(self, path: Path) -> None:
        """Go on from a checkpoint, which the first process reads for all; from nothing where there is none."""
        saved = self.world.broadcast(checkpoint.load(path) if self.world.first and path.exists() else None)
        if saved is not None:
            persist.restore_trainer(self, saved, path)

    def _run_stages(self) -> None:
        left = self.stages[self.progress.stage :]
        if self.methods.judge_labels and any(stage.label_phase != "never" for stage in left):
            rounds.side_info(self)  # a missing text encoder is found now, not after hours of warm-up
        for number in range(self.progress.stage, len(self.stages)):
            self._run_stage(number)

    def _run_stage(self, number: int) -> None:
        stage, at = self.stages[number], self.progress
        if stage.while_gains and not at.entered and not at.gained:
            self.console.say(f"stage {stage.name} is skipped: the one before it did not gain on noisy validation")
            at.lengths[stage.name] = 0, 0
            self._leave(stage, self.view(stage))
            if at.stage == len(self.stages):
                self._save()
            return
        self._enter(stage)
        if at.epoch == 0:
            rounds.judge_labels(self, stage)
        self._select(stage)
        work = prepare(self, number)
        tables = LabelTables(self.data.train, self.state, stage, self.device)
        for _ in range(at.epoch, work.epochs):
            rounds.judge_labels(self, stage)
            if tables.state is not self.state:
                tables = LabelTables(self.data.train, self.state, stage, self.device)
            self._train_epoch(work, tables)
            self._finish_epoch(work)
            if self.world.size > 1 and self.world.any(self.stop.requested):  # what comes now would not be saved
                raise Interrupted(signal=self.stop.signal)
            if at.epoch < work.epochs and at.epochs % self.settings.train.checkpoint_every == 0:
                self._save()
        self._leave(stage, work.view)
        if at.epochs % self.settings.train.checkpoint_every == 0 or at.stage == len(self.stages):
            self._save()

    def _train_epoch(self, work: Work, tables: LabelTables) -> None:
        at, began = self.progress, time.perf_counter()
        watch = LossWatch(self.settings.train.log_every, self.device, at.loss, self.world)
        before = at.epoch * work.loader.steps_per_epoch
        last = min(work.loader.steps_per_epoch, work.steps - before)
        batches = itertools.islice(work.loader.epoch(at.epochs, at.step), last - at.step)
        self.network.train()
        with self.clock("train"):
            for batch in self.console.progress(batches, last - at.step, f"epoch {at.epochs + 1}/{self.all_epochs()}"):
                self._stop_if_asked(watch, began)
                rate = work.rate(at.epoch, before + at.step)
                set_rate(work.optimizer, rate)
                seed_step(self.seed, at.steps)
                step = self._step(tables, batch)
                with self.precision.autocast():
                    loss, terms = work.model(batch.inputs, step, work.given_features)
                self.precision.step(loss, work.optimizer, work.settings.clip, work.parameters)
                watch.add(at.steps, rate, loss, terms, batch, tables)
                self.energy.tick()
                at.step += 1
                at.steps += 1
            watch.check(tables)
            self._take(watch)
        at.epoch_seconds += time.perf_counter() - began

    def _step(self, tables: LabelTables, batch: LoadedBatch) -> Step:
        whole, parts = batch.whole, self.network.has_parts
        step = tables.step(batch.positions, batch.mask, batch.bags, for_parts=parts and whole is None)
        if whole is None:
            return step
        if self.data.unreadable:  # each process knows only which of its own images could not be read
            whole = replace(whole, mask=self.world.rows(batch.mask))
        return tables.part_of(whole, step, self.world.size, for_parts=parts)

    def _finish_epoch(self, work: Work) -> None:
        """Evaluate, tell, and stand at the beginning of the next epoch."""
        at = self.progress
        share_buffers(self.network, self.world)
        record: dict[str, Any] = {
            "stage": work.stage.name,
            "epoch": at.epochs + 1,
            "step": at.steps,
            "lr": work.optimizer.param_groups[0]["lr"],
            "loss": at.loss / max(1, at.step),
            "seconds": at.epoch_seconds,
        }
        if (at.epochs + 1) % self.settings.eval.every == 0 or at.epoch + 1 == work.epochs:
            record |= self._evaluate(work)
        self._tell_unreadable()
        at.epoch, at.epochs = at.epoch + 1, at.epochs + 1
        at.step, at.loss, at.epoch_seconds, at.labelled = 0, 0.0, 0.0, False
        share_warnings(self.console, self.world)
        at.history.append(record)
        metrics = {name: float(value) for name, value in record.items() if name not in ("stage", "epoch", "step")}
        result = EpochResult(work.stage.name, at.epochs, at.steps, metrics)
        self.console.epoch(result, self.all_epochs())
        self.observers.epoch_end(result)

    def _tell_unreadable(self) -> None:
        """Images that could not be decoded, whenever there are more than before."""
        for split, bad in self.data.unreadable.items():
            bad.share(self.world.collect)
            if len(bad) > self._unreadable.get(split, 0):
                self._unreadable[split] = len(bad)
                self.console.warn(f"{split}: {bad.named()}")

    def _evaluate(self, work: Work) -> dict[str, float]:
        """Numbers on noisy validation and on the test set; the test set's never choose anything."""
        at = self.progress
        found: dict[str, float] = {}
        by_class = at.by_class
        # Several processes stop where all do, at the next step: stopping here would lose the epoch.
        view = work.view if self.world.size == 1 else replace(work.view, watch=iter)
        with self.clock("evaluate"):
            for name, split in (("val", self.data.val), ("test", self.data.test)):
                if split is not None and len(split):
                    measured = evaluate(self.network, split, view, self.world)
                    found |= {f"{name}_{measure}": value for measure, value in measured.numbers.items()}
                    if name == "test":
                        by_class = measured.by_class
        # Nothing is noted before all is measured: a stop within it leaves the whole evaluation to be done again.
        at.by_class = by_class
        test = found.get("test_accuracy")
        at.by_val.offer(found.get("val_accuracy"), test, at.epochs + 1)
        at.by_test.offer(test, test, at.epochs + 1)
        return found

    def _enter(self, stage: Stage) -> None:
        """Put the stage's starting weights in place, and choose what trains."""
        at = self.progress
        if not at.entered:
            at.entered, at.began = True, at.epochs
            self.features.forget()
            if stage.weights_from != "continue":
                self.network.load_state_dict(self.snapshots[stage.weights_from])
        self.network.freeze(stage.trains, online=stage.online)

    def _select(self, stage: Stage) -> None:
        if not self.progress.selected:
            self.selected = stages.select(stage, self.data.train, self.state)
            self.progress.selected = True

    def _leave(self, stage: Stage, view: View) -> None:
        """Keep what later stages ask for."""
        if stage.keep_predictions is not None:
            with self.clock("features"):
                top = self.settings.bank.top
                self.kept[stage.keep_predictions] = top_predictions(
                    self.network, self.data.train, view, top, self.world
                )
        self._keep_snapshot(f"stage:{stage.name}")
        self.progress.next_stage()

    def _keep_snapshot(self, name: str) -> None:
        if any(stage.weights_from == name for stage in self.stages):
            self.snapshots[name] = {k: v.detach().cpu().clone() for k, v in self.network.state_dict().items()}

    def view(self, stage: Stage) -> View:
        """How samples are shown to the network in a stage."""
        extractor, data = self.network.extractor, self.data
        return View(
            device=self.device,
            precision=self.precision,
            mean=data.mean if extractor.mean is None else extractor.mean,
            std=data.std if extractor.std is None else extractor.std,
            batch_size=self.settings.eval.batch_size,
            resolution=stage.resolution,
            watch=self.stop.between,
        )

    def lengths(self) -> dict[str, tuple[int, int]]:
        """Epochs and steps of every stage; an estimate for those that have not begun."""
        return stages.lengths(self.stages, self.progress.lengths, self.data.train, self.settings.batch_size)

    def all_epochs(self) -> int:
        """Epochs of the run."""
        return sum(epochs for epochs, _ in self.lengths().values())

    def build(self) -> None:
        """Make the network, its weights drawn from the run's seed."""
        train, task = self.settings.train, self.data.task
        if self.data.train.features is not None and task.feature_dim is None:
            task = replace(task, feature_dim=self.data.train.features.shape[1])
        seed_build(self.settings.seed)
        network = build_network(
            self.methods,
            task,
            dropout=train.dropout,
            label_smoothing=train.label_smoothing,
            own_head=not all(stage.online for stage in self.stages),
        )
        spread(network, self.world, self.device, self.console)
        # Convolutions are quicker so on GPUs, and by a quarter on the CPU (32-pixel images).
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        if train.compile:
            self.network.extractor.compile()
        self.features = FeatureSource(self.network, self.data.train, self.settings, self.folder, self.world)
        self._keep_snapshot("initial")

    def _stop_if_asked(self, watch: LossWatch, began: float) -> None:
        if not self.agreed(self.stop.requested):
            return
        self._take(watch)
        self.progress.epoch_seconds += time.perf_counter() - began
        raise Interrupted(signal=self.stop.signal)

    def _take(self, watch: LossWatch) -> None:
        """What the steps came to, read from the device."""
        at = self.progress
        at.loss = watch.mean()
        at.seen += watch.samples

    def _save(self) -> None:
        if self.path is None:
            return
        self.energy.read()
        with self.clock("checkpoint"):
            if self.world.first:
                checkpoint.save(self.path, persist.trainer_tree(self))
            self.world.wait()  # who leaves while the first one writes would have it killed
        self.observers.checkpoint(self.path, self.progress.epochs)

    def _outcome(self) -> Outcome:
        at = self.progress
        self.energy.read()
        memory = peak_memory(self.device)
        most = self.world.gather(torch.tensor([list(memory.values())])).amax(0).tolist()
        return Outcome(
            network=self.network,
            state=self.state,
            accuracy=at.accuracy,
            by_class=tuple(at.by_class),
            history=tuple(at.history),
            rounds=tuple(at.rounds),
            seconds=dict(at.seconds),
            seen=at.seen,
            peak_memory=dict(zip(memory, most)),
            energy=dict(at.energy),
            view=self.view(stages.last_trained(self.stages, at.lengths)),
        )
