"""Each class a Gaussian, all of one regularised covariance: how probable is a label, judged without its own sample?

Friedman: Regularized Discriminant Analysis. JASA 84 (1989). The observed labels are taken as they are, wrong ones
included: class means hardly move, and the ridge keeps the covariance from learning single labels by heart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from noisyrun.api import (
    PAD,
    Block,
    FeatureBank,
    Judgement,
    Needs,
    Phase,
    Prototypes,
    SampleWeighter,
    SideInfo,
    State,
)
from noisyrun_discriminant.config import DiscriminantConfig

#: Bins of the histogram that `two_groups` splits, and the share of margins at either end that it does not look at.
_BINS, _TAIL = 256, 1e-3
_TINY = 1e-12
#: Bytes of features and distances held at once: on a GPU, and on a CPU, whose cache they fit.
_CACHED = (1 << 27, 1 << 22)


class Discriminant(SampleWeighter[DiscriminantConfig]):
    """Score: log-probability of the label. Decision: its margin over the best other class, in the lower of two groups.

    A class that no label names, or one label only, gives no ground to judge by: such labels weigh 1 and count as right.
    """

    def __init__(self, config: DiscriminantConfig) -> None:
        super().__init__(config)
        self.centre: Tensor | None = None  # float32 [D]
        self.whiten: Tensor | None = None  # float32 [D, D]
        self.means: Tensor | None = None  # float32 [C, D], centred and whitened
        self.counts: Tensor | None = None  # float32 [C]
        self.threshold: float | None = None

    @property
    def needs(self) -> Needs:
        return Needs(labels=frozenset({"single"}))

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        rows = (bank.labels.single != PAD).nonzero()[:, 0]
        means, counts = _means(bank, rows, phase)
        self.counts = counts.float()
        self.centre = (means.T @ (counts / counts.sum().clamp(min=1))).float()
        self.whiten = _whitening(_scatter(bank, rows, means.float(), phase), self.config.ridge)
        self.means = (means.float() - self.centre) @ self.whiten
        margins = [torch.zeros(0)]
        for block in phase.progress(bank.blocks(rows, _rows(bank, phase.memory)), None, "margins"):
            _, margin, ground = self._judged(block, block.observed)
            margins.append(margin[ground].cpu())
        self.threshold = two_groups(torch.cat(margins))
        if self.threshold is not None:
            phase.log("threshold", self.threshold)

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        score, margin, ground = self._judged(block, labels)
        if self.config.predictions:
            said = _said(block, labels).clamp(min=_TINY).log()
            score = (1 - self.config.predictions) * score + self.config.predictions * said
        threshold = -torch.inf if self.threshold is None else self.threshold
        wrong = (margin < threshold) & ground
        if self.config.weights == "soft" and self.threshold is not None:
            weights = torch.where(ground, (margin - self.threshold).sigmoid(), 1.0)
        else:
            weights = (~wrong).float()
        return Judgement(weights, score, wrong)

    def _judged(self, block: Block, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability and margin of each label, float32 [R], and whether there is ground to judge it, bool [R]."""
        assert self.counts is not None
        counts, observed = self.counts.to(block.bank.device), block.observed
        own = counts[observed.clamp(min=0)]
        # Without the sample, the mean of its own class is farther by n / (n − 1).
        moved = torch.where((observed != PAD) & (own > 1), own / (own - 1).clamp(min=1), 1.0).square()
        size = _rows(block.bank)
        parts = zip(*(values.split(size) for values in (block.features, observed.clamp(min=0), moved, labels)))
        score, margin = (torch.cat(each) for each in zip(*(self._of(*part) for part in parts)))
        ground = (counts[labels] > 1) & margin.isfinite()
        return torch.where(ground, score, 0.0), torch.where(ground, margin, 0.0), ground

    def _of(self, features: Tensor, observed: Tensor, moved: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability and margin of some labels, float32 [r] each."""
        assert self.centre is not None
        assert self.whiten is not None
        assert self.means is not None
        assert self.counts is not None
        device, named = features.device, labels.unsqueeze(1)
        means, counts = self.means.to(device), self.counts.to(device)
        features = (features.float() - self.centre.to(device)) @ self.whiten.to(device)
        far = torch.addmm((means * means).sum(1), features, means.T, alpha=-2.0)
        far += (features * features).sum(1, keepdim=True)
        far[torch.arange(len(far), device=device), observed] *= moved
        logits = counts.log() - far.clamp_(min=0) / 2
        given = logits.gather(1, named)
        others = logits.scatter(1, named, -torch.inf).amax(1)
        return (given[:, 0] - logits.logsumexp(1)), given[:, 0] - others

    def state_dict(self) -> State:
        if self.centre is None:
            return {}
        learned = {name: getattr(self, name).cpu() for name in ("centre", "whiten", "means", "counts")}
        return {**learned, "threshold": self.threshold}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name in ("centre", "whiten", "means", "counts", "threshold"):
            setattr(self, name, state.get(name))


def _means(bank: FeatureBank, rows: Tensor, phase: Phase) -> tuple[Tensor, Tensor]:
    """Mean of each class, float64 [C, D], 0 for one without samples; and how many it has, float64 [C]."""
    sums = torch.zeros(bank.num_classes, bank.dim, dtype=torch.float64, device=bank.device)
    counts = bank.class_counts().to(bank.device, torch.float64)
    for block in phase.progress(bank.blocks(rows, _rows(bank, phase.memory)), None, "means"):
        part = torch.zeros(sums.shape, device=bank.device).index_add_(0, block.observed, block.features.float())
        sums += part
    return sums / counts.clamp(min=1).unsqueeze(1), counts


def _scatter(bank: FeatureBank, rows: Tensor, means: Tensor, phase: Phase) -> Tensor:
    """Covariance within classes, float64 [D, D]."""
    total = torch.zeros(bank.dim, bank.dim, dtype=torch.float64, device=bank.device)
    for block in phase.progress(bank.blocks(rows, _rows(bank, phase.memory)), None, "covariance"):
        off = block.features.float() - means[block.observed]
        total += off.T @ off
    return total / max(1, len(rows))


def _rows(bank: FeatureBank, memory: int | None = None) -> int:
    """Rows worked on at a time: what fits the cache, and the memory that may be taken."""
    row = 4 * (bank.dim + bank.num_classes)
    size = max(256, _CACHED[bank.device.type == "cpu"] // row)
    return size if memory is None else max(1, min(size, memory // (4 * row)))


def _whitening(covariance: Tensor, ridge: float) -> Tensor:
    """float32 [D, D] that takes features to where all directions, after the ridge, vary alike."""
    each = covariance.diagonal().mean().clamp(min=_TINY)
    covariance = covariance + ridge * each * torch.eye(len(covariance), dtype=torch.float64, device=covariance.device)
    factor = torch.linalg.cholesky(covariance)
    eye = torch.eye(len(factor), dtype=torch.float64, device=factor.device)
    return torch.linalg.solve_triangular(factor, eye, upper=False).T.float().contiguous()


def _said(block: Block, labels: Tensor) -> Tensor:
    """What the bank's classifier gives each label, float32 [R]; 0 where the label is not among its best classes."""
    observed = (block.label_probs * (block.labels.classes == labels.unsqueeze(1))).amax(1)
    return torch.maximum(observed, (block.top_probs * (block.top_classes == labels.unsqueeze(1))).amax(1))


def two_groups(values: Tensor) -> float | None:
    """The threshold that splits values in two groups, by Otsu's method; None where there are none to split.

    Otsu's threshold makes the variance between the groups as large as can be. No clean label is looked at.

    Parameters
    ----------
    values
        float [n], finite.
    """
    if len(values) < 2:
        return None
    values = values.double().sort().values
    cut = int(_TAIL * len(values))
    values = values[cut : len(values) - cut]
    low, high = float(values[0]), float(values[-1])
    if not low < high:
        return None
    counts = torch.histc(values, _BINS, low, high)
    width = (high - low) / _BINS
    middle = low + width * (torch.arange(_BINS, dtype=torch.float64) + 0.5)
    below = counts.cumsum(0)[:-1]
    above = len(values) - below
    mass = (counts * middle).cumsum(0)
    gap = mass[:-1] / below.clamp(min=1) - (mass[-1] - mass[:-1]) / above.clamp(min=1)
    return low + width * (int((below * above * gap**2).argmax()) + 1)
