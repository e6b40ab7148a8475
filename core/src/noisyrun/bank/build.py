"""Making a feature bank: from a network, or from features made elsewhere."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from noisyrun.api.errors import UserError
from noisyrun.bank.classifier import Said, say, say_all
from noisyrun.bank.sizes import choose_residence, parse_memory
from noisyrun.bank.spaces import fit_space
from noisyrun.bank.stored import Facts, StoredBank
from noisyrun.bank.stores import Store, TensorStore
from noisyrun.bank.writers import Writer, check_finite
from noisyrun.config.settings import BankSettings
from noisyrun.data.samples import Samples

Predictions = Mapping[str, tuple[Tensor, Tensor]]

#: Features [B, D] → logits [B, C].
Head = Callable[[Tensor], Tensor]

#: Rows that features made elsewhere are read by.
_ROWS = 16_384


class Network(Protocol):
    """A network as the bank uses it."""

    def features(self, inputs: Tensor) -> Tensor:
        """Inputs [B, …] → features [B, D]."""

    def head(self, features: Tensor) -> Tensor:
        """Features [B, D] → logits [B, C]."""

    def modules(self) -> Iterator[nn.Module]:
        """All its parts, itself included."""


def build(
    samples: Samples,
    features: Tensor,
    logits: Tensor | Head,
    *,
    settings: BankSettings,
    device: torch.device,
    folder: Path | None = None,
    predictions: Predictions | None = None,
    keep: bool = False,
) -> StoredBank:
    """The bank of features made elsewhere.

    Parameters
    ----------
    samples
        N samples; their own `features` and `logits` are not looked at.
    features
        Float [N, D]. Already in memory, so they stay there, as they are, unless the settings say otherwise.
    logits
        Float [N, C]; or what gives them for a block of features, so that they are never formed whole. It is called
        when somebody first asks what the classifier says.
    device
        Where blocks arrive.
    folder
        Where a bank on disk goes; None: the system's folder for temporary files.
    predictions
        Classes [N, K] and probabilities [N, K] that earlier stages kept, by name.
    keep
        Leave the file of a bank on disk when the bank is closed.

    Raises
    ------
    UserError
        When sizes do not fit the samples, or a value is not finite.
    """
    _check_shapes(samples, features, logits)
    memory = parse_memory(settings.memory)
    size = features.numel() * 4
    wanted = settings.residence
    residence = choose_residence(wanted, size, device, memory)
    if residence == "memory" or (wanted == "auto" and residence == "disk"):
        store: Store = _checked(samples, features)
    else:
        with _writing(Writer(samples.index, features.shape[1], residence, device, folder, keep=keep)) as writer:
            for start in range(0, len(features), _ROWS):
                writer.write(start, features[start : start + _ROWS].float())
        store = writer.finish()
    said: Said | Callable[[], Said]
    if isinstance(logits, Tensor):
        said = say_all(logits, samples.labels, samples.task, settings.top)
    else:
        said = functools.partial(_said, logits, store, samples, settings.top, device)
    return _bank(samples, store, said, settings, device, memory, predictions)


def extract(
    network: Network,
    samples: Samples,
    *,
    settings: BankSettings,
    device: torch.device,
    folder: Path | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    resolution: int | None = None,
    batch_size: int = 512,
    predictions: Predictions | None = None,
    amp: torch.dtype | None = None,
    keep: bool = False,
    watch: Callable[[Iterable[Any]], Iterator[Any]] = iter,
) -> StoredBank:
    """The bank of a network's features, without augmentation; the network is left in the mode it was in.

    Parameters
    ----------
    network
        Gives features of inputs, and logits of features.
    mean, std
        What images are normalised by, one value a channel.
    resolution
        Side that images are brought to; None: their own.
    batch_size
        Samples that pass the network at a time.
    amp
        Dtype of autocast; None: full precision.
    watch
        Hands on the batches, and may raise between two of them.
    folder, predictions, keep
        As in `build`.
    """
    from noisyrun.data.loader import eval_batches

    memory = parse_memory(settings.memory)
    writer: Writer | None = None
    slots = samples.labels.classes.shape[1]
    said = Said.empty(len(samples), slots, min(settings.top, samples.task.num_classes))
    batches = eval_batches(samples, batch_size=batch_size, device=device, mean=mean, std=std, resolution=resolution)
    with _evaluating(network), torch.no_grad(), contextlib.ExitStack() as stack:
        for positions, inputs in watch(batches):
            with torch.autocast(device.type, dtype=amp, enabled=amp is not None):
                features = network.features(inputs)
                logits = network.head(features)
            if writer is None:
                dim = features.shape[1]
                residence = choose_residence(settings.residence, len(samples) * dim * 4, device, memory)
                writer = stack.enter_context(_writing(Writer(samples.index, dim, residence, device, folder, keep=keep)))
            rows = positions.cpu()
            start = int(rows[0])
            writer.write(start, features.float())
            said.write(start, say(logits, samples.labels.take(rows), samples.task, settings.top))
    if writer is None:
        raise UserError("feature bank: there are no training samples")
    return _bank(samples, writer.finish(), said, settings, device, memory, predictions)


def _said(logits: Head, store: Store, samples: Samples, top: int, device: torch.device) -> Said:
    said = Said.empty(len(samples), samples.labels.classes.shape[1], min(top, samples.task.num_classes))
    for start in range(0, len(samples), _ROWS):
        rows = torch.arange(start, min(start + _ROWS, len(samples)))
        with torch.no_grad():
            block = logits(store.read(rows, device))
        said.write(start, say(block, samples.labels.take(rows), samples.task, top))
    return said


def _bank(
    samples: Samples,
    store: Store,
    said: Said | Callable[[], Said],
    settings: BankSettings,
    device: torch.device,
    memory: int,
    predictions: Predictions | None,
) -> StoredBank:
    facts = Facts(
        index=samples.index,
        labels=samples.labels,
        said=said,
        verified=samples.verified,
        held=samples.verified_held,
        trusted=samples.trusted,
        clean=samples.clean,
        source=samples.source,
        source_names=samples.source_names,
        rank=samples.rank,
        predictions={} if predictions is None else predictions,
    )
    space = fit_space(settings.space, store, device)
    return StoredBank(store, samples.task, facts, device, space=space, memory=memory // 2)


def _check_shapes(samples: Samples, features: Tensor, logits: Tensor | Head) -> None:
    if features.dim() != 2:
        raise UserError(f"features: must have shape [samples, width] (got {list(features.shape)})")
    if len(features) != len(samples):
        raise UserError(f"features: {len(features)} rows, but there are {len(samples)} labels")
    if not isinstance(logits, Tensor):
        return
    want = (len(samples), samples.task.num_classes)
    if tuple(logits.shape) != want:
        raise UserError(f"logits: must have shape {list(want)}, samples and classes (got {list(logits.shape)})")
    if not bool(torch.isfinite(logits).all()):
        row = int((~torch.isfinite(logits)).any(1).nonzero()[0, 0])
        raise UserError(f"logits: sample {int(samples.index[row])} has a value that is not finite")


def _checked(samples: Samples, features: Tensor) -> TensorStore:
    for start in range(0, len(features), _ROWS):
        check_finite(samples.index, start, features[start : start + _ROWS])
    return TensorStore(features)


@contextlib.contextmanager
def _writing(writer: Writer) -> Iterator[Writer]:
    try:
        yield writer
    except BaseException:
        writer.abandon()
        raise


@contextlib.contextmanager
def _evaluating(network: Network) -> Iterator[None]:
    # Part by part: a frozen backbone may be in evaluation mode while the network as a whole trains.
    modes = [(module, module.training) for module in network.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
