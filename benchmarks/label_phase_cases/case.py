"""A label phase to be measured, and the bank it works on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from speed.machine import Machine, Pass
from torch import Tensor

from noisyrun.api import FeatureBank, Phase, Prototypes, SideInfo
from noisyrun.bank.stores import TensorStore
from noisyrun.testing import make_bank, make_phase

NO_SIDE = SideInfo()


@dataclass(frozen=True)
class Case:
    """A piece of work on one bank.

    Attributes
    ----------
    work
        Does it once.
    reads
        Bytes it must read, and write where that is as much.
    single, double
        Floating-point operations of matrix products it cannot do without, float32 and float64.
    passes
        Tells, once the work was done, the passes over points that must follow one another.
    naive
        The formula in NumPy float64, given the features in float64.
    agrees
        Raises an AssertionError where the results of `work` and `naive` differ.
    """

    work: Callable[[], Any]
    reads: float
    single: float = 0.0
    double: float = 0.0
    passes: Callable[[], Sequence[Pass]] = lambda: ()
    naive: Callable[[Any], Any] | None = None
    agrees: Callable[[Any, Any], None] = lambda ours, theirs: None

    def floor(self, machine: Machine) -> float:
        """Seconds that the machine needs at best, after the work was done once."""
        return machine.floor(self.reads, self.single, self.double, self.passes())


class _Logits:
    """Logits that are made block by block: [N, C] is never held, by the bank's maker either."""

    def __init__(self, features: Tensor, centres: Tensor) -> None:
        self.features = features
        self.centres = centres

    def __getitem__(self, rows: slice) -> Tensor:
        return guess(self.features[rows], self.centres)


def guess(features: Tensor, centres: Tensor) -> Tensor:
    """Logits [R, C] of a classifier that is no oracle, and cheap to ask: it sees 64 of the features."""
    some = min(64, features.shape[1])
    return features[:, :some] @ centres[:, :some].T * (8 / some)


@dataclass(frozen=True)
class Synthetic:
    """Rectified Gaussian classes, a share of whose labels is drawn anew; made block by block, the same every time.

    Attributes
    ----------
    labels
        int64 [N].
    centres
        float32 [C, D].
    """

    rows: int
    dim: int
    classes: int
    noise: float = 0.4

    @property
    def labels(self) -> Tensor:
        return self._drawn()[1]

    @property
    def centres(self) -> Tensor:
        return self._drawn()[2]

    def _drawn(self) -> tuple[Tensor, Tensor, Tensor, torch.Generator]:
        draw = torch.Generator().manual_seed(0)
        truth = torch.randint(self.classes, (self.rows,), generator=draw)
        wrong = torch.rand(self.rows, generator=draw) < self.noise
        labels = torch.where(wrong, torch.randint(self.classes, (self.rows,), generator=draw), truth)
        return truth, labels, torch.randn(self.classes, self.dim, generator=draw), draw

    def fill(self, write: Callable[[int, Tensor], object]) -> None:
        """Hand over the features, float32 [r, D] from some row on, block after block."""
        truth, _, centres, draw = self._drawn()
        for start in range(0, self.rows, 8192):
            which = truth[start : start + 8192]
            write(start, (centres[which] + 2 * torch.randn(len(which), self.dim, generator=draw)).relu_())


def synthetic_bank(rows: int, dim: int, classes: int, device: torch.device | str = "cpu") -> FeatureBank:
    """A bank of `Synthetic` features in memory, or on a GPU."""
    made = Synthetic(rows, dim, classes)
    features = torch.empty(rows, dim)

    def write(start: int, block: Tensor) -> None:
        features[start : start + len(block)] = block

    made.fill(write)
    logits: Any = _Logits(features, made.centres)
    return make_bank(features, made.labels, classes, logits=logits, device=device)


def phase(bank: FeatureBank, method: str) -> Phase:
    """A phase of one method, where the bank's blocks arrive and with as much memory."""
    return make_phase(0, method, device=bank.device, memory=getattr(bank, "memory", 1 << 30))


def size_of(bank: FeatureBank) -> float:
    """Bytes of the features as they are kept: half precision on disk."""
    store = getattr(bank, "store", None)
    width = store.features.element_size() if isinstance(store, TensorStore) else 2
    return float(width * len(bank) * bank.dim)


def relation(classes: int) -> Any:
    """A class relation as side information gives it: 1 on the diagonal, less elsewhere."""
    other = np.random.default_rng(0).uniform(0.05, 0.3, (classes, classes))
    return np.where(np.eye(classes, dtype=bool), 1.0, (other + other.T) / 2)


def by_row(count: int, parts: Iterable[tuple[Tensor, ...]]) -> list[Tensor]:
    """Results of block after block, each in its place in memory that was taken once, as the host keeps them."""
    whole: list[Tensor] = []
    start = 0
    for part in parts:
        whole = whole or [one.new_empty(count, *one.shape[1:]) for one in part]
        for kept, one in zip(whole, part):
            kept[start : start + len(one)] = one
        start += len(part[0])
    return whole


def judged(weighter: Any, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo) -> tuple[Any, Any]:
    """Weights and decisions of all observed labels, as the host asks for them."""

    def parts() -> Iterator[tuple[Tensor, ...]]:
        for block in bank.blocks():
            made = weighter(block, block.observed, prototypes, side)
            yield (made.weights, made.score) if made.wrong is None else (made.weights, made.score, made.wrong)

    weights, _, *wrong = by_row(len(bank), parts())
    return array(weights), array(wrong[0]) if wrong else None


def array(tensor: Tensor | None) -> Any:
    """A NumPy array, float64 for any floating-point tensor."""
    assert tensor is not None
    found = tensor.detach().cpu()
    return found.double().numpy() if found.is_floating_point() else found.numpy()


def all_features(bank: FeatureBank) -> Any:
    """float64 [N, D]: what the naive formulas are given."""
    return array(bank.take(torch.arange(len(bank))).features)


def close(share: float, within: float) -> Callable[[Any, Any], None]:
    """Whether so large a share of two results is so near."""

    def agrees(ours: Any, theirs: Any) -> None:
        near = np.abs(np.asarray(ours) - theirs) < within
        assert near.mean() >= share, f"only {near.mean():.4f} within {within}"

    return agrees
