"""labels.parquet: what a run makes of the label of every training sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from noisyrun.api.labels import PAD, Labels
from noisyrun.api.task import Task
from noisyrun.engine.corrections import corrected_labels
from noisyrun.engine.label_state import LabelState
from noisyrun.files import atomic
from noisyrun.report.pairs import pair_columns

if TYPE_CHECKING:
    import pandas as pd

#: Key of the schema's metadata under which class names stand, as a JSON list.
CLASSES = b"noisyrun.classes"


def label_table(index: Tensor, labels: Labels, state: LabelState, task: Task, truth: Labels | None = None) -> pa.Table:
    """The table of all training samples; of their (sample, class) pairs, where they have several labels.

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
        One label a sample: ``index``; ``observed`` and ``corrected``, class indices (null where a sample has none);
        ``weight`` of the observed label; ``quality``, higher = likelier right; ``wrong``, the methods' own decision,
        null when none decides; ``truth`` where it is known. Several: as `pair_columns`.
    """
    if task.multi:
        columns = pair_columns(index, labels, state, task.num_classes, truth)
    else:
        columns = _columns(index, labels, state, truth)
    return pa.table(columns).replace_schema_metadata({CLASSES: json.dumps(list(task.classes))})


def _columns(index: Tensor, labels: Labels, state: LabelState, truth: Labels | None) -> dict[str, pa.Array]:
    columns = {
        "index": pa.array(index.numpy()),
        "observed": _classes(labels),
        "corrected": _classes(corrected_labels(labels, state.targets)),
        "weight": pa.array(torch.where(labels.single == PAD, 1.0, state.weights[:, 0]).numpy()),
        "quality": pa.array(state.score.numpy()),
        "wrong": pa.nulls(len(labels), pa.bool_()) if state.wrong is None else pa.array(state.wrong.numpy()),
    }
    return columns if truth is None else {**columns, "truth": _classes(truth)}


def write_labels(table: pa.Table, path: Path) -> None:
    """Write the table atomically."""
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def label_frame(table: pa.Table) -> pd.DataFrame:
    """The table as a data frame; class indices and `wrong` keep their type where some are missing."""
    import pandas as pd

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame = table.to_pandas(types_mapper=nullable.get)
    plain = {pa.int64(): "int64", pa.bool_(): "bool"}
    whole = [field for field in table.schema if table.column(field.name).null_count == 0 and field.type in plain]
    return frame.astype({field.name: plain[field.type] for field in whole})


def read_classes(path: Path) -> list[str]:
    """Class names of a labels.parquet."""
    metadata = pq.read_schema(path).metadata or {}
    return list(json.loads(metadata.get(CLASSES, b"[]")))


def _classes(labels: Labels) -> pa.Array:
    values = labels.single.numpy()
    return pa.array(values, mask=values == PAD)


def read_labels_table(path: Path, classes: tuple[str, ...]) -> pa.Table:
    """The labels.parquet of a run, held against the classes of its data.

    Raises
    ------
    UserError
        When it is missing, or of other classes.
    """
    from noisyrun.api.errors import UserError

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    if read_classes(path) != list(classes):
        raise UserError(f"{path}: is of other classes than the data")
    return table
