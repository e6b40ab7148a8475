"""The rounds of a run: a label phase where one is due, on features of the network as it stands."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from noisyrun.api.hooks import LabelPhaseResult
from noisyrun.api.phase import Phase
from noisyrun.api.side_info import SideInfo
from noisyrun.api.stage import Stage
from noisyrun.engine import persist, stages
from noisyrun.engine.label_phase import run_label_phase
from noisyrun.engine.parallel import share_warnings
from noisyrun.engine.sharing import encode_side_info

if TYPE_CHECKING:
    from noisyrun.engine.trainer import Trainer


def judge_labels(trainer: Trainer, stage: Stage) -> None:
    """The label phase, where one is due before the epoch that comes."""
    at = trainer.progress
    if at.labelled or not trainer.methods.judge_labels or not stages.label_phase_due(stage, at.epoch):
        return
    began = time.perf_counter()
    logged: dict[str, float] = {}
    phase = _phase(trainer, stage, logged)
    side = side_info(trainer)
    with trainer.clock("features"):
        bank = trainer.features.bank(trainer.view(stage), trainer.kept)
    try:
        with trainer.clock("label_phase"), _or_again(trainer):
            trainer.state = run_label_phase(
                bank,
                trainer.methods,
                side,
                phase,
                trainer.settings,
                trainer.data.train.truth,
                trainer.console.warn,
                world=trainer.world,
            )
    finally:
        bank.close()
    share_warnings(trainer.console, trainer.world)
    metrics = {**trainer.state.metrics, **logged, "seconds": time.perf_counter() - began}
    at.rounds.append({"stage": stage.name, "round": at.rounds_done, "epoch": at.epochs, **metrics})
    result = LabelPhaseResult(stage.name, at.rounds_done, at.epochs, metrics)
    at.rounds_done, at.labelled = at.rounds_done + 1, True
    trainer.console.label_phase(result)
    trainer.observers.label_phase_end(result)


def _phase(trainer: Trainer, stage: Stage, logged: dict[str, float]) -> Phase:
    at = trainer.progress
    return Phase(
        seed=trainer.settings.seed,
        stage=stage.name,
        round=at.rounds_done,
        epoch=at.epochs,
        epochs=trainer.all_epochs(),
        device=trainer.device,
        memory=trainer.features.memory // 2,
        previous=trainer.state.prototypes,
        log=lambda name, value: logged.__setitem__(name, float(value)),
        progress=partial(_progress, trainer),
    )


def _progress(trainer: Trainer, items: Iterable[Any], total: int | None = None, what: str = "") -> Iterator[Any]:
    """The console's progress, which also looks whether the run is to stop."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    return trainer.console.progress(trainer.stop.between(items), total, what)


@contextmanager
def _or_again(trainer: Trainer) -> Iterator[None]:
    """A block that a stop abandons: what methods learn in it is not saved then, and a resume does it again."""
    trainer.methods_before = persist.copied(persist.methods_tree(trainer.methods))
    yield
    trainer.methods_before = None


def side_info(trainer: Trainer) -> SideInfo:
    """What the encoders give: once a run, and again, from their restored state, after a resume."""
    if trainer.side is None:
        phase = replace(_phase(trainer, trainer.stages[0], {}), round=0, epoch=0, previous=None)
        encoders, text = trainer.methods.side_info, trainer.data.train.labelled_text
        with trainer.clock("label_phase"), _or_again(trainer):
            trainer.side = encode_side_info(encoders, trainer.data.task, text, phase, trainer.world)
    return trainer.side
