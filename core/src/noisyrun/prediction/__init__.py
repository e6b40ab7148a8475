"""Predictions of a trained model on images, from Python and for ``noisyrun predict``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import torch
from torch import Tensor

from noisyrun.api.errors import UserError
from noisyrun.config.flags import Flag
from noisyrun.config.resolve import resolve
from noisyrun.config.settings import RunSettings
from noisyrun.engine.device import device_of
from noisyrun.exports.card import Card
from noisyrun.prediction.batches import Batch, batches
from noisyrun.prediction.classifiers import Classifier, open_classifier
from noisyrun.prediction.inputs import open_inputs
from noisyrun.prediction.outputs import Writer, schema, writer
from noisyrun.prediction.tally import Tally
from noisyrun.registry import Registry
from noisyrun.report.console import Console

if TYPE_CHECKING:
    import pandas as pd

    from noisyrun.exports.model import Model

__all__ = ["Predictions", "predict"]

#: Rows that are kept for the terminal where nothing is written.
SHOWN = 20


@dataclass(frozen=True)
class Predictions:
    """What a model says of images.

    Attributes
    ----------
    card
        What the model is.
    images, unreadable
        How many were predicted, and how many could not be read.
    measures
        How right they are, where folders or the data set name classes: ``accuracy`` and, for more than five classes,
        ``top5``; with several labels an image ``precision``, ``recall`` and ``f1`` over (image, class) pairs.
    counts
        Images by predicted class.
    confidence
        Mean probability of the predicted class, by class.
    judged, given
        Of how many images the class is given, and by what.
    named
        The first unreadable images, with the reason.
    slowest
        Seconds and name of the image that took longest to decode.
    seconds
        Wall seconds, without loading the model.
    out
        The file with a row an image, or None.
    """

    card: Card
    images: int
    unreadable: int
    measures: Mapping[str, float]
    counts: Mapping[str, int]
    confidence: Mapping[str, float]
    judged: int
    given: str
    named: tuple[tuple[str, str], ...]
    slowest: tuple[float, str]
    seconds: float
    out: Path | None
    notes: tuple[str, ...] = ()
    _table: pa.Table | None = field(default=None, repr=False)

    @property
    def frame(self) -> pd.DataFrame:
        """One row an image, in order: path, label, probability, labels, probabilities, given, error."""
        return self.table.to_pandas()

    @property
    def table(self) -> pa.Table:
        """The same as an Arrow table."""
        if self._table is None:
            raise UserError(f"the predictions are in {self.out}, and not in memory")
        return self._table


def predict(
    model: Model | Path | str,
    images: Sequence[Path | str] | Path | str,
    *,
    out: Path | str | None = None,
    top: int = 5,
    threshold: float = 0.5,
    batch_size: int = 128,
    device: str = "auto",
    amp: str | None = None,
    split: str | None = None,
    on_bad_image: Literal["row", "stop"] = "row",
    overwrite: bool = False,
    settings: Mapping[str, Any] | None = None,
    args: Sequence[Flag] = (),
    registry: Registry | None = None,
    console: Console | None = None,
) -> Predictions:
    """Predict the classes of images, each shown to the model as in the evaluation of its run.

    Parameters
    ----------
    model
        The folder of a finished run, a file that ``noisyrun export`` wrote (``.safetensors``, ``.onnx``), or a loaded
        model.
    images
        A folder, read at any depth; files; or one data set in any format that a run takes.
    out
        A file for a row an image (``.parquet``, ``.csv``, ``.jsonl``). Memory then does not grow with the images;
        without it, rows are kept and `Predictions.frame` has them.
    top
        How many of the likeliest classes a row names.
    threshold
        Several labels an image: the probability from which on a class is predicted.
    device, amp
        As ``--device`` and ``--train.amp`` of a run; the run's own precision by default.
    split
        ``train`` or ``test`` of a data set; its test set by default, where it brings one.
    on_bad_image
        ``row``: an image that cannot be read has a row that says why; ``stop``: it ends the prediction.
    overwrite
        Whether `out` may be there already.
    settings, args
        Settings of the data set, as of a run: ``{"data.format": "manifest"}``; the same as flags.

    Raises
    ------
    UserError
        In one line, when the model cannot be loaded, there is nothing to predict, or something does not fit.

    Examples
    --------
    >>> import noisyrun
    >>> found = noisyrun.predict("runs/NAME", "photos/")  # doctest: +SKIP
    >>> found.frame[["path", "label", "probability"]]  # doctest: +SKIP
    """
    console = console or Console(quiet=True)
    _check(top, threshold, batch_size, on_bad_image)
    out = None if out is None else Path(out)
    if out is not None and out.exists() and not overwrite:
        raise UserError(f"--out: {out} is there already; --overwrite replaces it")
    given = [images] if isinstance(images, str | Path) else list(images)
    classifier = open_classifier(model, device_of(device), amp, registry)
    card = classifier.card
    asked = [*(settings or {}), *(flag.name for flag in args if flag.name != "strict")]
    inputs = open_inputs([str(path) for path in given], card, _settings(settings, args, registry), split, asked)
    for note in inputs.notes:
        console.say(note)
    tally, kept, began = Tally(len(card.classes), card.multi), _Kept(), time.perf_counter()
    with nullcontext(kept) if out is None else writer(out, card, top) as rows:
        # The pool of threads reads ahead: what ends the prediction must end it, too.
        for batch in batches(console.progress(inputs.items, inputs.count, "predict"), card, batch_size):
            _add(batch, classifier, tally, rows, top, threshold, on_bad_image)
        if not tally.images + tally.unreadable:
            raise UserError(f"predict: {', '.join(map(str, given))} holds no image")
    table = pa.Table.from_batches(kept.batches, schema(card)) if out is None else None
    return _predictions(card, tally, inputs.given, time.perf_counter() - began, out, table, inputs.notes)


def _check(top: int, threshold: float, batch_size: int, on_bad_image: str) -> None:
    if top < 1:
        raise UserError(f"--top: must be at least 1 (got {top})")
    if batch_size < 1:
        raise UserError(f"--batch-size: must be at least 1 (got {batch_size})")
    if not 0 < threshold < 1:
        raise UserError(f"--threshold: must be between 0 and 1 (got {threshold:g})")
    if on_bad_image not in ("row", "stop"):
        raise UserError(f"--on-bad-image: must be row or stop (got {on_bad_image!r})")


def _settings(
    settings: Mapping[str, Any] | None, args: Sequence[Flag], registry: Registry | None
) -> Callable[[str], RunSettings]:
    """Settings of a run on a data set."""

    def of(path: str) -> RunSettings:
        values = {"tracking": "none", "dataset": path, **(settings or {})}
        return resolve(values, args=args, registry=registry).settings

    return of


def _add(
    batch: Batch, classifier: Classifier, tally: Tally, rows: Writer, top: int, threshold: float, on_bad: str
) -> None:
    """Predict a batch, count it, and write its rows."""
    errors = dict(batch.errors)
    probabilities = torch.empty(0, len(classifier.card.classes))
    good = list(batch.rows)
    if good:
        probabilities = classifier(batch.inputs)
        finite = probabilities.isfinite().all(1)
        for row, fine in zip(batch.rows, finite.tolist(), strict=True):
            if not fine:
                errors[row] = "the network gives no finite number for it"
        good = [row for row in batch.rows if row not in errors]
        probabilities = probabilities[finite]
    for row, reason in sorted(errors.items()):
        if on_bad == "stop":
            raise UserError(f"cannot read {batch.items[row].name}: {reason}; --on-bad-image row goes on without it")
        tally.failed(batch.items[row].name, reason)
    best = probabilities.sort(dim=1, descending=True, stable=True)
    found = probabilities >= threshold
    if not classifier.card.multi:
        found = torch.zeros_like(found).scatter_(1, best.indices[:, :1], True)
    tally.add(probabilities, found, best.indices[:, :5], [batch.items[row].given for row in good])
    tally.slowest = max(tally.slowest, *((s, item.name) for s, item in zip(batch.seconds, batch.items, strict=True)))
    most = int(found.sum(1).max()) if classifier.card.multi and len(found) else top
    rows.write(_rows(batch, good, errors, best.values[:, :most], best.indices[:, :most], classifier.card, threshold))


def _rows(
    batch: Batch,
    good: Sequence[int],
    errors: Mapping[int, str],
    values: Tensor,
    indices: Tensor,
    card: Card,
    threshold: float,
) -> pa.RecordBatch:
    """One row an item, in order.

    Parameters
    ----------
    values, indices
        Probabilities and classes [r, k] of the items that are predicted, likeliest first.
    """
    found: dict[int, tuple[list[str], list[float]]] = {}
    for row, chances, classes in zip(good, values.tolist(), indices.tolist(), strict=True):
        count = sum(chance >= threshold for chance in chances) if card.multi else len(chances)
        found[row] = ([card.classes[c] for c in classes[:count]], chances[:count])
    columns: dict[str, list[Any]] = {
        "path": [item.name.encode(errors="replace").decode() for item in batch.items],
        "labels": [found[row][0] if row in found else None for row in range(len(batch.items))],
        "probabilities": [found[row][1] if row in found else None for row in range(len(batch.items))],
        "given": [_names(item.given, card) for item in batch.items],
        "error": [errors.get(row) for row in range(len(batch.items))],
    }
    if not card.multi:
        columns["label"] = [None if labels is None else labels[0] for labels in columns["labels"]]
        columns["probability"] = [None if values is None else values[0] for values in columns["probabilities"]]
    made = schema(card)
    return pa.RecordBatch.from_arrays([pa.array(columns[one.name], one.type) for one in made], schema=made)


def _names(given: Any, card: Card) -> list[str] | None:
    return None if given is None else [card.classes[c] for c in sorted(given.holds)]


class _Kept:
    """Rows in memory."""

    def __init__(self) -> None:
        self.batches: list[pa.RecordBatch] = []

    def write(self, rows: pa.RecordBatch) -> None:
        self.batches.append(rows)


def _predictions(
    card: Card, tally: Tally, given: str, seconds: float, out: Path | None, table: pa.Table | None, notes: Any
) -> Predictions:
    counts = tally.counts.tolist()
    return Predictions(
        card=card,
        images=tally.images,
        unreadable=tally.unreadable,
        measures=tally.measures(),
        counts=dict(zip(card.classes, counts, strict=True)),
        confidence={
            name: total / count
            for name, total, count in zip(card.classes, tally.confidence.tolist(), counts, strict=True)
            if count
        },
        judged=tally.judged,
        given=given,
        named=tuple(tally.named),
        slowest=tally.slowest,
        seconds=seconds,
        out=out,
        notes=notes,
        _table=table,
    )
