"""The methods of one run, by socket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from noisyrun.api.backbone import Backbone
from noisyrun.api.corrector import LabelCorrector
from noisyrun.api.method import Method
from noisyrun.api.online import OnlinePart
from noisyrun.api.prototypes import PrototypeBuilder
from noisyrun.api.side_info import SideInfoEncoder
from noisyrun.api.weighter import SampleWeighter


@dataclass(frozen=True)
class Methods:
    """What sits in each socket; `side_info`, `weighters` and `correctors` stack in order."""

    backbone: Backbone[Any] | None = None
    side_info: tuple[SideInfoEncoder[Any], ...] = ()
    prototypes: PrototypeBuilder[Any] | None = None
    weighters: tuple[SampleWeighter[Any], ...] = ()
    correctors: tuple[LabelCorrector[Any], ...] = ()

    def __iter__(self) -> Iterator[Method[Any]]:
        """All of them, in the order in which a label phase calls them."""
        if self.backbone is not None:
            yield self.backbone
        yield from self.side_info
        if self.prototypes is not None:
            yield self.prototypes
        yield from self.correctors
        yield from self.weighters

    @property
    def judge_labels(self) -> bool:
        """Whether there is anything for a label phase to do: not for what only trains a part of the network."""
        return bool(self.weighters) or self.correct_labels

    @property
    def correct_labels(self) -> bool:
        """Whether a corrector changes labels, and not only trains a part of the network."""
        return any(_corrects(corrector) for corrector in self.correctors)


def _corrects(corrector: LabelCorrector[Any]) -> bool:
    """False for an online part that leaves labels to the correctors before it."""
    kind = type(corrector)
    own = kind.correct is not LabelCorrector.correct or kind.fit is not LabelCorrector.fit
    return own or not isinstance(corrector, OnlinePart)
