"""The label phase: what the chosen methods make of the labels, from the feature bank."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from noisyrun.api.bank import FeatureBank
from noisyrun.api.corrector import LabelCorrector
from noisyrun.api.labels import PAD, Labels, Targets
from noisyrun.api.phase import Exhibit, Phase
from noisyrun.api.prototypes import Prototypes
from noisyrun.api.side_info import SideInfo
from noisyrun.api.task import Task
from noisyrun.config.settings import RunSettings
from noisyrun.data.samples import Samples
from noisyrun.engine.clock import Stopwatch
from noisyrun.engine.corrections import changed, corrected_labels, keep_surest, standing, taken_away
from noisyrun.engine.harm import harm_warning
from noisyrun.engine.label_state import LabelState
from noisyrun.engine.outputs import TargetRows
from noisyrun.engine.persist import exhibit_from, exhibit_tree
from noisyrun.engine.sharing import build_prototypes, fit
from noisyrun.engine.weighing import Weighed, blocks_of, weigh
from noisyrun.engine.world import ALONE, World
from noisyrun.methods import Methods
from noisyrun.report import metrics as measure

Warn = Callable[[str], object]


def run_label_phase(
    bank: FeatureBank,
    methods: Methods,
    side: SideInfo,
    phase: Phase,
    settings: RunSettings,
    truth: Labels | None = None,
    warn: Warn = warnings.warn,
    clock: Stopwatch | None = None,
    world: World = ALONE,
) -> LabelState:
    """Run one label phase: prototypes, then correctors in order, then weighters on what came of it.

    Weighters judge (sample, label) pairs: every observed label and, where it is another, every corrected one, so that
    weighting does not undo a right correction. Weights of several weighters multiply.

    Parameters
    ----------
    side
        What the side-info encoders gave, once a run.
    phase
        Where the run stands; each method gets it under its own name.
    truth
        Clean labels of the bank's samples, for measures only: no method sees them.
    warn
        Takes a line that a user should read.
    clock
        Takes the seconds of each method; a new one by default.
    world
        The processes that share the work; all of them call this, and all get the same state.

    Returns
    -------
    LabelState
        Its metrics: ``changed`` (share of samples whose label is another now), ``wrong`` (share held wrong),
        ``mean_weight`` and ``zero_weight`` (of the observed labels, before scaling), ``effective_sample_size`` (as a
        share), ``seconds`` and ``seconds.<method>``, what the harm check rests on; and where clean labels are known
        ``label_accuracy_before``, ``label_accuracy_after`` and those of `detection_measures`.

    Raises
    ------
    MethodError
        When a method breaks the contract.
    UserError
        When the surest changes cannot be told.
    """
    clock, start = clock or Stopwatch(), time.perf_counter()
    if not world.first:
        # What concerns the whole is found in all processes, and told by one.
        warn = _nobody
    exhibits: dict[str, Exhibit] = {}
    phase = replace(phase, show=lambda shown: exhibits.__setitem__(shown.name, _on_host(shown)))
    prototypes = _build(bank, methods, side, phase, clock, world)
    _warn_of_absent(bank, prototypes, warn)
    corrected = _correct(bank, methods.correctors, prototypes, side, phase, settings.corrections.share, clock, world)
    weighed = weigh(bank, methods.weighters, corrected.targets, prototypes, side, phase, clock, world)
    changes = changed(bank.labels, corrected.labels)
    state = LabelState(
        targets=corrected.targets,
        weights=weighed.weights,
        target_weights=weighed.target_weights,
        score=_score(methods, weighed, corrected),
        wrong=_wrong(methods, weighed, changes),
        prototypes=prototypes,
        # Only for pictures: a classifier that no method asked is not asked for them.
        predicted=bank.top_classes[:, :2].clone() if "top_classes" in vars(bank) else None,
        exhibits=_everywhere(exhibits, world),
    )
    if bank.task.multi:
        state = _with_pairs(bank, methods, state, weighed, corrected)
    numbers: dict[str, float] = {}
    if world.first:
        measuring = time.perf_counter()
        numbers = _numbers(bank, methods, state, corrected.labels, changes, truth)
        start += time.perf_counter() - measuring  # who has clean labels pays for the measures, not for the label phase
        if methods.correctors and settings.corrections.warn:
            harm = harm_warning(bank, changes, corrected.labels, numbers)
            if harm is not None:
                warn(harm)
    state = _scaled(bank, methods, state, settings.weights.scale, warn)
    numbers |= {f"seconds.{method}": spent for method, spent in clock.seconds.items()}
    numbers["seconds"] = time.perf_counter() - start
    numbers = world.broadcast(numbers)
    for name, value in numbers.items():
        phase.log(name, value)
    return replace(state, metrics=numbers)


def _nobody(line: str) -> None:
    return None


def _everywhere(exhibits: dict[str, Exhibit], world: World) -> dict[str, Exhibit]:
    """The exhibits of the first process, in all."""
    if world.size == 1:
        return exhibits
    trees = world.broadcast({name: exhibit_tree(shown) for name, shown in exhibits.items()})
    return {name: exhibit_from(tree) for name, tree in trees.items()}


def _on_host(shown: Exhibit) -> Exhibit:
    """The exhibit without a hold on the device or on a graph."""
    return replace(shown, rows=shown.rows.cpu(), values=shown.values.detach().float().cpu())


@dataclass
class _Corrected:
    """What correctors made: targets, the labels they come to, and how far the last one stands by the observed label."""

    targets: Targets
    labels: Labels
    margin: Tensor | None = None


def _build(
    bank: FeatureBank, methods: Methods, side: SideInfo, phase: Phase, clock: Stopwatch, world: World
) -> Prototypes | None:
    builder = methods.prototypes
    if builder is None:
        return None
    with clock(builder.key):
        return build_prototypes(builder, bank, side, phase.of(builder.key), world)


def _warn_of_absent(bank: FeatureBank, prototypes: Prototypes | None, warn: Warn) -> None:
    if prototypes is None:
        return
    counts = bank.class_counts()
    absent = (~prototypes.present.cpu() & (counts > 0)).nonzero()[:, 0]
    if len(absent) == 0:
        return
    names = ", ".join(bank.task.classes[c] for c in absent[:3].tolist())
    more = ", …" if len(absent) > 3 else ""
    warn(
        f"{len(absent)} of {bank.num_classes} classes have no prototypes ({names}{more}): "
        f"their {int(counts[absent].sum())} labels weigh 1 and stay as they are"
    )


def _correct(
    bank: FeatureBank,
    correctors: Sequence[LabelCorrector[Any]],
    prototypes: Prototypes | None,
    side: SideInfo,
    phase: Phase,
    share: float,
    clock: Stopwatch,
    world: World,
) -> _Corrected:
    own = world.share(len(bank))
    now = _Corrected(Targets.of(bank.labels), bank.labels)
    for corrector in correctors:
        with clock(corrector.key):
            fit(corrector, bank, prototypes, side, phase, world)
            # How sure an earlier corrector was says nothing of this one's changes.
            before = replace(now.targets, confidence=None)
            room = TargetRows(len(own))
            rows = None if world.size == 1 else torch.arange(own.start, own.stop)
            for block in blocks_of(bank, rows, phase, corrector.key):
                given = before.take(block.rows).to(bank.device)
                room.add(corrector(block, given, prototypes, side).to("cpu"))
            made = room.gathered(world) or before
            said = corrected_labels(bank.labels, made, bank.task.multi)
            now.margin = _margin(made, changed(bank.labels, said))
            now.targets = keep_surest(share, made, before, changed(now.labels, said), corrector.key)
            now.labels = corrected_labels(bank.labels, now.targets, bank.task.multi)
    return now


def _margin(made: Targets, changes: Tensor) -> Tensor:
    """float32 [N]: how sure a corrector is of the observed label: below 0 where it changes it."""
    sure = torch.ones(len(made)) if made.confidence is None else made.confidence
    return torch.where(changes, -sure, sure)


def _score(methods: Methods, weighed: Weighed, corrected: _Corrected) -> Tensor:
    if methods.weighters or corrected.margin is None:
        return weighed.score
    return corrected.margin


def _wrong(methods: Methods, weighed: Weighed, changes: Tensor) -> Tensor | None:
    if not methods.correctors:
        return weighed.wrong
    return changes if weighed.wrong is None else weighed.wrong | changes


def _with_pairs(
    bank: FeatureBank, methods: Methods, state: LabelState, weighed: Weighed, corrected: _Corrected
) -> LabelState:
    """The state with a score and a decision for each of several observed labels: as for a sample, label by label."""
    score, wrong = weighed.pair_score, weighed.pair_wrong
    if methods.correctors:
        score = score if methods.weighters else standing(bank.labels, corrected.targets)
        gone = taken_away(bank.labels, corrected.labels)
        wrong = gone if wrong is None else wrong | gone
    return replace(state, pair_score=score, pair_wrong=wrong)


def _numbers(
    bank: FeatureBank,
    methods: Methods,
    state: LabelState,
    corrected: Labels,
    changes: Tensor,
    truth: Labels | None,
) -> dict[str, float]:
    numbers: dict[str, float | None] = {}
    if methods.correctors:
        numbers["changed"] = float(changes.float().mean())
    if methods.weighters:
        weights = state.weights[bank.labels.classes != PAD]
        numbers["mean_weight"] = float(weights.double().mean())
        numbers["zero_weight"] = float((weights == 0).float().mean())
        numbers["effective_sample_size"] = measure.effective_sample_size(weights)
    if state.wrong is not None:
        numbers["wrong"] = float(state.wrong.float().mean())
    if truth is not None:
        numbers |= label_measures(bank.labels, corrected, state, truth, bank.task)
    return {name: value for name, value in numbers.items() if value is not None}


def label_measures(
    observed: Labels, corrected: Labels, state: LabelState, truth: Labels, task: Task
) -> dict[str, float | None]:
    """Measures against clean labels: accuracy of observed and corrected labels, and detection of wrong ones.

    Of several labels a sample, accuracy is over the known (sample, class) pairs, and detection over the observed labels
    of which it is known whether they hold.
    """
    if task.multi:
        numbers = {
            "label_accuracy_before": measure.multi_label_accuracy(observed, truth, task.num_classes),
            "label_accuracy_after": measure.multi_label_accuracy(corrected, truth, task.num_classes),
            "label_f1_before": measure.multi_label_f1(observed, truth),
            "label_f1_after": measure.multi_label_f1(corrected, truth),
        }
    else:
        numbers = {
            "label_accuracy_before": measure.label_accuracy(observed.single, truth.single),
            "label_accuracy_after": measure.label_accuracy(corrected.single, truth.single),
        }
    return {**numbers, **detection_measures(observed, state, truth, task)}


def detection_measures(
    observed: Labels, state: LabelState, truth: Labels, task: Task, counted: Tensor | None = None
) -> dict[str, float]:
    """Measures of what was called wrong against clean labels; see `noisyrun.report.metrics.detection`.

    Parameters
    ----------
    counted
        bool [N]: samples that count; all by default.
    """
    classes: Tensor | None = observed.classes
    if task.multi and state.pair_score is not None:
        score, decided = state.pair_score, state.pair_wrong
        wrong, known = measure.wrong_pairs(observed, truth)
    else:
        score, decided = state.score, state.wrong
        wrong, known = measure.truly_wrong(observed, truth)
        # Of several labels without a score of their own a sample has no one class.
        classes = None if task.multi else observed.single
    if counted is not None:
        known = known & (counted if known.dim() == 1 else counted[:, None])
    return measure.detection(
        score[known],
        None if decided is None else decided[known],
        wrong[known],
        None if classes is None else classes[known],
    )


def unverified(samples: Samples, state: LabelState) -> dict[str, float] | None:
    """`detection_measures` over the labels that methods were told nothing of: neither verified nor of the clean subset.

    Returns
    -------
    dict or None
        None where clean labels are not known, or no label was verified.
    """
    told = (samples.verified >= 0) | samples.clean
    if samples.truth is None or not bool(told.any()):
        return None
    return detection_measures(samples.labels, state, samples.truth, samples.task, ~told)


def _scaled(bank: FeatureBank, methods: Methods, state: LabelState, scale: str, warn: Warn) -> LabelState:
    """Weights scaled so that the loss as a whole is neither shrunk nor swollen.

    The mean is over the pairs that the loss uses, each by its part in it: (1 − α_i) of an observed label, α_i·v_ik of
    a corrected one. Where nothing weighs anything there is nothing to learn from: all weigh 1 until the next label
    phase, since a young network's prototypes must not end a run.
    """
    if not methods.weighters:
        return state
    alpha = state.targets.alpha.double().unsqueeze(1)
    seen = (1 - alpha) * (bank.labels.classes != PAD)
    made = alpha * state.targets.values
    total = float((seen * state.weights).sum() + (made * state.target_weights).sum())
    if total <= 0:
        names = ", ".join(weighter.key for weighter in methods.weighters)
        warn(f"{names}: all labels weigh 0, which leaves nothing to learn from: until the next label phase all weigh 1")
        ones = torch.ones_like
        return replace(state, weights=ones(state.weights), target_weights=ones(state.target_weights))
    if scale == "none":
        return state
    factor = float(seen.sum() + made.sum()) / total
    return replace(
        state,
        weights=(state.weights.double() * factor).float(),
        target_weights=(state.target_weights.double() * factor).float(),
    )
