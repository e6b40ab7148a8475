"""What is known of each class: how well it is recognised, and what is wrong with its labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from noisyrun.api.labels import PAD, Labels
from noisyrun.data.samples import Samples
from noisyrun.engine.label_state import LabelState
from noisyrun.report import metrics


def class_records(
    train: Samples, state: LabelState, test: Samples | None = None, accuracy: Sequence[float | None] = ()
) -> list[dict[str, Any]]:
    """Fields of `noisyrun.report.summary.ClassPart`, class by class.

    Parameters
    ----------
    train, state
        The training samples, and what the last label phase decided about them.
    test
        The test set, where there is one.
    accuracy
        On the test set by class; empty where it was not measured.
    """
    task = train.task
    observed = train.labels.classes
    tested = None if test is None else _counts(test.labels, task.num_classes)
    columns = {
        "test": tested,
        "accuracy": list(accuracy) or None,
        "observed": _counts(train.labels, task.num_classes),
        "called_wrong": _shares(observed, _decided(train, state), observed != PAD, task.num_classes),
        "wrong": _shares(observed, *_truly_wrong(train), task.num_classes),
    }
    given = {name: values for name, values in columns.items() if values is not None}
    return [{"name": name, **{k: v[c] for k, v in given.items()}} for c, name in enumerate(task.classes)]


def _counts(labels: Labels, num_classes: int) -> list[int]:
    """How many labels name each class."""
    return torch.bincount(labels.classes[labels.classes != PAD], minlength=num_classes).tolist()


def _decided(train: Samples, state: LabelState) -> Tensor | None:
    """bool [N, k]: labels that were called wrong; None where no label by itself was judged."""
    if train.task.multi:
        return state.pair_wrong
    return None if state.wrong is None else state.wrong[:, None]


def _truly_wrong(train: Samples) -> tuple[Tensor | None, Tensor]:
    """bool [N, k] each: which labels are wrong, and of which that is known."""
    known = train.labels.classes != PAD
    if train.truth is None:
        return None, known
    if train.task.multi:
        return metrics.wrong_pairs(train.labels, train.truth)
    wrong, known = metrics.truly_wrong(train.labels, train.truth)
    return wrong[:, None], known[:, None]


def _shares(classes: Tensor, hits: Tensor | None, counted: Tensor, num_classes: int) -> list[float | None] | None:
    """By class, the share of its counted labels that are hits; None for a class without one."""
    if hits is None:
        return None
    total = torch.bincount(classes[counted], minlength=num_classes)
    found = torch.bincount(classes[counted & hits], minlength=num_classes)
    return [hit / count if count else None for hit, count in zip(found.tolist(), total.tolist(), strict=True)]
