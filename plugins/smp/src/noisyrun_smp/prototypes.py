"""Prototypes of SMP: samples that are dense within their class and not too much alike.

Han, Luo, Wang: Deep Self-Learning From Noisy Labels, ICCV 2019, section 3.3. https://arxiv.org/abs/1908.02160
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from noisyrun.api import PAD, FeatureBank, Phase, PrototypeBuilder, Prototypes, SideInfo, UserError, ops
from noisyrun_smp import equations
from noisyrun_smp.config import SmpPrototypesConfig


@dataclass(frozen=True)
class _Chosen:
    """Vectors [q, D] float32, q ≤ p, and the rows int64 [q] they are (`PAD`: centroids, no samples)."""

    vectors: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)


class SmpPrototypes(PrototypeBuilder[SmpPrototypesConfig]):
    """Chooses up to p prototypes among m random samples of each class.

    With verification labels, prototypes are samples verified right, as long as there are any; samples verified wrong
    are never chosen, nor do they count in the density.
    """

    def build_class(self, c: int, bank: FeatureBank, rows: Tensor, side: SideInfo, phase: Phase) -> Prototypes:
        generator = phase.generator("class", c)
        # Densities tie often. Draws and ties go by stable index, whatever the order of the rows.
        rows = rows[bank.index[rows].argsort()]
        verified = bank.verified("train")[rows]
        right, unknown = rows[verified == 1], rows[verified == -1]
        chosen = self._choose(bank, right, self.config.p, generator, phase)
        if len(chosen) < self.config.p and len(unknown):
            more = self._choose(bank, unknown, self.config.p - len(chosen), generator, phase)
            chosen = _Chosen(torch.cat([chosen.vectors, more.vectors]), torch.cat([chosen.rows, more.rows]))
        return self._padded(chosen)

    def _choose(self, bank: FeatureBank, pool: Tensor, count: int, generator: torch.Generator, phase: Phase) -> _Chosen:
        """Up to `count` prototypes among the samples of a pool, rows int64 [n]."""
        rows = draw(pool, self.config.m, generator)
        features = bank.take(rows).features
        if len(rows) <= count:
            return _Chosen(features, rows.to(features.device))
        if self.config.selection == "k-means":
            found = ops.kmeans(features, count, generator, memory=phase.memory)
            kept = found.centroids[found.sizes > 0]
            return _Chosen(kept, torch.full((len(kept),), PAD, device=kept.device))
        self._check_memory(len(rows), phase)
        positions = self._select(features, count)
        return _Chosen(features[positions], rows.to(features.device)[positions])

    def _select(self, features: Tensor, count: int) -> Tensor:
        """Positions of the prototypes among features [m, D]."""
        # Densities count comparisons with one threshold, so that rounding decides ties: in double, every device and
        # every library give the same prototypes. Apple's GPUs have no double.
        exact = features if features.device.type == "mps" else features.double()
        config = self.config
        if config.selection == "density-peaks":
            return equations.density_peaks(exact, count, config.density_share)
        similarities = equations.similarity(exact)
        threshold = equations.similarity_threshold(similarities, config.density_share, config.density_side)
        rho = equations.density(similarities, threshold)
        densest = rho.argsort(descending=True, stable=True)
        if config.selection == "density":
            return densest[:count]
        densest = densest[: max(count, math.ceil((1 - config.density_floor) * len(rho)))]
        # η of the densest few settles it, as long as enough of them qualify.
        few = densest[: 8 * count]
        fit = few[equations.eta(similarities, rho, few) < config.eta][:count]
        if len(fit) == count:
            return fit
        eta = equations.eta(similarities, rho, densest)
        return densest[equations.select_prototypes(rho[densest], eta, count, config.eta)]

    def _check_memory(self, m: int, phase: Phase) -> None:
        """Refuse a matrix of similarities (and the temporary ones beside it) larger than the phase's memory."""
        bytes_each = 4 * 8
        if bytes_each * m * m > phase.memory:
            most = math.isqrt(phase.memory // bytes_each)
            raise UserError(
                f"--prototypes.m: {m} samples a class need {bytes_each * m * m / 1e9:.1f} GB for their similarities, "
                f"more than --bank.memory allows; set m to at most {most}"
            )

    def _padded(self, chosen: _Chosen) -> Prototypes:
        """The prototypes [1, p, D] of a class."""
        gap = self.config.p - len(chosen)
        vectors = torch.nn.functional.pad(chosen.vectors, (0, 0, 0, gap)).unsqueeze(0)
        rows = torch.nn.functional.pad(chosen.rows, (0, gap), value=PAD).unsqueeze(0)
        mask = torch.arange(rows.shape[1], device=rows.device).unsqueeze(0) < len(chosen)
        return Prototypes.of(vectors, mask, rows=rows)


def draw(rows: Tensor, m: int, generator: torch.Generator) -> Tensor:
    """m of the rows [n], drawn at random without replacement, ascending; all where there are no more.

    source: section 3.3, "we just randomly sample m images"
    """
    if len(rows) <= m:
        return rows
    return rows[torch.randperm(len(rows), generator=generator)[:m].sort().values]
