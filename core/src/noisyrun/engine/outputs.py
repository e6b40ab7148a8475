"""Room for what methods say of rows: filled block by block, and gathered once over all processes."""

from __future__ import annotations

import functools
from dataclasses import replace

import torch
from torch import Tensor

from noisyrun.api.labels import PAD, Targets, widen
from noisyrun.api.weighter import Judgement
from noisyrun.engine.world import World


class TargetRows:
    """Targets of this process's share of N rows, on the CPU, as wide as the widest block.

    What a block does not give (a confidence, what is known) none of them has.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.filled = 0
        self.room: Targets | None = None

    def add(self, part: Targets) -> None:
        """Put the next block's targets in their place."""
        start, stop = self.filled, self.filled + len(part)
        room = self.room = _room(self.n, part) if self.room is None else _wide_enough(self.room, part)
        room.classes[start:stop, : part.classes.shape[1]] = part.classes
        room.values[start:stop, : part.values.shape[1]] = part.values
        room.alpha[start:stop] = part.alpha
        if room.confidence is not None and part.confidence is not None:
            room.confidence[start:stop] = part.confidence
        if room.known is not None and part.known is not None:
            room.known[start:stop, : part.known.shape[1]] = part.known
        self.filled = stop

    def gathered(self, world: World) -> Targets | None:
        """The targets of all N rows, the same in all processes; None where no process has any row."""
        if world.size == 1:
            return self.room
        shape = (
            None
            if self.room is None
            else {name: part[:0] for name, part in vars(self.room).items() if part is not None}
        )
        shapes = [Targets(**one) for one in world.collect(shape) if one is not None]
        if not shapes:
            return None
        like = functools.reduce(_wide_enough, shapes)
        own = like if self.room is None else _wide_enough(self.room, like)
        return Targets(
            world.gather(own.classes),
            world.gather(own.values),
            world.gather(own.alpha),
            None if own.confidence is None else world.gather(own.confidence),
            None if own.known is None else world.gather(own.known),
        )


def _room(n: int, like: Targets) -> Targets:
    """Padding in the shape of a block's targets, for n rows."""
    return Targets(
        torch.full((n, like.classes.shape[1]), PAD),
        torch.zeros(n, like.classes.shape[1]),
        torch.zeros(n),
        None if like.confidence is None else torch.zeros(n),
        None if like.known is None else torch.full((n, like.known.shape[1]), PAD),
    )


def _wide_enough(room: Targets, part: Targets) -> Targets:
    """The same targets as wide as those of a block, and without what that does not give."""
    width = max(room.classes.shape[1], part.classes.shape[1])
    known = None
    if room.known is not None and part.known is not None:
        known = widen(room.known, max(room.known.shape[1], part.known.shape[1]), PAD)
    return replace(
        room,
        classes=widen(room.classes, width, PAD),
        values=widen(room.values, width, 0.0),
        confidence=None if part.confidence is None else room.confidence,
        known=known,
    )


class JudgementRows:
    """What a weighter makes of this process's share of pairs, on the CPU.

    A decision that a block does not give none of them has.
    """

    def __init__(self, n: int) -> None:
        self.filled = 0
        self.weights = torch.ones(n)
        self.score = torch.ones(n)
        self.wrong: Tensor | None = torch.zeros(n, dtype=torch.bool)

    def add(self, part: Judgement) -> None:
        """Put the next block's answers in their place."""
        start, stop = self.filled, self.filled + len(part.weights)
        self.weights[start:stop] = part.weights
        self.score[start:stop] = part.weights if part.score is None else part.score
        if part.wrong is None or self.wrong is None:
            self.wrong = None
        else:
            self.wrong[start:stop] = part.wrong
        self.filled = stop

    def gathered(self, world: World) -> Judgement:
        """What was made of all pairs, the same in all processes; no decision where there are no pairs."""
        told = int(world.total(torch.tensor(self.filled))) > 0 and not world.any(self.wrong is None)
        wrong = world.gather(self.wrong) if told and self.wrong is not None else None
        return Judgement(world.gather(self.weights), world.gather(self.score), wrong)
