"""Noise weighting: a label counts by the distance of the sample to the class's prototype (section 3.3)."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from noisyrun.api import (
    Block,
    FeatureBank,
    Judgement,
    MethodError,
    Needs,
    Phase,
    Prototypes,
    SampleWeighter,
    SideInfo,
    State,
    UserError,
    ops,
)
from noisyrun_sinet.config import SinetWeighterConfig
from noisyrun_sinet.equations import weight
from noisyrun_sinet.scores import Candidates, Consistency, class_relation_of, initial_prototypes

#: Up to so many prototypes in a block's classes, one matrix product with all of them beats going class by class.
_PRODUCT = 64
#: Bytes of features and similarities held at once: on a GPU, and on a CPU, whose cache they fit.
_CACHED = (1 << 27, 1 << 20)
#: Features that a guess of the nearest class looks at.
_GUESS = 64
#: Bins of the histogram that `two_groups` splits.
_BINS = 256


class SinetWeighter(SampleWeighter[SinetWeighterConfig]):
    """Weight max(0, α − distance)^β of the sample to the prototype of its label.

    Source: section 3.3, equation 6; with ``weights = keep``, Model-B of table 1.
    """

    def __init__(self, config: SinetWeighterConfig) -> None:
        super().__init__(config)
        self.threshold: float | None = None
        self.keep_from: float | None = None
        self.consistency: Consistency | None = None
        self._seen: _Seen | None = None
        self._directions: Directions | None = None

    @property
    def needs(self) -> Needs:
        return Needs(prototypes=True, class_similarity=self.config.score == "consistency")

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        """Initial prototypes where the score asks for them; from the scores of all observed labels, the thresholds."""
        if self.config.score == "consistency":
            initial = initial_prototypes(bank, Candidates(bank, clean=True), self.config.k, phase)
            self.consistency = Consistency(self.config, *initial)
        self.threshold = self.keep_from = self._seen = None
        share = self.config.keep_share if self.config.weights == "keep" else None
        if self.config.decision != "otsu" and share is None:
            return
        scores = self._all_scores(bank, prototypes, side, phase)
        if len(scores) == 0:
            return
        if self.config.decision == "otsu":
            self.threshold = two_groups(scores)
            if self.threshold is not None:
                phase.log("threshold", self.threshold)
        if share is not None:
            kept = max(1, round(share * len(scores)))
            self.keep_from = float(ops.kth_value(scores, len(scores) - kept + 1))

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        far = self._distance(block, labels, prototypes)
        score = self._score(block, labels, far, side)
        wrong = self._wrong(block, labels, prototypes, far, score)
        if self.config.weights == "soft":
            weights = weight(far, self.config.alpha, self.config.beta)
        else:
            weights = (~wrong if self.keep_from is None else score >= self.keep_from).float()
        return Judgement(weights, score, wrong)

    def state_dict(self) -> State:
        state: State = {"threshold": self.threshold, "keep_from": self.keep_from}
        if self.consistency is not None:
            state |= {"initial": self.consistency.initial.cpu(), "present": self.consistency.present.cpu()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.threshold = state.get("threshold")
        self.keep_from = state.get("keep_from")
        if "initial" in state:
            self.consistency = Consistency(self.config, state["initial"], state["present"])

    def _distance(self, block: Block, labels: Tensor, prototypes: Prototypes | None) -> Tensor:
        if prototypes is None:
            raise UserError(f"{self.key} needs prototypes: choose a builder, e.g. --prototypes sinet")
        if self._seen is not None and self._seen.holds(block, labels, prototypes):
            return self._seen.far[block.rows].to(labels.device)
        embedded = prototypes.embed(block.features)
        return distance(embedded, labels, self._directions_of(prototypes, embedded.device), self.config.reduce)

    def _directions_of(self, prototypes: Prototypes, device: torch.device) -> Directions:
        kept = self._directions
        if kept is None or kept.prototypes is not prototypes or kept.vectors.device != device:
            kept = self._directions = Directions.of(prototypes, device)
        return kept

    def _score(self, block: Block, labels: Tensor, far: Tensor, side: SideInfo) -> Tensor:
        """Higher is likelier right: α − distance, which ranks as (6) does but without ties at 0; or log p_i (4)."""
        if self.config.score == "weight":
            return self.config.alpha - far
        if self.consistency is None:
            raise MethodError(self.key, "must be fitted before it weighs")
        return self.consistency.of_pairs(block.features, labels, class_relation_of(side, self.key)).log()

    def _wrong(self, block: Block, labels: Tensor, prototypes: Prototypes | None, far: Tensor, score: Tensor) -> Tensor:
        """Which labels are called wrong, bool [R].

        Otsu's method finds two groups even in scores that form one, so that a low score alone proves nothing: a label
        is wrong when it is in the lower group and the sample is nearer to another class. Neither is asked of a label.
        """
        if self.config.decision == "shift":
            return far >= self.config.alpha
        low = torch.ones_like(far, dtype=torch.bool)
        if self.config.decision == "otsu":
            low = score < (-torch.inf if self.threshold is None else self.threshold)
        if prototypes is None or not bool(low.any()):
            return low
        rows = low.nonzero()[:, 0]
        to = self._directions_of(prototypes, far.device)
        if prototypes.project is None and prototypes.mask.numel() > _PRODUCT:
            # Any nearer class will do: a guess is one for most, and spares them all the others.
            guess = likely_other(block.features, labels, to, rows)
            rows = rows[distance(block.features, guess, to, self.config.reduce, rows) >= far[rows]]
        low[rows] = nearest_other(block.features, labels, to, self.config.reduce, rows) < far[rows]
        return low

    def _all_scores(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> Tensor:
        """Scores of all observed labels whose class has a prototype, float32 [L], on the CPU."""
        found = [torch.zeros(0)]
        seen = torch.full((len(bank),), torch.nan)
        for block in phase.progress(bank.blocks(), None, "scores"):
            at, labels = block.labels.pairs()
            if prototypes is not None:
                judged = prototypes.present.to(labels.device)[labels]
                at, labels = at[judged], labels[judged]
            each_once = len(at) == len(block) and bool((at == torch.arange(len(at), device=at.device)).all())
            # Of several labels a sample, no more pairs at once than there are samples in a block.
            for some, named in zip(at.split(len(block)), labels.split(len(block))):
                pairs = block if each_once else block.take(some)
                far = self._distance(pairs, named, prototypes)
                found.append(self._score(pairs, named, far, side).cpu())
                seen[pairs.rows] = far.cpu()
        if prototypes is not None and not bank.task.multi:
            self._seen = _Seen(weakref.ref(bank), weakref.ref(prototypes), seen)
        return torch.cat(found)


@dataclass(frozen=True)
class _Seen:
    """Distances of the observed labels of a bank, float32 [N] by row: the fit needs them first, and then every weight.

    NaN where they were not asked for.
    """

    bank: weakref.ref[FeatureBank]
    prototypes: weakref.ref[Prototypes]
    far: Tensor

    def holds(self, block: Block, labels: Tensor, prototypes: Prototypes) -> bool:
        """Whether they are those of these labels of these rows."""
        if self.bank() is not block.bank or self.prototypes() is not prototypes:
            return False
        return torch.equal(labels, block.observed) and not bool(self.far[block.rows].isnan().any())


@dataclass(frozen=True)
class Directions:
    """Prototypes at unit length, made once for all blocks.

    Attributes
    ----------
    prototypes
        What they are made from.
    vectors
        float32 [C, P, E]; a zero vector stays zero.
    lengths
        float32 [C, P]: their squared lengths then; infinite where there is no prototype, which is nearest to nothing.
    mask, weights
        [C, P], as of the prototypes.
    """

    prototypes: Prototypes
    vectors: Tensor
    lengths: Tensor
    mask: Tensor
    weights: Tensor

    @classmethod
    def of(cls, prototypes: Prototypes, device: torch.device) -> Directions:
        """On a device."""
        vectors, mask = ops.unit(prototypes.vectors.to(device, torch.float32)), prototypes.mask.to(device)
        lengths = (vectors * vectors).sum(2).masked_fill_(~mask, torch.inf)
        return cls(prototypes, vectors, lengths, mask, prototypes.weights.to(device))


def distance(
    embedded: Tensor, labels: Tensor, to: Directions, reduce: str = "nearest", rows: Tensor | None = None
) -> Tensor:
    """Distance of each sample to the prototypes of its label, features and prototypes scaled to unit length.

    Parameters
    ----------
    embedded
        float [R, E]: ``prototypes.embed(features)``.
    labels
        int64 [r].
    reduce
        Several prototypes: ``nearest``, or the ``mean`` by the prototypes' weights.
    rows
        int64 [r]: the samples asked for; all by default.

    Returns
    -------
    Tensor
        float32 [r], in [0, 2]; 2 where the class has no prototype. Good to 1e-3 near 0, 1e-6 elsewhere.
    """
    mask = to.mask[labels]
    cosines = embedded.new_empty(mask.shape, dtype=torch.float32)
    own = torch.empty_like(cosines[:, :1])
    if to.vectors.shape[1] == 1:
        vectors = to.vectors[:, 0]
        for part in _pieces(own, 2 * embedded.shape[1]):
            queries = (embedded[part] if rows is None else embedded.index_select(0, rows[part])).float()
            safe, own[part] = _lengths(queries)
            cosines[part] = vectors.index_select(0, labels[part]).mul_(queries).sum(1, keepdim=True).div_(safe)
    elif to.mask.numel() <= _PRODUCT:
        flat = to.vectors.flatten(0, 1).T
        for part in _pieces(own, embedded.shape[1] + flat.shape[1]):
            queries = (embedded[part] if rows is None else embedded.index_select(0, rows[part])).float()
            safe, own[part] = _lengths(queries)
            all_of_them = (queries @ flat).view(-1, *to.mask.shape)
            at = labels[part]
            cosines[part] = all_of_them[torch.arange(len(at), device=at.device), at] / safe
    else:  # each row with the prototypes of its own class alone
        named, which = labels.unique(return_inverse=True)
        order = which.argsort(stable=True)
        for c, part in zip(named.tolist(), order.split(which.bincount(minlength=len(named)).tolist())):
            queries = embedded.index_select(0, part if rows is None else rows[part]).float()
            safe, own[part] = _lengths(queries)
            cosines[part] = (queries @ to.vectors[c].T).div_(safe)
    far = (own + to.lengths[labels].masked_fill_(~mask, 0.0)).sub_(cosines, alpha=2).clamp_(min=0).sqrt_()
    return _reduced(far, mask, to.weights[labels] if reduce == "mean" else None)


def likely_other(features: Tensor, labels: Tensor, to: Directions, rows: Tensor) -> Tensor:
    """A class other than its label's that each of some samples may be near to, guessed from a few of the features.

    Parameters
    ----------
    features
        float [R, D], where the prototypes live.
    labels
        int64 [R].
    rows
        int64 [r]: the samples asked for.

    Returns
    -------
    Tensor
        int64 [r].
    """
    few = to.vectors[:, :, :_GUESS].mean(1).T.contiguous()
    found = torch.empty_like(rows)
    for piece in _pieces(found, sum(few.shape)):
        scores = features[:, :_GUESS].index_select(0, rows[piece]).float() @ few
        found[piece] = scores.scatter_(1, labels[rows[piece]].unsqueeze(1), -torch.inf).max(1).indices
    return found


def nearest_other(
    features: Tensor, labels: Tensor, to: Directions, reduce: str = "nearest", rows: Tensor | None = None
) -> Tensor:
    """Distance of each sample to the nearest class other than its label's.

    Parameters
    ----------
    features
        float [R, D].
    labels
        int64 [R].
    reduce
        As for `distance`.
    rows
        int64 [r]: the samples asked for; all by default.

    Returns
    -------
    Tensor
        float32 [r], in [0, 2]; infinite where no other class has a prototype.
    """
    flat, lengths = to.vectors.flatten(0, 1).T, to.lengths.flatten()
    rows = torch.arange(len(features), device=features.device) if rows is None else rows
    nearest = torch.full((len(rows),), torch.inf, device=features.device)
    for piece in _pieces(nearest, features.shape[1] + flat.shape[1]):
        queries = to.prototypes.embed(features.index_select(0, rows[piece])).float()
        safe, own = _lengths(queries)
        # Less |query|², the same for all, which is added to the nearest alone.
        gaps = torch.addmm(lengths, queries / safe, flat, alpha=-2.0).view(-1, *to.mask.shape)
        if reduce != "mean":
            by_class = gaps.amin(2)
        else:
            far = (gaps + own.unsqueeze(2)).masked_fill_(~to.mask, 0.0).clamp_(min=0).sqrt_()
            by_class = _reduced(far, to.mask.expand_as(far), to.weights).square() - own
            by_class.masked_fill_(~to.mask.any(1), torch.inf)
        by_class.scatter_(1, labels[rows[piece]].unsqueeze(1), torch.inf)
        nearest[piece] = (by_class.amin(1) + own[:, 0]).clamp_(min=0).sqrt_()
    return nearest


def _lengths(features: Tensor) -> tuple[Tensor, Tensor]:
    """What scales features [R, E] to unit length, [R, 1], and their squared lengths then: 1, or 0 for a zero vector."""
    length = torch.linalg.vector_norm(features.float(), dim=1, keepdim=True)
    safe = length.clamp(min=1e-12)
    return safe, (length / safe).square()


def _pieces(rows: Tensor, width: int) -> Iterator[slice]:
    """The rows in pieces, each of which takes `width` values a row: small, but worth a matrix product."""
    cached = _CACHED[rows.device.type == "cpu"]
    return ops.spans(len(rows), 4 * width, max(cached, 4 * width * 256))


def _reduced(far: Tensor, mask: Tensor, weights: Tensor | None) -> Tensor:
    """Distances [..., P] to the prototypes of a class as one: the least, or their mean by weights; 2 without any."""
    if weights is None:
        return far.masked_fill(~mask, 2.0).amin(-1)
    share = (weights * mask).float()
    share = torch.where(share.sum(-1, keepdim=True) > 0, share, mask.float())
    mean = (far * share).sum(-1) / share.sum(-1).clamp(min=1e-12)
    return mean.masked_fill(~mask.any(-1), 2.0)


def two_groups(scores: Tensor) -> float | None:
    """The threshold that splits scores in two groups, by Otsu's method; None where all scores are one value.

    Otsu's threshold makes the variance between the groups as large as can be. It is always found, also in scores that
    form one group: whoever uses it needs a second ground. No label is looked at.

    Parameters
    ----------
    scores
        float [n], finite, n ≥ 1.
    """
    values = scores.double()
    low, high = float(values.min()), float(values.max())
    if not low < high:
        return None
    counts = torch.histc(values, _BINS, low, high)
    width = (high - low) / _BINS
    middle = low + width * (torch.arange(_BINS, dtype=torch.float64, device=values.device) + 0.5)
    below = counts.cumsum(0)[:-1]
    above = len(values) - below
    mass = (counts * middle).cumsum(0)
    gap = mass[:-1] / below.clamp(min=1) - (mass[-1] - mass[:-1]) / above.clamp(min=1)
    return low + width * (int((below * above * gap**2).argmax()) + 1)
