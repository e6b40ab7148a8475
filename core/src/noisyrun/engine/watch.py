"""Looks at losses without making every step wait for the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisyrun.api.errors import UserError
from noisyrun.data.loader import LoadedBatch
from noisyrun.engine.tables import LabelTables
from noisyrun.engine.world import ALONE, World

#: A step that never comes.
_NEVER = 2**62


@dataclass(frozen=True)
class _Seen:
    step: int
    rate: float
    loss: Tensor
    terms: Mapping[str, Tensor]
    positions: Tensor
    mask: Tensor


class LossWatch:
    """Sums up losses on the device, and reads them back once in `every` steps.

    Parameters
    ----------
    total
        Sum to go on from, of an epoch that was interrupted.
    world
        The processes that share the batches; the mean of their losses is that of a batch.

    Attributes
    ----------
    total
        float32 scalar on the device: sum of this process's losses since the epoch began.
    """

    def __init__(self, every: int, device: torch.device, total: float = 0.0, world: World = ALONE) -> None:
        self.every = every
        self.world = world
        self.total = torch.tensor(total, device=device)
        self._samples = torch.zeros((), dtype=torch.int64, device=device)
        self._seen: list[_Seen] = []

    def add(
        self, step: int, rate: float, loss: Tensor, terms: Mapping[str, Tensor], batch: LoadedBatch, tables: LabelTables
    ) -> None:
        """Note a step's loss; every few steps, check those since the last check."""
        loss = loss.detach()
        self.total += loss
        mask = batch.mask if batch.whole is None else batch.whole.mask
        self._seen.append(_Seen(step, rate, loss, terms, batch.positions, mask))
        if len(self._seen) >= self.every:
            self.check(tables)

    def check(self, tables: LabelTables) -> None:
        """Stop at the first loss that is not finite.

        Raises
        ------
        UserError
            Naming the step and the suspects: learning rate, terms of the loss, weights, samples.
        """
        seen, self._seen = self._seen, []
        if not seen:
            return
        self._samples += _count(seen)
        finite = torch.isfinite(torch.stack([one.loss for one in seen])).tolist()
        bad = None if all(finite) else seen[finite.index(False)]
        breaks = self.world.gather(torch.tensor([_NEVER if bad is None else bad.step]))
        if int(breaks.min()) == _NEVER:
            return
        if int(breaks.argmin()) != self.world.rank:
            self.world.wait()  # for the process that knows why, to say so and to end the run
        assert bad is not None
        raise UserError(_suspects(bad, tables))

    def mean(self) -> float:
        """`total`, as the mean over the processes; waits for the device."""
        return float(self.world.total(self.total)) / self.world.size

    @property
    def samples(self) -> int:
        """Samples seen, padding left out; waits for the device."""
        return int(self._samples + _count(self._seen)) if self._seen else int(self._samples)


def _count(seen: Sequence[_Seen]) -> Tensor:
    return torch.cat([one.mask for one in seen]).sum()


def _suspects(bad: _Seen, tables: LabelTables) -> str:
    broken = [name for name, term in bad.terms.items() if not bool(torch.isfinite(term.detach()))]
    weights = tables.weights
    spread = "1" if weights is None else f"{float(weights.min()):.3g} to {float(weights.max()):.3g}"
    index = tables.samples.index[bad.positions.cpu()].tolist()
    shown = ", ".join(str(i) for i in index[:8]) + (f" and {len(index) - 8} more" if len(index) > 8 else "")
    return (
        f"the loss is {float(bad.loss):g} at step {bad.step}: learning rate {bad.rate:.3g}, "
        f"terms that broke: {', '.join(broken) or 'none alone'}, weights {spread}, samples {shown}; "
        f"try a lower --train.optimizer.lr, or --train.optimizer.clip 1"
    )
