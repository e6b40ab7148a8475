"""Making a feature bank: from a network, or from features made elsewhere."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from noisyrun.api.errors import UserError
from noisyrun.bank.classifier import Said, say
from noisyrun.bank.sizes import budget, choose_residence
from noisyrun.bank.spaces import fit_space
from noisyrun.bank.stored import Facts, StoredBank
from noisyrun.bank.stores import Store, TensorStore
from noisyrun.bank.writers import Writer, check_finite
from noisyrun.config.settings import BankSettings
from noisyrun.data.label_sets import of_rows
from noisyrun.data.samples import Samples
from noisyrun.engine.world import ALONE, World

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
    world: World = ALONE,
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
        when somebody first asks what the classifier says; with several processes, at once.
    device
        Where blocks arrive.
    folder
        Where a bank on disk goes; None: the system's folder for temporary files.
    predictions
        Classes [N, K] and probabilities [N, K] that earlier stages kept, by name.
    keep
        Leave the file of a bank on disk when the bank is closed.
    world
        The processes that each want the bank, and each have all the features: they share what is to be computed.

    Raises
    ------
    UserError
        When sizes do not fit the samples, or a value is not finite.
    """
    _check_shapes(samples, features, logits)
    memory = budget(settings.memory, world)
    size = features.numel() * 4
    wanted = settings.residence
    residence = choose_residence(wanted, size, device, memory, world)
    if residence == "memory" or (wanted == "auto" and residence == "disk"):
        store: Store = _checked(samples, features)
    else:
        made = Writer(samples.index, features.shape[1], residence, device, folder, keep=keep, world=world)
        with _writing(made) as writer:
            for start in range(0, len(features), _ROWS):
                writer.write(start, features[start : start + _ROWS].float())
        store = writer.finish()
    if isinstance(logits, Tensor):
        given = logits
        ask = functools.partial(_said, lambda start, stop: given[start:stop], samples, settings.top, world)
    else:
        head = logits
        ask = functools.partial(
            _said, lambda start, stop: head(store.slice(start, stop, device)), samples, settings.top, world
        )
    # Several processes are all asked at once: whoever asked first would else wait for those who have no reason to ask.
    said = ask() if isinstance(logits, Tensor) or world.size > 1 else ask
    return _bank(samples, store, said, settings, device, memory, predictions, world)


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
    world: World = ALONE,
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
    world
        The processes that share the work: each passes a part of the samples through the network, and all get the bank.
    """
    from noisyrun.data.loader import eval_batches

    memory = budget(settings.memory, world)
    writer: Writer | None = None
    slots = samples.labels.classes.shape[1]
    said = Said.empty(len(samples), slots, min(settings.top, samples.task.num_classes))

    def own() -> Iterator[tuple[int, tuple[Tensor, ...]]]:
        rows = world.share(len(samples))
        batches = eval_batches(
            samples,
            batch_size=batch_size,
            device=device,
            mean=mean,
            std=std,
            positions=torch.arange(rows.start, rows.stop),
            resolution=resolution,
        )
        for positions, inputs in watch(batches):
            with torch.autocast(device.type, dtype=amp, enabled=amp is not None):
                features = network.features(inputs)
                logits = network.head(features)
            positions = positions.cpu()
            block = say(logits, samples.labels.take(positions), samples.task, settings.top)
            yield int(positions[0]), (features.float(), block.label_probs, block.top_classes, block.top_probs)

    with evaluating(network), torch.no_grad(), contextlib.ExitStack() as stack:
        for start, (features, *block) in world.in_step(own()):
            if writer is None:
                dim = features.shape[1]
                residence = choose_residence(settings.residence, len(samples) * dim * 4, device, memory, world)
                made = Writer(samples.index, dim, residence, device, folder, keep=keep, world=world)
                writer = stack.enter_context(_writing(made))
            writer.write(start, features)
            said.write(start, Said(*block))
    if writer is None:
        raise UserError("feature bank: there are no training samples")
    return _bank(samples, writer.finish(), said, settings, device, memory, predictions, world)


def _said(logits: Callable[[int, int], Tensor], samples: Samples, top: int, world: World) -> Said:
    """What the classifier says of all samples, from the logits [R, C] that it gives of neighbouring rows."""
    own, slots = world.share(len(samples)), samples.labels.classes.shape[1]
    said = Said.empty(len(own), slots, min(top, samples.task.num_classes))
    for start in range(own.start, own.stop, _ROWS):
        stop = min(start + _ROWS, own.stop)
        with torch.no_grad():
            block = logits(start, stop)
        labels = samples.labels.take(torch.arange(start, stop))
        said.write(start - own.start, say(block, labels, samples.task, top))
    return Said(*(world.gather(part) for part in (said.label_probs, said.top_classes, said.top_probs)))


def _bank(
    samples: Samples,
    store: Store,
    said: Said | Callable[[], Said],
    settings: BankSettings,
    device: torch.device,
    memory: int,
    predictions: Predictions | None,
    world: World,
) -> StoredBank:
    samples = _readable(samples, world)
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
    space = fit_space(settings.space, store, device, world=world)
    return StoredBank(store, samples.task, facts, device, space=space, memory=memory // 2)


def _readable(samples: Samples, world: World) -> Samples:
    """The samples, with nothing said of those whose image could not be decoded: a blank one is of no class."""
    bad = None if samples.images is None else samples.images.bad
    if bad is None:
        return samples
    bad.share(world.collect)
    lost = bad.among(samples.index)
    if lost is None:
        return samples
    return replace(
        samples,
        labels=of_rows(samples.labels, ~lost),
        trusted=of_rows(samples.trusted, ~lost),
        clean=samples.clean & ~lost,
        verified=samples.verified.masked_fill(lost, -1),
        verified_held=samples.verified_held & ~lost,
    )


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
def evaluating(network: Network) -> Iterator[None]:
    """All parts of a network in evaluation mode, and afterwards each in the mode it was in."""
    # Part by part: a frozen backbone may be in evaluation mode while the network as a whole trains.
    modes = [(module, module.training) for module in network.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
