"""A bank whose features lie in a half-precision file, as a run keeps one that is larger than memory."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from label_phase_cases.case import Synthetic, guess
from noisyrun.api import PAD, FeatureBank, Labels, Task
from noisyrun.bank.classifier import Said
from noisyrun.bank.stored import Facts, StoredBank
from noisyrun.bank.writers import Writer

#: Classes that the classifier names for each sample.
_TOP = 10


def disk_bank(rows: int, dim: int, classes: int, folder: Path, memory: int) -> FeatureBank:
    """A bank of `Synthetic` features, written block by block; its file is removed with it.

    Parameters
    ----------
    memory
        Bytes a label phase may take.
    """
    made, cpu = Synthetic(rows, dim, classes), torch.device("cpu")
    labels, centres = made.labels, made.centres
    writer = Writer(torch.arange(rows), dim, "disk", cpu, folder)
    said = Said.empty(rows, 1, min(_TOP, classes))

    def write(start: int, block: Tensor) -> None:
        writer.write(start, block)
        probs = guess(block, centres).softmax(1)
        best = probs.topk(min(_TOP, classes), dim=1)
        own = labels[start : start + len(block)].unsqueeze(1)
        said.write(start, Said(probs.gather(1, own), best.indices, best.values))

    try:
        made.fill(write)
        store = writer.finish()
    except BaseException:
        writer.abandon()
        raise
    nobody = torch.zeros(rows, dtype=torch.bool)
    facts = Facts(
        index=torch.arange(rows),
        labels=Labels.of(labels),
        said=said,
        verified=torch.full((rows,), -1, dtype=torch.int8),
        held=nobody,
        trusted=Labels.of(torch.full((rows,), PAD)),
        clean=nobody,
    )
    task = Task(tuple(map(str, range(classes))))
    return StoredBank(store, task, facts, cpu, memory=memory)
