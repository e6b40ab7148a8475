"""Columns of labels as `Labels`: what holds, what is known either way, what is said not to hold."""

from __future__ import annotations

import torch
from torch import Tensor

from noisyrun.api import PAD, UserError
from noisyrun.api.labels import Labels
from noisyrun.data.classes import Classes, encode
from noisyrun.data.hashing import key, order
from noisyrun.data.pairs import padded, restricted, with_known, within
from noisyrun.data.raw import ABSENT, KNOWN, Raw


def read_labels(raw: Raw, role: str, classes: Classes) -> Labels | None:
    """The labels of a role (``label``, ``truth`` or ``trusted``), with those pairs that are known.

    Of data that names neither known classes nor absent ones every pair is known.

    Returns
    -------
    Labels or None
        None without such a column.

    Raises
    ------
    UserError
        Naming the first row in which a class is said both to hold and not to.
    """
    holds = encode(raw, role, classes)
    absent = encode(raw, ABSENT[role], classes)
    known = encode(raw, KNOWN[role], classes)
    if holds is None:
        if absent is None:
            return None
        holds = torch.full((len(raw), 1), PAD)
    if absent is not None:
        _no_contradiction(raw, role, holds, absent, classes)
    return with_known(holds, known, absent)


def _no_contradiction(raw: Raw, role: str, holds: Tensor, absent: Tensor, classes: Classes) -> None:
    both = within(holds, absent)
    if bool(both.any()):
        row, slot = both.nonzero()[0].tolist()
        name = classes.names[int(holds[row, slot])]
        raise UserError(
            f"{raw.row(row)}: column {raw.names.get(role, role)!r} says that {name!r} holds, and "
            f"{raw.names.get(ABSENT[role], 'a negative label')!r} that it does not"
        )


def any_pair(labels: Labels, fully: Tensor | None = None) -> Tensor:
    """bool [N]: whether anything is said of a sample.

    Parameters
    ----------
    fully
        bool [N]: samples of which every pair is known where `labels` does not list the known ones.
    """
    if labels.known is None:
        return (labels.classes != PAD).any(1) if fully is None else fully
    return (labels.known != PAD).any(1)


def of_rows(labels: Labels, rows: Tensor) -> Labels:
    """The labels of some samples, bool [N]; of the others nothing is said."""
    known = None if labels.known is None else torch.where(rows[:, None], labels.known, PAD)
    return Labels(torch.where(rows[:, None], labels.classes, PAD), known)


def some_pairs(labels: Labels, rows: Tensor, share: float, num_classes: int, index: Tensor, stream: int) -> Labels:
    """Labels of some samples of which a share of the (sample, class) pairs is known, exactly so in each class.

    Parameters
    ----------
    labels
        Of N samples.
    rows
        bool [N]: those of which anything is known.
    share
        In (0, 1].
    index
        int64 [N]: stable index, which decides the draw.
    stream
        Key of the draw.
    """
    if share >= 1:
        return of_rows(labels, rows)
    among = rows.nonzero()[:, 0]
    drawn = [among[order(key(stream, c), index[among])[: round(share * len(among))]] for c in range(num_classes)]
    classes = torch.repeat_interleave(torch.arange(num_classes), torch.tensor([len(part) for part in drawn]))
    return restricted(of_rows(labels, rows), padded(torch.cat(drawn), classes, len(labels)))
