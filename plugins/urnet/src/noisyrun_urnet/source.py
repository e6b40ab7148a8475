"""Trust in sources: of an unreliable one, only what its search ranked highest counts (table 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from noisyrun.api import (
    Block,
    FeatureBank,
    MethodError,
    Needs,
    Phase,
    Prototypes,
    SampleWeighter,
    SideInfo,
    State,
    UserError,
)
from noisyrun_urnet import equations
from noisyrun_urnet.by_index import ByIndex
from noisyrun_urnet.config import SourceTrustConfig


class SourceTrust(SampleWeighter[SourceTrustConfig]):
    """1 for a sample of a reliable source and for the top-ranked ones of an unreliable one, 0 for the rest.

    Multi-label: a sample counts when it is among the top-ranked of any of its classes. Samples without a rank come
    last.

    Source: section 5.2, table 1, "remove noise out of top 15".
    """

    def __init__(self, config: SourceTrustConfig) -> None:
        super().__init__(config)
        self.trusted: ByIndex | None = None

    @property
    def needs(self) -> Needs:
        return Needs(source=True, rank=True)

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        assert bank.source is not None  # `needs` says so
        assert bank.rank is not None
        rows, classes = bank.labels.pairs()
        last = torch.iinfo(torch.int64).max
        keys = torch.where(bank.rank < 0, last, bank.rank)[rows]
        trusted = torch.ones(len(bank))
        for number in self._unreliable(bank.source_names):
            of = (bank.source == number)[rows].nonzero()[:, 0]
            trusted[bank.source == number] = 0
            best = equations.top_of_group(classes[of], keys[of], self.config.top)
            trusted[rows[of[best]]] = 1
        self.trusted = ByIndex.of(bank, trusted)

    def _unreliable(self, names: tuple[str, ...]) -> list[int]:
        """Numbers of the unreliable sources.

        Raises
        ------
        UserError
            When the data has no such source.
        """
        missing = [name for name in self.config.unreliable if name not in names]
        if missing:
            raise UserError(
                f"--{self.key}.unreliable: the data has no source {missing[0]!r}; its sources are {', '.join(names)}"
            )
        return [names.index(name) for name in self.config.unreliable]

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Tensor:
        if self.trusted is None:
            raise MethodError(self.key, "must be fitted before it weighs")
        return self.trusted.take(block.index)

    def state_dict(self) -> State:
        return {} if self.trusted is None else self.trusted.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.trusted = ByIndex.restored(state)
