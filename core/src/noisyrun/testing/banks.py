"""A feature bank and a phase, from plain tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from noisyrun.api.labels import PAD, Labels
from noisyrun.api.ops import unit
from noisyrun.api.phase import Phase
from noisyrun.api.task import Task
from noisyrun.bank.classifier import say_all
from noisyrun.bank.spaces import fit_space
from noisyrun.bank.stored import Facts, StoredBank
from noisyrun.bank.stores import TensorStore


def make_bank(
    features: Tensor,
    labels: Labels | Tensor | Sequence[int],
    num_classes: int,
    *,
    logits: Tensor | None = None,
    verified: Tensor | Sequence[int] | None = None,
    held: Tensor | Sequence[bool] | None = None,
    trusted: Labels | Tensor | Sequence[int] | None = None,
    clean: Tensor | Sequence[bool] | None = None,
    source: Tensor | Sequence[int] | None = None,
    source_names: Sequence[str] = (),
    rank: Tensor | Sequence[int] | None = None,
    predictions: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    index: Tensor | None = None,
    classes: Sequence[str] | None = None,
    multi: bool = False,
    space: Literal["raw", "centred", "whitened"] = "raw",
    top: int = 10,
    memory: int = 1 << 30,
    device: torch.device | str = "cpu",
) -> StoredBank:
    """A feature bank in memory.

    Parameters
    ----------
    features
        Float [N, D].
    labels
        Observed labels: class indices [N], padded class indices [N, k], or `Labels`.
    logits
        The classifier's, [N, C]. By default ten times the cosine with the mean of each class.
    verified
        [N]: 1 observed label verified right, 0 wrong, −1 not verified; none by default.
    held
        bool [N]: verification labels of the held-out split; none by default.
    trusted
        Trusted labels, as `labels`; none by default.
    clean
        bool [N]; by default the samples that have a trusted label.
    source, source_names, rank
        Where each sample came from, and its rank in the search; unknown by default.
    predictions
        Classes [N, K] and probabilities [N, K] kept by earlier stages, by name.
    index
        int64 [N], stable index; 0 … N − 1 by default.
    classes
        Names; ``0``, ``1``, … by default.
    multi
        Whether the task is multi-label.
    space, top, memory
        As the settings of a run's bank.

    Examples
    --------
    >>> bank = make_bank(torch.eye(4), [0, 0, 1, 1], num_classes=2)
    >>> bank.of_class(1).tolist()
    [2, 3]
    """
    device = torch.device(device)
    n = len(features)
    given = _labels(labels)
    names = tuple(str(c) for c in range(num_classes)) if classes is None else tuple(classes)
    task = Task(names, "multi" if multi else "single", "binary-cross-entropy" if multi else "cross-entropy")
    known = Labels(torch.full((n, 1), PAD)) if trusted is None else _labels(trusted)
    said = say_all(_mean_logits(features, given, num_classes) if logits is None else logits, given, task, top)
    facts = Facts(
        index=torch.arange(n) if index is None else index,
        labels=given,
        said=said,
        verified=torch.full((n,), -1, dtype=torch.int8)
        if verified is None
        else torch.as_tensor(verified).to(torch.int8),
        held=torch.zeros(n, dtype=torch.bool) if held is None else torch.as_tensor(held).bool(),
        trusted=known,
        clean=(known.classes != PAD).any(1) if clean is None else torch.as_tensor(clean).bool(),
        source=None if source is None else torch.as_tensor(source).long(),
        source_names=tuple(source_names),
        rank=None if rank is None else torch.as_tensor(rank).long(),
        predictions={} if predictions is None else predictions,
    )
    store = TensorStore(features.to(device))
    return StoredBank(store, task, facts, device, space=fit_space(space, store, device), memory=memory)


def make_phase(
    seed: int = 0, method: str = "test.method", *, device: torch.device | str = "cpu", **fields: Any
) -> Phase:
    """A phase for one method; `fields` as in `Phase`.

    Examples
    --------
    >>> make_phase(seed=1, round=2).generator("draw").initial_seed() == make_phase(1).generator("draw").initial_seed()
    False
    """
    return Phase(seed=seed, method=method, device=torch.device(device), **fields)


def _labels(given: Labels | Tensor | Sequence[int]) -> Labels:
    if isinstance(given, Labels):
        return given
    classes = torch.as_tensor(given).long()
    return Labels(classes) if classes.dim() == 2 else Labels.of(classes)


def _mean_logits(features: Tensor, labels: Labels, num_classes: int) -> Tensor:
    rows, classes = labels.pairs()
    sums = torch.zeros(num_classes, features.shape[1])
    sums.index_add_(0, classes, unit(features.float().cpu())[rows])
    return 10 * unit(features.float().cpu()) @ unit(sums).T
