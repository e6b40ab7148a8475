"""labels.parquet: what a run makes of the label of every training sample."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from noisyrun.api.labels import PAD, Labels
from noisyrun.api.task import Task
from noisyrun.engine.corrections import corrected_labels
from noisyrun.engine.label_state import LabelState
from noisyrun.files import atomic

#: Key of the schema's metadata under which class names stand, as a JSON list.
CLASSES = b"noisyrun.classes"


def label_table(index: Tensor, labels: Labels, state: LabelState, task: Task, truth: Labels | None = None) -> pa.Table:
    """The table of all training samples.

    Parameters
    ----------
    index
        int64 [N]: stable index of each sample.
    labels
        Observed labels.
    state
        What the last label phase decided.
    task
        Class names go into the metadata of the schema.
    truth
        Clean labels, where they are known.

    Returns
    -------
    pyarrow.Table
        ``index``; ``observed`` and ``corrected``, class indices (lists of them in multi-label data; null where a
        sample has none); ``weight`` of the observed label (multi-label: the mean over them); ``quality``, higher =
        likelier right; ``wrong``, the methods' own decision, null when none decides; ``truth`` where it is known.
    """
    multi = task.multi
    corrected = corrected_labels(labels, state.targets, multi)
    columns = {
        "index": pa.array(index.numpy()),
        "observed": _classes(labels, multi),
        "corrected": _classes(corrected, multi),
        "weight": pa.array(_mean_weight(state.weights, labels).numpy()),
        "quality": pa.array(state.score.numpy()),
        "wrong": pa.nulls(len(labels), pa.bool_()) if state.wrong is None else pa.array(state.wrong.numpy()),
    }
    if truth is not None:
        columns["truth"] = _classes(truth, multi)
    return pa.table(columns).replace_schema_metadata({CLASSES: json.dumps(list(task.classes))})


def write_labels(table: pa.Table, path: Path) -> None:
    """Write the table atomically."""
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def label_frame(table: pa.Table) -> pd.DataFrame:
    """The table as a data frame; class indices and `wrong` keep their type where some are missing."""
    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    whole = {field.name for field in table.schema if table.column(field.name).null_count == 0}
    frame = table.to_pandas(types_mapper=nullable.get)
    plain = {"index": "int64", "observed": "int64", "corrected": "int64", "truth": "int64", "wrong": "bool"}
    return frame.astype({name: kind for name, kind in plain.items() if name in whole and _scalar(table, name)})


def read_classes(path: Path) -> list[str]:
    """Class names of a labels.parquet."""
    metadata = pq.read_schema(path).metadata or {}
    return list(json.loads(metadata.get(CLASSES, b"[]")))


def _scalar(table: pa.Table, name: str) -> bool:
    return not pa.types.is_list(table.schema.field(name).type)


def _classes(labels: Labels, multi: bool) -> pa.Array:
    if multi:
        rows = [[c for c in row if c != PAD] for row in labels.classes.tolist()]
        return pa.array(rows, pa.list_(pa.int64()))
    values = labels.single.numpy()
    return pa.array(values, mask=values == PAD)


def _mean_weight(weights: Tensor, labels: Labels) -> Tensor:
    real = (labels.classes != PAD).float()
    mean = (weights * real).sum(1) / real.sum(1).clamp(min=1)
    return torch.where(real.any(1), mean, 1.0)
