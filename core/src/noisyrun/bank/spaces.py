"""The space that label phases see: raw, centred or whitened features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from noisyrun.bank.stores import Store
from noisyrun.engine.world import ALONE, World

#: Added to every variance before it is divided by, as a share of the mean variance: keeps directions that carry
#: next to nothing from being blown up to the size of those that tell classes apart.
WHITENING_EPS = 1e-3


@dataclass(frozen=True)
class Space:
    """An affine map of features.

    Attributes
    ----------
    mean
        float32 [D], taken off first.
    matrix
        float32 [D, D] that the rest is multiplied by; None: centred only.
    """

    mean: Tensor
    matrix: Tensor | None = None

    def __call__(self, features: Tensor) -> Tensor:
        """Features [R, D] in this space."""
        moved = features - self.mean
        return moved if self.matrix is None else moved @ self.matrix


def fit_space(
    name: Literal["raw", "centred", "whitened"],
    store: Store,
    device: torch.device,
    size: int = 16_384,
    world: World = ALONE,
) -> Space | None:
    """The space of a store's features, from blockwise sums in float64.

    Whitening is of the ZCA kind, (cov + ε·tr(cov)/D)^(−1/2): the rotation it adds over PCA whitening changes no
    distance and no cosine, and keeps the axes of the features.

    Parameters
    ----------
    size
        Rows read at a time.
    world
        The processes that share the sums; all hold the whole store.

    Returns
    -------
    Space or None
        None for raw.
    """
    if name == "raw":
        return None
    count, dim = store.shape
    total = torch.zeros(dim, dtype=torch.float64, device=device)
    for block in _pieces(store, device, size, world):
        total += block.double().sum(0)
    mean = world.total(total) / max(count, 1)
    if name == "centred":
        return Space(mean.float())
    scatter = torch.zeros(dim, dim, dtype=torch.float64, device=device)
    for block in _pieces(store, device, size, world):
        moved = block.double() - mean
        scatter += moved.T @ moved
    scatter = world.total(scatter)
    values, vectors = torch.linalg.eigh(scatter / max(count - 1, 1))
    values = values.clamp(min=0)
    scale = (values + WHITENING_EPS * values.mean().clamp(min=1e-30)).rsqrt()
    return Space(mean.float(), ((vectors * scale) @ vectors.T).float())


def _pieces(store: Store, device: torch.device, size: int, world: World) -> Iterator[Tensor]:
    share = world.share(store.shape[0])
    for start in range(share.start, share.stop, size):
        yield store.slice(start, min(start + size, share.stop), device)
