"""Finding wrong labels on given features: one label phase, no training of a backbone."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from torch import Tensor, nn

from noisyrun import bank as banks
from noisyrun import plan as plans
from noisyrun.api.errors import UserError
from noisyrun.api.method import Method
from noisyrun.api.online import OnlinePart
from noisyrun.api.phase import Phase
from noisyrun.api.plugin import plugin_key
from noisyrun.api.side_info import SideInfo
from noisyrun.bank.linear_head import fit_linear_head
from noisyrun.bank.sizes import parse_memory
from noisyrun.config.resolve import RunConfig, resolve
from noisyrun.config.settings import RunSettings
from noisyrun.data import sources
from noisyrun.data.build import assemble
from noisyrun.data.raw import ROLES, Raw, RawData
from noisyrun.data.samples import Data, Samples
from noisyrun.data.sources.matrices import label_columns
from noisyrun.engine.clock import Stopwatch, forget_peak_memory, peak_memory
from noisyrun.engine.device import device_of
from noisyrun.engine.energy import EnergyMeter
from noisyrun.engine.label_phase import run_label_phase, unverified
from noisyrun.engine.label_state import LabelState
from noisyrun.files import writing
from noisyrun.methods import Methods
from noisyrun.report import summary as summaries
from noisyrun.report.by_class import class_records
from noisyrun.report.console import Console
from noisyrun.report.labels import label_frame, label_table, write_labels
from noisyrun.run_folder import LABELS, SUMMARY, RunFolder

if TYPE_CHECKING:
    import pandas as pd

#: A method: its name, its name with its settings, or the method itself; or several names or methods, stacking.
Choice = str | Mapping[str, Any] | Method[Any] | Sequence[str] | Sequence[Method[Any]] | None

_KINDS = ("side_info", "prototypes", "weighter", "corrector")


@dataclass(frozen=True)
class Detection:
    """What was found.

    Attributes
    ----------
    metrics
        Measures of the label phase, by name; those against clean labels where these are known:
        ``label_accuracy_before``, ``label_accuracy_after``, and those of the `detection` of the summary.
    seconds
        Wall seconds by part, and by method.
    notes, warnings
        Lines a user should read.
    state
        Targets, weights, scores and decisions, by position.
    summary
        The content of ``summary.json``.
    """

    metrics: Mapping[str, float]
    seconds: Mapping[str, float]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    state: LabelState
    summary: Mapping[str, Any]
    _table: pa.Table = field(repr=False)

    @property
    def labels(self) -> pd.DataFrame:
        """One row a sample: index, observed, corrected, weight, quality, wrong, and truth where it is known."""
        return label_frame(self._table)

    def save(self, out: Path | str) -> None:
        """Write ``labels.parquet`` and ``summary.json`` into a folder."""
        folder = Path(out)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        files = {"summary": SUMMARY, "labels": LABELS}
        write_labels(self._table, folder / LABELS)
        summaries.write({**self.summary, "out": summaries.from_here(folder), "files": files}, folder / SUMMARY)


def detect(
    features: Any,
    labels: Any,
    *,
    prototypes: Choice = None,
    weighter: Choice = None,
    corrector: Choice = None,
    side_info: Choice = None,
    logits: Any = None,
    clean_labels: Any = None,
    columns: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    wnids: Sequence[str] | None = None,
    descriptions: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "auto",
    settings: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Detection:
    """Find wrong labels, and correct them.

    Parameters
    ----------
    features
        Float [N, D]: an array or a tensor.
    labels
        Observed labels: class indices or names [N]; lists of them in multi-label data.
    prototypes, weighter, corrector, side_info
        What sits in each socket: ``"sinet"``, ``["urnet", "sinet"]``, ``{"sinet": {"alpha": 1.2}}``, or methods.
    logits
        Float [N, C] of a classifier trained on these labels; without them a linear one is fitted.
    clean_labels
        As `labels`; for measures only.
    columns
        Whatever else is known of each sample: ``verified`` (1 right, 0 wrong, −1 or None unknown), ``trusted``,
        ``clean``, ``title``, ``description``, ``tags``, ``source``, ``rank``, ``known``.
    classes, wnids, descriptions
        Names, WordNet ids and descriptions of the C classes.
    settings
        Of a run, by dotted name: ``{"bank.space": "centred", "corrections.share": 0.5, "verify": "0.05"}``.
    console
        Who is told how it goes; nobody by default.

    Raises
    ------
    UserError
        For anything that does not fit, in one line.

    Examples
    --------
    >>> import noisyrun
    >>> found = noisyrun.detect(features, labels, prototypes="smp", weighter="sinet")  # doctest: +SKIP
    >>> found.labels.query("wrong")  # doctest: +SKIP
    """
    chosen = dict(zip(_KINDS, (side_info, prototypes, weighter, corrector)))
    made = {kind: _objects(kind, choice) for kind, choice in chosen.items()}
    named = {kind: choice for kind, choice in chosen.items() if choice is not None and not made[kind]}
    config = resolve({**(settings or {}), **named, "seed": seed, "device": device, "tracking": "none"})
    methods = _with_objects(plans.make_methods(config), made)
    forget_peak_memory(device_of(config.settings.device))
    clock = Stopwatch()
    with clock("data"):
        raw = _raw(features, labels, logits, clean_labels, columns or {}, classes, wnids, descriptions)
        data = assemble(raw, _all_samples(config.settings))
    return _Detector(config, methods, console or Console(quiet=True), clock).run(data)


def detect_file(config: RunConfig, *, console: Console | None = None) -> Detection:
    """Find wrong labels in the file of features that a configuration names as its data set, and write what was found.

    Raises
    ------
    UserError
        For anything that does not fit, in one line.
    """
    console = console or Console()
    if config.settings.dataset is None:
        raise UserError("detect: name the features: --features FILE (.npz, .npy or .parquet)")
    methods = plans.make_methods(config)
    _need_judges(methods)
    forget_peak_memory(device_of(config.settings.device))
    clock = Stopwatch()
    with clock("data"):
        settings = _all_samples(config.settings)
        data = assemble(sources.read(settings), settings)
    found = _Detector(config, methods, console, clock).run(data)
    names = [method.key.partition(".")[2] for method in methods]
    folder = RunFolder.create(config.settings.out, "-".join(dict.fromkeys(["detect", *names])))
    found.save(folder.path)
    console.results(summaries.read(folder.path / SUMMARY))
    return found


class _Detector:
    """One label phase on the features of a data set."""

    def __init__(self, config: RunConfig, methods: Methods, console: Console, clock: Stopwatch) -> None:
        self.config = config
        self.settings: RunSettings = config.settings
        self.methods = methods
        self.console = console
        self.clock = clock
        self.phase_clock = Stopwatch()
        self.device = device_of(self.settings.device)
        self.energy = EnergyMeter(self.device)

    def run(self, data: Data) -> Detection:
        samples = data.train
        if samples.features is None:
            raise UserError(f"detect works on features, and {data.name} has none; noisyrun --dataset trains on images")
        _need_judges(self.methods)
        needs = plans.method_needs(self.methods, samples, frozen=True, registry=self.config.registry)
        if problems := [str(need) for need in needs if not need.met]:
            raise UserError("\n".join(dict.fromkeys(problems)))
        notes = [*data.notes, *_untrained(self.methods)]
        for note in notes:
            self.console.say(note)
        bank = self._bank(data, notes)
        try:
            state = self._judge(bank, data)
        finally:
            bank.close()
        return self._detection(data, state, notes)

    def _bank(self, data: Data, notes: list[str]) -> banks.StoredBank:
        samples, settings = data.train, self.settings
        assert samples.features is not None
        logits = self._head(samples, notes) if samples.logits is None else samples.logits
        with self.clock("bank"):
            return banks.build(samples, samples.features, logits, settings=settings.bank, device=self.device)

    def _head(self, samples: Samples, notes: list[str]) -> banks.Head:
        """A linear head in place of the logits that were not given; fitted when it is first called."""

        @functools.cache
        def fitted() -> nn.Module:
            note = "no logits were given: a linear head was fitted on the observed labels"
            notes.append(note)
            self.console.say(note)
            assert samples.features is not None
            with self.phase_clock("linear_head"):
                return fit_linear_head(
                    samples.features, samples.labels, samples.task, seed=self.settings.seed, device=self.device
                )

        return lambda features: fitted()(features)

    def _judge(self, bank: banks.StoredBank, data: Data) -> LabelState:
        phase = Phase(
            seed=self.settings.seed,
            stage="detect",
            device=self.device,
            memory=parse_memory(self.settings.bank.memory) // 2,
            progress=self.console.progress,
        )
        side = SideInfo()
        for encoder in self.methods.side_info:
            with self.clock(encoder.key):
                side = encoder(data.task, data.train.labelled_text, side, phase.of(encoder.key))
        truth, warn = data.train.truth, self.console.warn
        return run_label_phase(bank, self.methods, side, phase, self.settings, truth, warn, self.phase_clock)

    def _detection(self, data: Data, state: LabelState, notes: list[str]) -> Detection:
        self.energy.read()
        metrics = dict(state.metrics)
        methods = {name.removeprefix("seconds."): metrics[name] for name in metrics if name.startswith("seconds.")}
        seconds = {**self.clock.seconds, **methods}
        seconds["other"] = max(0.0, metrics["seconds"] - sum(methods.values()))
        summary = summaries.build(
            config=self.config,
            data=replace(data, notes=tuple(notes)),
            detection={**metrics, "called_wrong": metrics.get("wrong")},
            unverified=unverified(data.train, state),
            per_class=class_records(data.train, state),
            label_accuracy=summaries.label_fields(metrics, corrected=bool(self.methods.correctors)),
            seconds=seconds,
            peak_memory=peak_memory(self.device),
            energy=self.energy.joules,
            warnings=self.console.warnings,
        )
        table = label_table(data.train.index, data.train.labels, state, data.task, data.train.truth)
        return Detection(metrics, seconds, tuple(notes), tuple(self.console.warnings), state, summary, table)


def _need_judges(methods: Methods) -> None:
    if not methods.judge_labels:
        trained = "".join(f"{method.key} only trains a part of the network; " for method in methods.correctors)
        raise UserError(f"detect: {trained}choose what judges the labels: --weighter NAME, --corrector NAME, or both")


def _untrained(methods: Methods) -> list[str]:
    """A line for every method that trains a part of the network, which a detection does not."""
    return [
        f"{method.key} trains a part of the network; here it judges without that part, since nothing is trained"
        for method in methods
        if isinstance(method, OnlinePart)
    ]


def _all_samples(settings: RunSettings) -> RunSettings:
    """The same settings, with nothing held out: every label is to be judged."""
    return settings.model_copy(update={"data": settings.data.model_copy(update={"val": 0.0})})


def _objects(kind: str, choice: Choice) -> tuple[Method[Any], ...]:
    """The methods of a socket that were given as such, under a key each; none where names were given."""
    given = (choice,) if isinstance(choice, Method) else choice
    if not isinstance(given, Sequence) or isinstance(given, str):
        return ()
    methods = tuple(one for one in given if isinstance(one, Method))
    if methods and len(methods) < len(given):
        raise UserError(f"{kind}: give names or methods, not both")
    for method in methods:
        if not isinstance(method, plans.BASES[kind]):
            raise UserError(f"{kind}: {type(method).__name__} is no {plans.BASES[kind].__name__}")
        if method.key == Method.key:
            method.key = plugin_key(kind, type(method).__name__.lower())
    return methods


def _with_objects(methods: Methods, made: Mapping[str, tuple[Any, ...]]) -> Methods:
    if len(made["prototypes"]) > 1:
        raise UserError("prototypes: takes one method")
    return Methods(
        side_info=made["side_info"] or methods.side_info,
        prototypes=made["prototypes"][0] if made["prototypes"] else methods.prototypes,
        weighters=made["weighter"] or methods.weighters,
        correctors=made["corrector"] or methods.correctors,
    )


def _raw(
    features: Any,
    labels: Any,
    logits: Any,
    clean_labels: Any,
    columns: Mapping[str, Any],
    classes: Sequence[str] | None,
    wnids: Sequence[str] | None,
    descriptions: Sequence[str] | None,
) -> RawData:
    """Arrays from Python as a source on disk would give them."""
    matrix = _matrix("features", features)
    given = {"label": labels, "truth": clean_labels, **columns}
    if unknown := sorted(set(given) - set(ROLES)):
        raise UserError(f"columns: {unknown[0]!r} is none of {', '.join(ROLES)}")
    arrays, count = _columns({role: values for role, values in given.items() if values is not None})
    scores = None if logits is None else _matrix("logits", logits)
    for name, values in {**arrays, "logits": scores}.items():
        if values is not None and len(values) != len(matrix):
            raise UserError(f"{name}: {len(values)} rows, but there are {len(matrix)} features")
    train = Raw("the features", np.arange(len(matrix)), arrays, features=matrix, logits=scores, num_classes=count)
    return RawData(
        "features",
        "features",
        train,
        classes=None if classes is None else tuple(classes),
        wnids=None if wnids is None else tuple(wnids),
        descriptions=None if descriptions is None else tuple(descriptions),
    )


def _matrix(name: str, values: Any) -> np.ndarray:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 2:
        raise UserError(f"{name}: must have two dimensions, samples and width (got {list(array.shape)})")
    if array.dtype not in (np.float16, np.float32):
        try:
            array = array.astype(np.float32)
        except (TypeError, ValueError):
            raise UserError(f"{name}: must be numbers (got {array.dtype})") from None
    return np.ascontiguousarray(array)


def _columns(given: Mapping[str, Any]) -> tuple[dict[str, pa.Array], int | None]:
    """Values from Python as columns; and the number of classes, where labels are a matrix with a column for each."""
    values = {role: v.detach().cpu().numpy() if isinstance(v, Tensor) else v for role, v in given.items()}
    matrices = {role: v for role, v in values.items() if isinstance(v, np.ndarray) and v.ndim == 2}
    columns, count = label_columns(matrices, {}, "the labels")
    return {role: columns.pop(role, None) or _column(role, v) for role, v in values.items()} | columns, count


def _column(role: str, values: Any) -> pa.Array:
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise UserError(f"{role}: {' '.join(str(error).split())}") from None
