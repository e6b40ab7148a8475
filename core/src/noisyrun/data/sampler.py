"""In which order the samples of an epoch come: a pure function of (seed, epoch, stable index)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisyrun.api import PAD, Batches, UserError
from noisyrun.data.hashing import below, key, order
from noisyrun.data.samples import Samples


@dataclass(frozen=True)
class EpochOrder:
    """The rows of an epoch, batch after batch; every batch but the last has `rows_per_batch` rows.

    Attributes
    ----------
    positions
        int64 [M]: position of each row's sample.
    mask
        bool [M] or None: False where a row is padding. None: no row is.
    bags
        int64 [M] or None: number of each row's bag within its batch.
    repeats
        int64 [M] or None: how often the epoch has drawn the sample before; None: never.
    """

    positions: Tensor
    mask: Tensor | None = None
    bags: Tensor | None = None
    repeats: Tensor | None = None


class Sampler:
    """Orders the samples of each epoch into batches.

    A batch never repeats a sample to fill up: the last one is short, bags are filled with masked rows, and a last
    batch of one sample gets a masked second row, since batch statistics of one sample do not exist.

    Several processes share each batch: its rows, or its bags, are dealt out in turn, so that every process has some of
    the clean and of the noisy ones, and masked rows make their numbers equal. The rows of the first process come first
    in the batch, then those of the second.

    Parameters
    ----------
    samples
        The split.
    batches
        How batches are drawn.
    batch_size
        Rows of a batch, at most: bags make it a multiple of their size.
    seed
        The run's.
    positions
        int64 [n]: samples to draw from; all by default.
    processes
        How many share each batch.

    Attributes
    ----------
    rows_per_batch, steps_per_epoch
        Rows of a full batch, of all processes; batches of an epoch.
    """

    def __init__(
        self,
        samples: Samples,
        batches: Batches,
        batch_size: int,
        seed: int,
        positions: Tensor | None = None,
        processes: int = 1,
    ) -> None:
        self.batches = batches
        self.processes = processes
        self.seed = seed
        self.index = samples.index
        chosen = torch.arange(len(samples)) if positions is None else positions.cpu()
        if not len(chosen):
            raise UserError("no samples to train on: the stage's choice of samples leaves none")
        self.rows_per_batch = batch_size
        if batches.kind == "bags":
            self._init_bags(samples, chosen, batch_size)
        elif batches.kind == "mix":
            self._init_mix(samples, chosen, batch_size)
        else:
            self.chosen = chosen
            self.steps_per_epoch = -(-len(chosen) // batch_size)
        #: Rows of a full batch before they are dealt out, without padding for that.
        self.dealt = self.rows_per_batch
        if processes > 1:
            together = batches.size if batches.kind == "bags" else 1
            self.rows_per_batch = self._deal(self.dealt // together)[0].numel() * together

    def epoch(self, epoch: int) -> EpochOrder:
        """The rows of one epoch."""
        drawn = self._drawn(epoch)
        return drawn if self.processes == 1 else self._dealt(drawn)

    def _drawn(self, epoch: int) -> EpochOrder:
        if self.batches.kind == "bags":
            return self._bags(epoch)
        if self.batches.kind == "mix":
            return self._mix(epoch)
        return _two_at_least(EpochOrder(self._shuffled(self.chosen, "order", epoch)), self.dealt)

    def _deal(self, count: int) -> tuple[Tensor, Tensor]:
        """Numbers [processes, n] of the rows (or bags) of a batch that each process gets, and which are no padding."""
        # As for a batch of one sample: no batch statistics of one row, unless it is always one.
        least = 2 if self.batches.kind != "bags" and self.dealt > self.processes else 1
        each = max(-(-count // self.processes), least)
        number = torch.arange(each) * self.processes + torch.arange(self.processes)[:, None]
        return number % count, number < count

    def _dealt(self, drawn: EpochOrder) -> EpochOrder:
        """The same batches, with the rows of each process together and as many in each."""
        together = self.batches.size if self.batches.kind == "bags" else 1
        full, rest = divmod(len(drawn.positions), self.dealt)
        rows, real, bags = [], [], []
        for start, batches, count in ((0, full, self.dealt), (full * self.dealt, 1, rest)):
            if not batches or not count:
                continue
            numbers, whether = (one.flatten() for one in self._deal(count // together))
            within = (numbers[:, None] * together + torch.arange(together)).flatten()
            rows.append((start + torch.arange(batches)[:, None] * count + within).flatten())
            real.append(whether.repeat_interleave(together).repeat(batches))
            bags.append(torch.arange(len(numbers)).repeat_interleave(together).repeat(batches))
        row, mask = torch.cat(rows), torch.cat(real)
        return EpochOrder(
            drawn.positions[row],
            mask if drawn.mask is None else mask & drawn.mask[row],
            None if drawn.bags is None else torch.cat(bags),
            None if drawn.repeats is None else drawn.repeats[row],
        )

    def _shuffled(self, positions: Tensor, *words: int | str) -> Tensor:
        return positions[order(key(*words, self.seed), self.index[positions])]

    def _init_bags(self, samples: Samples, chosen: Tensor, batch_size: int) -> None:
        size = self.batches.size
        self.rows_per_batch = max(1, batch_size // size) * size
        classes = samples.labels.classes[chosen]
        # A sample of several classes belongs to the bags of one of them, the same in every epoch.
        count = (classes != PAD).sum(1)
        pick = below(key("bag class", self.seed), samples.index[chosen], count.clamp(min=1))
        place = (classes != PAD).long().cumsum(1) - 1
        slot = ((place == pick[:, None]) & (classes != PAD)).long().argmax(1)
        of = classes.gather(1, slot[:, None])[:, 0]
        by_class = torch.argsort(of, stable=True)
        self.chosen = chosen[by_class]
        _, self.group, self.counts = of[by_class].unique_consecutive(return_inverse=True, return_counts=True)
        self.bags_of = -(-self.counts // size)
        self.steps_per_epoch = -(-int(self.bags_of.sum()) * size // self.rows_per_batch)

    def _bags(self, epoch: int) -> EpochOrder:
        """Samples of each class in drawn order, cut into bags; then the bags in drawn order."""
        size = self.batches.size
        drawn = order(key("order", epoch, self.seed), self.index[self.chosen])
        drawn = drawn[torch.argsort(self.group[drawn], stable=True)]
        rank = torch.arange(len(drawn)) - (self.counts.cumsum(0) - self.counts)[self.group]
        first_bag = self.bags_of.cumsum(0) - self.bags_of
        bag = first_bag[self.group] + rank // size
        total = int(self.bags_of.sum())
        mask = torch.zeros(total, size, dtype=torch.bool)
        mask[bag, rank % size] = True
        positions = torch.zeros(total, size, dtype=torch.int64)
        positions[bag, rank % size] = self.chosen[drawn]
        # Padding shows a sample of its own bag, so that every row is an image like the others.
        positions = torch.where(mask, positions, positions[:, :1])
        shuffled = order(key("bags", epoch, self.seed), torch.arange(total))
        number = torch.arange(total) % (self.dealt // size)
        return EpochOrder(positions[shuffled].reshape(-1), mask[shuffled].reshape(-1), number.repeat_interleave(size))

    def _init_mix(self, samples: Samples, chosen: Tensor, batch_size: int) -> None:
        clean, noisy = self.batches.clean, self.batches.noisy
        self.clean_rows = min(max(1, round(batch_size * clean / (clean + noisy))), batch_size - 1)
        if batch_size < 2:
            raise UserError(f"--batch-size {batch_size}: batches of {self.batches} need two samples or more")
        trusted = samples.clean[chosen]
        self.chosen, self.trusted = chosen[~trusted], chosen[trusted]
        if not len(self.trusted):
            raise UserError(f"batches of {self.batches} need a trusted clean subset: --clean 0.05, or a trusted column")
        if not len(self.chosen):
            raise UserError(f"batches of {self.batches} need samples outside the clean subset; there are none")
        self.steps_per_epoch = -(-len(self.chosen) // (batch_size - self.clean_rows))

    def _mix(self, epoch: int) -> EpochOrder:
        """Every noisy sample once; the clean ones in drawn order, over and over."""
        noisy = self._shuffled(self.chosen, "order", epoch)
        wanted = self.steps_per_epoch * self.clean_rows
        passes = -(-wanted // len(self.trusted))
        clean = torch.cat([self._shuffled(self.trusted, "clean", epoch, again) for again in range(passes)])[:wanted]
        repeats = torch.arange(wanted) // len(self.trusted)
        noisy_rows = self.dealt - self.clean_rows
        full = len(noisy) // noisy_rows

        def laid(of_clean: Tensor, of_noisy: Tensor) -> Tensor:
            """Clean rows before the noisy ones in every batch, the last of which may be short of noisy ones."""
            head, tail = of_clean[: full * self.clean_rows], of_clean[full * self.clean_rows :]
            whole = torch.cat(
                [head.view(full, self.clean_rows), of_noisy[: full * noisy_rows].view(full, noisy_rows)], 1
            )
            return torch.cat([whole.view(-1), tail, of_noisy[full * noisy_rows :]])

        return EpochOrder(laid(clean, noisy), repeats=laid(repeats, torch.zeros_like(noisy)))


def _two_at_least(rows: EpochOrder, batch_size: int) -> EpochOrder:
    """A masked second row for a last batch of one sample."""
    total = len(rows.positions)
    if batch_size < 2 or total % batch_size != 1:
        return rows
    mask = torch.ones(total + 1, dtype=torch.bool)
    mask[-1] = False
    return EpochOrder(torch.cat([rows.positions, rows.positions[:1]]), mask)
