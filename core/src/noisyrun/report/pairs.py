"""labels.parquet of data with several labels a sample: one row a (sample, class) pair of which something is said."""

from __future__ import annotations

import pyarrow as pa
import torch
from torch import Tensor

from noisyrun.api.labels import PAD, Labels
from noisyrun.engine.corrections import HOLDS
from noisyrun.engine.label_state import LabelState


def pair_columns(
    index: Tensor, labels: Labels, state: LabelState, count: int, truth: Labels | None
) -> dict[str, pa.Array]:
    """Columns of the pairs that are observed, true, or said to hold by correction; in order of sample and class.

    Parameters
    ----------
    index
        int64 [N]: stable index of each sample.
    count
        Number of classes.
    truth
        Clean labels, where they are known.

    Returns
    -------
    dict
        ``index``, ``class``; ``observed``, whether the class was said to hold, null where nothing was said;
        ``corrected``, its value in [0, 1] after correction; ``weight``; ``quality`` of an observed label, higher =
        likelier right; ``wrong``, the methods' own decision that what was observed is wrong, null where none decides;
        ``truth``, null where it is not known.
    """
    targets, found = state.targets, _Pairs(count)
    seen = found.of(labels.classes, labels.classes != PAD)
    touched = (targets.alpha > 0).unsqueeze(1) & (targets.classes != PAD)
    made = found.of(targets.classes, touched)
    sets = [seen, found.of(targets.classes, touched & (targets.values >= HOLDS))]
    if truth is not None:
        sets.append(found.of(truth.classes, truth.classes != PAD))
    pairs = torch.cat(sets).unique()
    rows, classes = pairs // count, pairs % count
    observed = torch.isin(pairs, seen)
    corrected = observed.float()
    again = targets.alpha[rows] > 0
    corrected[again] = found.values(pairs, made, targets.values[touched], 0.0)[again]
    weight = found.values(pairs, made, state.target_weights[touched], 1.0)
    weight = found.values(pairs, seen, state.weights[labels.classes != PAD], weight)
    columns = {
        "index": pa.array(index[rows].numpy()),
        "class": pa.array(classes.numpy()),
        "observed": _said(observed, found.known(pairs, labels)),
        "corrected": pa.array(corrected.numpy()),
        "weight": pa.array(weight.numpy()),
        "quality": pa.nulls(len(pairs), pa.float32()),
        "wrong": pa.nulls(len(pairs), pa.bool_()),
    }
    if state.pair_score is not None:
        score = found.values(pairs, seen, state.pair_score[labels.classes != PAD], 1.0)
        columns["quality"] = _said(score, observed)
    if state.pair_wrong is not None:
        wrong = found.values(pairs, seen, state.pair_wrong[labels.classes != PAD].float(), 0.0) > 0
        columns["wrong"] = pa.array((wrong | (~observed & (corrected >= HOLDS))).numpy())
    if truth is not None:
        columns["truth"] = _said(torch.isin(pairs, sets[-1]), found.known(pairs, truth))
    return columns


class _Pairs:
    """(sample, class) pairs as single numbers, row · C + class, so that sets of them are sorted tensors."""

    def __init__(self, count: int) -> None:
        self.count = count

    def of(self, classes: Tensor, chosen: Tensor) -> Tensor:
        """int64 [L]: the chosen places of padded classes [N, k], in order of row and slot."""
        rows, slots = chosen.nonzero(as_tuple=True)
        return rows * self.count + classes[rows, slots]

    def values(self, pairs: Tensor, given: Tensor, values: Tensor, default: float | Tensor) -> Tensor:
        """float32 [P]: the value of each pair where it is among those given; else the default."""
        out = torch.as_tensor(default, dtype=torch.float32).expand(len(pairs)).clone()
        places = torch.searchsorted(pairs, given).clamp(max=max(len(pairs) - 1, 0))
        there = pairs[places] == given if len(pairs) else torch.zeros(len(given), dtype=torch.bool)
        out[places[there]] = values[there].float()
        return out

    def known(self, pairs: Tensor, labels: Labels) -> Tensor:
        """bool [P]: whether labels say anything of each pair."""
        if labels.known is None:
            return torch.ones(len(pairs), dtype=torch.bool)
        return torch.isin(pairs, self.of(labels.known, labels.known != PAD))


def _said(values: Tensor, known: Tensor) -> pa.Array:
    return pa.array(values.numpy(), mask=~known.numpy())
