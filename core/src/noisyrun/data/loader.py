"""Batches: augmented and shuffled for training, plain and in order for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisyrun.api import Batches, UserError
from noisyrun.config.settings import AugmentSettings
from noisyrun.data.augment import Augment, scaled
from noisyrun.data.images import LazyImages
from noisyrun.data.inputs import Inputs
from noisyrun.data.sampler import Sampler
from noisyrun.data.samples import Images, Samples
from noisyrun.data.unreadable import Unreadable

#: Rows whose draws are made at once: few calls for small images, little memory for 16 million samples.
_DRAWN = 1 << 14
#: Side below which images are digits and the like, which a mirror would turn into something else.
_SMALL = 16


@dataclass(frozen=True)
class Rows:
    """Which samples the rows of a batch show.

    Attributes
    ----------
    positions
        int64 [B]: position of each row's sample.
    mask
        bool [B]: False where a row is padding, or its image could not be decoded, and must count nowhere.
    bags
        int64 [B]: number of each row's bag, or None.
    """

    positions: Tensor
    mask: Tensor
    bags: Tensor | None = None

    def take(self, rows: slice) -> Rows:
        """Some of the rows."""
        return Rows(self.positions[rows], self.mask[rows], None if self.bags is None else self.bags[rows])


@dataclass(frozen=True, kw_only=True)
class LoadedBatch(Rows):
    """One training step's samples.

    Attributes
    ----------
    inputs
        float32 [B, channels, H, W], augmented and normalised; or features [B, D].
    whole
        The rows of all processes that share the batch, in the order of their ranks; None where one process has it all.
    """

    inputs: Tensor
    whole: Rows | None = None


class TrainLoader:
    """Training batches. Order and augmentation are pure functions of (seed, epoch, stable index).

    Neither the batch size nor the number of workers changes what a sample looks like in an epoch.

    Parameters
    ----------
    samples
        The split.
    batches, batch_size
        How batches are drawn.
    augment
        Augmentation; images below 16 pixels are not mirrored unless asked for.
    seed
        The run's.
    device
        Where batches arrive. Images held in memory are moved there for good where they fit.
    mean, std
        By channel, in [0, 1]; empty for none.
    positions
        int64 [n]: samples to draw from; all by default.
    resolution
        Shorter side in pixels; that of the data by default.
    workers
        Threads that decode images which are not held in memory, ahead of the loop; 0: the loop itself decodes. One a
        core, at most 16, by default.
    rank, processes
        Number of this process among those that share each batch, and how many they are.
    """

    def __init__(
        self,
        samples: Samples,
        *,
        batches: Batches,
        batch_size: int,
        augment: AugmentSettings,
        seed: int,
        device: torch.device | str,
        mean: Sequence[float],
        std: Sequence[float],
        positions: Tensor | None = None,
        resolution: int | None = None,
        workers: int | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.device = torch.device(device)
        self.rank, self.processes = rank, processes
        self.inputs = Inputs(samples, self.device, mean, std, augment.resize or resolution, workers)
        self.sampler = Sampler(samples, batches, batch_size, seed, positions, processes)
        self.index = samples.index
        self.augment = augmentation(samples, augment, seed, resolution)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self.sampler.steps_per_epoch

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[LoadedBatch]:
        """The batches of one epoch, from some step on: the same as those of an unbroken epoch."""
        size = self.sampler.rows_per_batch
        rows = self.sampler.epoch(epoch)
        stop = len(rows.positions)
        chunk = max(1, _DRAWN // size) * size
        # Unreadable images that all processes know of; one met in this epoch is masked by the process that meets it.
        known = torch.zeros(0) if self._bad is None else self._bad.known()
        pixels = self.inputs.stream(self._own(rows.positions[start_step * size :]), size // self.processes)
        for first in range(start_step * size, stop, chunk):
            last = min(first + chunk, stop)
            positions = rows.positions[first:last].to(self.device)
            mask = positions >= 0 if rows.mask is None else rows.mask[first:last].to(self.device)
            if len(known):
                mask = mask & ~torch.isin(self.index[rows.positions[first:last]], known).to(self.device)
            bags = None if rows.bags is None else rows.bags[first:last].to(self.device)
            shown = Rows(positions, mask, bags)
            draws = None
            if self.augment is not None:
                index = self.index[self._own(rows.positions[first:last])].to(self.device)
                repeats = None if rows.repeats is None else self._own(rows.repeats[first:last]).to(self.device)
                draws = self.augment.draw(epoch, index, repeats)
            for start in range(0, last - first, size):
                end = min(start + size, last - first)
                count, before = (end - start) // self.processes, start // self.processes
                inputs = next(pixels)
                if self.augment is not None and draws is not None:
                    inputs = self.augment(inputs, draws.rows(before, before + count))
                whole = shown.take(slice(start, end))
                own = whole.take(slice(self.rank * count, (self.rank + 1) * count))
                yield LoadedBatch(
                    positions=own.positions,
                    mask=self._readable(own.mask, rows.positions[first + start + self.rank * count :][:count]),
                    bags=own.bags,
                    inputs=self.inputs.normalised(inputs),
                    whole=None if self.processes == 1 else whole,
                )

    def _own(self, values: Tensor) -> Tensor:
        """This process's rows of successive batches, the last of which may be short."""
        if self.processes == 1:
            return values
        size = self.sampler.rows_per_batch
        full = len(values) // size * size
        rest = (len(values) - full) // self.processes
        of_full = values[:full].view(-1, self.processes, size // self.processes)[:, self.rank].flatten()
        return torch.cat([of_full, values[full + self.rank * rest : full + (self.rank + 1) * rest]])

    @property
    def _bad(self) -> Unreadable | None:
        return None if self.inputs.images is None else self.inputs.images.bad

    def _readable(self, mask: Tensor, positions: Tensor) -> Tensor:
        """The mask of a batch that has been decoded, without the rows whose image could not be."""
        lost = None if self._bad is None else self._bad.among(self.index[positions])
        return mask if lost is None else mask & ~lost.to(mask.device)


def augmentation(samples: Samples, settings: AugmentSettings, seed: int, resolution: int | None) -> Augment | None:
    """What is done to the training images of a split; None where nothing is."""
    if samples.images is None:
        return None
    own = min(samples.images.shape[1:])
    side = resolution or own
    made = Augment(settings, side, own >= _SMALL, seed, _slack(samples.images, settings.resize, side))
    return made if made.active else None


def _slack(images: Images, resize: int | None, side: int) -> tuple[int, int]:
    """Rows and columns that images brought to a shorter side of `resize` have beyond those of `side`."""
    if resize is None:
        return 0, 0
    if resize < side:
        raise UserError(f"--augment.resize: must be at least the side of the images that are trained on, {side}")
    if isinstance(images, LazyImages):  # decoded to squares of any side
        return resize - side, resize - side
    _, height, width = images.shape
    (tall, wide), (height, width) = scaled((height, width), resize), scaled((height, width), side)
    return tall - height, wide - width


def eval_batches(
    samples: Samples,
    *,
    batch_size: int,
    device: torch.device | str,
    mean: Sequence[float],
    std: Sequence[float],
    positions: Tensor | None = None,
    resolution: int | None = None,
    workers: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions int64 [B] and normalised inputs of all samples (or of some), in order, without augmentation.

    Parameters
    ----------
    samples, batch_size, device, mean, std, positions, resolution, workers
        As for `TrainLoader`.
    """
    inputs = Inputs(samples, torch.device(device), mean, std, resolution, workers)
    rows = torch.arange(len(samples)) if positions is None else positions.cpu()
    for part, batch in zip(rows.split(batch_size), inputs.stream(rows, batch_size)):
        yield part.to(device), inputs.normalised(batch)
