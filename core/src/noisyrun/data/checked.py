"""Labels that were checked: verification labels and the trusted clean subset, as given, chosen or simulated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from noisyrun.api import PAD, UserError
from noisyrun.api.labels import Labels
from noisyrun.api.task import Task
from noisyrun.config.settings import RunSettings
from noisyrun.data.hashing import key
from noisyrun.data.label_sets import any_pair, some_pairs
from noisyrun.data.pairs import agreement
from noisyrun.data.raw import RawData
from noisyrun.data.samples import Samples
from noisyrun.data.subsets import among_top, chosen_classes, held_half, of_classes, parse_selection, select
from noisyrun.data.verdicts import is_file as is_verdicts
from noisyrun.data.verdicts import read_verdicts

#: What a flag simulates from clean labels, and the column that would give it.
_SIMULATED = {"--verify": ("verification labels", "verified"), "--clean": ("trusted labels", "trusted")}


def verify(samples: Samples, settings: RunSettings, raw: RawData) -> Samples:
    """Verification labels as given, read from a file of verdicts, or simulated; half of them held for thresholds."""
    verified = samples.verified
    if settings.verify is not None and is_verdicts(settings.verify):
        path, every = Path(settings.verify), torch.from_numpy(raw.train.index)
        verified = read_verdicts(path, "--verify", every, samples.index, samples.labels.classes, samples.task.classes)
    elif settings.verify is not None and _given(settings.verify, samples):
        drawn = _select("--verify", settings.verify, samples, samples.labels.classes, settings.seed, verified >= 0)
        verified = torch.where(drawn, verified, torch.tensor(-1, dtype=torch.int8))
    elif settings.verify is not None:
        judged, right = _judged(settings.verify, samples, raw)
        drawn = _select("--verify", settings.verify, samples, samples.labels.classes, settings.seed, judged)
        verified = torch.where(drawn, right.to(torch.int8), torch.tensor(-1, dtype=torch.int8))
    held = held_half(samples.labels.classes[:, 0], verified, samples.index, settings.seed)
    return replace(samples, verified=verified, verified_held=held)


def _given(asked: str, samples: Samples) -> bool:
    """Whether a selection is one of the verification labels that the data brings: where nothing can simulate others."""
    simulated = samples.truth is not None or parse_selection("--verify", asked).top is not None
    return bool((samples.verified >= 0).any()) and not simulated


def _judged(asked: str, samples: Samples, raw: RawData) -> tuple[Tensor, Tensor]:
    """bool [N] each: labels that can be judged, and whether they are right, by clean ones or a model's best classes."""
    top = parse_selection("--verify", asked).top
    if top is None:
        truth = _truth(samples, "--verify", raw)
        return _known(truth, samples.task), agreement(samples.labels, truth)[0]
    if samples.logits is None:
        raise UserError(f"--verify {asked}: {raw.name} holds no logits of a model to judge labels by (array `logits`)")
    right = among_top(samples.labels.classes, samples.logits, top)
    return torch.ones_like(right), right


def _select(flag: str, asked: str, samples: Samples, labels: Tensor, seed: int, among: Tensor | None = None) -> Tensor:
    """bool [N]: the samples that ``--verify`` or ``--clean`` draws, by labels int64 [N, k], among some, bool [N]."""
    wanted = parse_selection(flag, asked, samples.task.classes[0])
    chosen = of_classes(labels, chosen_classes(flag, wanted.classes, samples.text, seed))
    if among is not None:
        chosen &= among
    if not samples.task.multi:
        chosen &= labels[:, 0] != PAD  # what has no label has none that is right
    drawn = select(wanted, labels[:, 0], samples.index, key(flag.strip("-"), seed), chosen)
    if not bool(drawn.any()):
        raise UserError(f"{flag} {asked} of {int(chosen.sum())} samples is none: ask for a larger share")
    return drawn


def _known(truth: Labels, task: Task) -> Tensor:
    """bool [N]: samples of which a clean label is known; the others cannot be judged."""
    return any_pair(truth, torch.ones(len(truth), dtype=torch.bool) if task.multi else None)


def clean_subset(samples: Samples, settings: RunSettings, raw: RawData) -> Samples:
    """The trusted clean subset as given, or simulated from clean labels."""
    if settings.clean is None:
        if settings.data.clean_pairs < 1:
            raise UserError("--data.clean-pairs is a share of the pairs of the --clean subset: give --clean, too")
        return samples
    if parse_selection("--clean", settings.clean).top is not None:
        raise UserError(
            f"--clean {settings.clean}: a model's best classes verify labels, but none of them is the true one"
        )
    truth = _clean_labels(samples, raw)
    drawn = _select("--clean", settings.clean, samples, truth.classes, settings.seed, _known(truth, samples.task))
    share, count = settings.data.clean_pairs, samples.task.num_classes
    if share < 1 and not samples.task.multi:
        raise UserError("--data.clean-pairs is for data with several labels a sample, and this data has one")
    pairs = some_pairs(truth, drawn, share, count, samples.index, key("clean", "pairs", settings.seed))
    return replace(samples, trusted=pairs, clean=drawn & any_pair(pairs, fully=drawn))


def _clean_labels(samples: Samples, raw: RawData) -> Labels:
    """Clean labels, and those that can be trusted where no clean one is known."""
    if samples.truth is None and bool(any_pair(samples.trusted).any()):
        return samples.trusted
    truth = _truth(samples, "--clean", raw)
    if samples.task.multi:
        return truth
    return Labels(torch.where(truth.classes == PAD, samples.trusted.classes, truth.classes))


def _truth(samples: Samples, flag: str, raw: RawData) -> Labels:
    what, column = _SIMULATED[flag]
    if samples.truth is None:
        raise UserError(
            f"{flag}: {raw.name} has no clean labels to simulate {what} from; "
            f"name their column (--data.clean-label), or give the data a column {column!r}"
        )
    return samples.truth
