"""What a run's labels.parquet says of each label, laid out beside the samples of an export."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from noisyrun.api.errors import UserError
from noisyrun.api.labels import PAD, Labels
from noisyrun.engine.corrections import HOLDS
from noisyrun.exports.options import Choice


@dataclass(frozen=True)
class Verdict:
    """Of n samples of training and noisy validation, in the order of their stable index.

    Attributes
    ----------
    classes
        int64 [n, k]: the labels to export, `PAD` beyond them.
    kept
        bool [n]: the samples to export.
    changed
        bool [n]: those whose exported label is not the observed one.
    columns
        What the run says, by name.
    several
        Whether samples have several labels.
    counts
        How many samples were judged and not; labels called wrong, corrected and left out.
    """

    classes: np.ndarray
    kept: np.ndarray
    changed: np.ndarray
    columns: dict[str, pa.Array]
    several: bool
    counts: dict[str, int]


def judged(
    table: pa.Table, index: np.ndarray, trained: np.ndarray, observed: Labels, several: bool, choice: Choice
) -> Verdict:
    """Lay out what a run says.

    Parameters
    ----------
    table
        The content of labels.parquet.
    index
        int64 [n], ascending.
    trained
        bool [n]: of training, and so judged.
    observed
        Of the n samples.

    Raises
    ------
    UserError
        When the table is of other samples or labels, or says nothing of what is asked for.
    """
    if choice.drop_wrong and table.column("wrong").null_count == len(table):
        raise UserError(
            "--drop wrong: no method of this run says which labels are wrong; --min-weight T goes by weight"
        )
    return (_pairs if several else _single)(table, index, trained, observed.classes.numpy(), choice)


def _single(table: pa.Table, index: np.ndarray, trained: np.ndarray, observed: np.ndarray, choice: Choice) -> Verdict:
    rows = np.flatnonzero(trained)
    if not np.array_equal(table.column("index").to_numpy(), index[rows]):
        raise UserError("export: labels.parquet is of other samples than the run's data")
    given = _filled(table, "observed", PAD)
    if not np.array_equal(given, observed[rows, 0]):
        raise UserError("export: labels.parquet holds other observed labels than the run's data")
    corrected = observed[:, 0].copy()
    corrected[rows] = _filled(table, "corrected", PAD)
    weight, quality = np.full(len(index), np.nan, np.float32), np.full(len(index), np.nan, np.float32)
    weight[rows], quality[rows] = _filled(table, "weight", np.nan), _filled(table, "quality", np.nan)
    wrong = np.full(len(index), -1, np.int8)
    wrong[rows] = _filled(table.set_column(0, "wrong_", table.column("wrong").cast(pa.int8())), "wrong_", -1)
    label = corrected if choice.labels == "corrected" else observed[:, 0]
    changed = label != observed[:, 0]
    none = label == PAD
    by_wrong = (wrong == 1) & ~changed & choice.drop_wrong
    light = weight < (choice.min_weight or 0.0)
    by_weight = light & ~changed & ~by_wrong & ~none
    unsaid = ~trained
    columns = {
        "corrected": pa.array(corrected, mask=unsaid | (corrected == PAD)),
        "weight": pa.array(weight, mask=np.isnan(weight)),
        "quality": pa.array(quality, mask=np.isnan(quality)),
        "wrong": pa.array(wrong == 1, mask=wrong < 0),
    }
    counts = {
        "judged": len(rows),
        "not_judged": int(unsaid.sum()),
        "called_wrong": int((wrong == 1).sum()),
        "corrected": int(changed.sum()),
        "dropped_wrong": int(by_wrong.sum()),
        "dropped_weight": int(by_weight.sum()),
    }
    return Verdict(label[:, None], ~(by_wrong | by_weight), changed, columns, False, counts)


def _pairs(table: pa.Table, index: np.ndarray, trained: np.ndarray, observed: np.ndarray, choice: Choice) -> Verdict:
    """Several labels a sample: one row of the table a (sample, class) pair. A pair that is dropped does not hold."""
    if choice.min_weight is not None:
        raise UserError("--min-weight: of several labels a sample a small weight says nothing about the others")
    ids, classes = table.column("index").to_numpy(), table.column("class").to_numpy()
    rows = np.searchsorted(index, ids)
    if len(ids) and ((rows >= len(index)) | (index[np.minimum(rows, len(index) - 1)] != ids)).any():
        raise UserError("export: labels.parquet is of other samples than the run's data")
    if (np.diff(ids) < 0).any():
        raise UserError("export: labels.parquet is not in the order of its samples")
    seen = _filled(table.set_column(0, "seen", table.column("observed").cast(pa.int8())), "seen", -1) == 1
    wrong = _filled(table.set_column(0, "wrong_", table.column("wrong").cast(pa.int8())), "wrong_", -1) == 1
    if not np.array_equal(_padded(rows[seen], classes[seen], len(index), trained), _sorted(observed, trained)):
        raise UserError("export: labels.parquet holds other observed labels than the run's data")
    holds = table.column("corrected").to_numpy() >= HOLDS
    said = holds if choice.labels == "corrected" else seen
    dropped = said & seen & wrong & choice.drop_wrong
    label = _padded(rows[said & ~dropped], classes[said & ~dropped], len(index), None)
    width = max(label.shape[1], observed.shape[1])
    label, before = _wide(label, width), _wide(_sorted(observed, None), width)
    label[~trained] = before[~trained]
    offsets = pa.array(np.searchsorted(rows, np.arange(len(index) + 1)).astype(np.int32))

    def lists(values: pa.Array) -> pa.Array:
        return pa.ListArray.from_arrays(offsets, values)

    corrected = _wide(_padded(rows[holds], classes[holds], len(index), None), width)
    held = corrected != PAD
    ends = np.concatenate([[0], held.sum(1).cumsum()]).astype(np.int32)
    columns = {
        "corrected": pa.ListArray.from_arrays(pa.array(ends), pa.array(corrected[held])),
        "judged": lists(pa.array(classes)),
        "weight": lists(_whole(table, "weight")),
        "quality": lists(_whole(table, "quality")),
        "wrong": lists(_whole(table, "wrong")),
    }
    counts = {
        "judged": int(trained.sum()),
        "not_judged": int((~trained).sum()),
        "called_wrong": int(wrong.sum()),
        "corrected": int((seen != said).sum()),
        "dropped_wrong": int(dropped.sum()),
        "dropped_weight": 0,
    }
    changed = (label != before).any(1)
    return Verdict(label, np.ones(len(index), bool), changed, columns, True, counts)


def _filled(table: pa.Table, name: str, missing: float) -> np.ndarray:
    return table.column(name).fill_null(missing).to_numpy()


def _whole(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _padded(rows: np.ndarray, classes: np.ndarray, n: int, only: np.ndarray | None) -> np.ndarray:
    """int64 [n, k]: classes of each row, ascending; of the rows `only`, where given."""
    counts = np.bincount(rows, minlength=n)
    out = np.full((n, max(1, int(counts.max(initial=0)))), PAD, np.int64)
    order = np.lexsort((classes, rows))
    slots = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    out[rows[order], slots] = classes[order]
    return out if only is None else _trimmed(out[only])


def _sorted(observed: np.ndarray, only: np.ndarray | None) -> np.ndarray:
    held, n = observed != PAD, len(observed)
    out = _padded(np.nonzero(held)[0], observed[held], n, None)
    return out if only is None else _trimmed(out[only])


def _trimmed(classes: np.ndarray) -> np.ndarray:
    return classes[:, : max(1, int((classes != PAD).sum(1).max(initial=0)))]


def _wide(classes: np.ndarray, width: int) -> np.ndarray:
    return np.pad(classes, ((0, 0), (0, width - classes.shape[1])), constant_values=PAD)
