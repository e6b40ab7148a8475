"""Label noise for data with several labels a sample: labels that go missing, and labels that were never there.

Pure functions of (labels, index, seed), as those for single labels: the same flips wherever and however often called.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from noisyrun.api import PAD, UserError
from noisyrun.api.labels import Labels
from noisyrun.data.hashing import key, order
from noisyrun.data.hints import did_you_mean
from noisyrun.data.pairs import padded
from noisyrun.data.tables import read_table


def flips(labels: Labels, off: Tensor, on: Tensor, index: Tensor, seed: int) -> Labels:
    """Switch labels of each class off and on.

    In each class c exactly round(off_c · n) of the n samples that have it lose it, and exactly round(on_c · m) of the
    m samples that are known not to have it get it. Pairs that are not known stay so.

    Parameters
    ----------
    labels
        Clean labels of N samples.
    off, on
        float [C]: rates in [0, 1], of the labels that hold and of those known not to hold.
    index
        int64 [N]: stable index, which decides the draws.

    Returns
    -------
    Labels
        With the same known pairs.
    """
    rows, classes = labels.pairs()
    have = _by_class(rows, classes, len(off))
    may = None if labels.known is None else _by_class(*Labels(labels.known).pairs(), len(off))
    kept_rows, kept_classes = [], []
    for c in range(len(off)):
        holds = have[c]
        lost = order(key("noise", "off", seed, c), index[holds])[: round(float(off[c]) * len(holds))]
        stays = torch.ones(len(holds), dtype=torch.bool)
        stays[lost] = False
        kept = [holds[stays]]
        if float(on[c]) > 0:
            lacks = torch.zeros(len(labels), dtype=torch.bool) if may is not None else torch.ones(len(labels)).bool()
            if may is not None:
                lacks[may[c]] = True
            lacks[holds] = False
            absent = lacks.nonzero()[:, 0]
            got = order(key("noise", "on", seed, c), index[absent])[: round(float(on[c]) * len(absent))]
            kept.append(absent[got])
        kept_rows += kept
        kept_classes += [torch.full((len(part),), c) for part in kept]
    return Labels(padded(torch.cat(kept_rows), torch.cat(kept_classes), len(labels)), labels.known)


def _by_class(rows: Tensor, classes: Tensor, count: int) -> Sequence[Tensor]:
    """Rows of each class, ascending."""
    places = torch.argsort(classes, stable=True)
    return rows[places].split(torch.bincount(classes, minlength=count).tolist())


def read_rates(path: Path, flag: str, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Rates by class from a table with columns class, off and on; classes that it leaves out stay clean.

    Returns
    -------
    off, on
        float64 [C] each.

    Raises
    ------
    UserError
        Naming the row that is wrong.
    """
    table = read_table(path, flag)
    if not {"class", "off", "on"} <= table.keys():
        raise UserError(
            f"{flag}: for flips {path} must have columns 'class', 'off' and 'on' (it has {', '.join(table)})"
        )
    rates = torch.zeros(2, len(names), dtype=torch.float64)
    for number, (name, *cells) in enumerate(zip(table["class"], table["off"], table["on"]), 1):
        if name not in names:
            raise UserError(
                f"{flag}: row {number} of {path} names {name!r}, which is no class{did_you_mean(name, names)}"
            )
        for kind, (column, cell) in enumerate(zip(("off", "on"), cells)):
            rates[kind, names.index(name)] = _rate(cell, f"{flag}: row {number} of {path}, column {column!r}")
    return rates[0], rates[1]


def _rate(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UserError(f"{where}: a rate must be in [0, 1] (got {cell!r})")
    return value


def shares(before: Labels, after: Labels, num_classes: int) -> tuple[float, float]:
    """Share of the labels that were switched off, and of the known absent ones that were switched on."""
    had = int((before.classes != PAD).sum())
    known = len(before) * num_classes if before.known is None else int((before.known != PAD).sum())
    both = _common(before.classes, after.classes)
    got = int((after.classes != PAD).sum()) - both
    return (had - both) / max(had, 1), got / max(known - had, 1)


def _common(a: Tensor, b: Tensor) -> int:
    return sum(int(((a == b[:, slot : slot + 1]) & (a != PAD)).sum()) for slot in range(b.shape[1]))
