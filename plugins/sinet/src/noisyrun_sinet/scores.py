"""Initial prototypes, and consistency scores of samples of the bank (section 3.2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from noisyrun.api import FeatureBank, Phase, Rows, SideInfo, UserError, ops
from noisyrun_sinet.config import ConsistencyConfig
from noisyrun_sinet.equations import agreement, semantic_side

#: Entries of the class relation [classes, classes] that are kept for all samples.
_CELLS = 1 << 24
#: Bytes of features and similarities held at once: on a GPU, and on a CPU, whose cache they fit.
CACHED = (1 << 27, 1 << 20)


class Candidates:
    """The samples each class is built from, and the classifier's confidence in them.

    Parameters
    ----------
    clean
        Take a class's samples of the trusted clean subset, by their trusted label, where it has any; all samples of
        that observed label elsewhere.
    """

    def __init__(self, bank: FeatureBank, clean: bool) -> None:
        self.bank = bank
        self._clean: dict[int, Tensor] = {}
        if clean and bool(bank.clean.any()):
            rows, classes = bank.trusted.pairs()
            ours = bank.clean[rows]
            rows, classes = rows[ours], classes[ours]
            order = classes.argsort(stable=True)
            names, counts = classes.unique(return_counts=True)
            self._clean = dict(zip(names.tolist(), rows[order].split(counts.tolist())))

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Rows and classes, int64 [L] both, by row."""
        rows, classes = self.bank.labels.pairs()
        if self._clean:
            named = torch.tensor(list(self._clean))
            others = torch.isin(classes, named, invert=True)
            clean = list(self._clean.values())
            rows = torch.cat([rows[others], *clean])
            classes = torch.cat([classes[others], named.repeat_interleave(torch.tensor(list(map(len, clean))))])
            order = rows.argsort(stable=True)
            rows, classes = rows[order], classes[order]
        return rows, classes

    def confidence(self, rows: Tensor, classes: Tensor) -> Tensor:
        """Probability of the class of each pair, float32 [L]; 0 where the bank does not know it."""
        bank, found = self.bank, torch.empty(len(rows))
        for part in ops.spans(len(rows), bank.labels.classes.shape[1], _CELLS >> 8):
            found[part] = _of_class(bank.label_probs, bank.labels.classes, rows[part], classes[part])
            if self._clean:
                predicted = _of_class(bank.top_probs, bank.top_classes, rows[part], classes[part])
                clean = torch.isin(classes[part], torch.tensor(list(self._clean)))
                found[part] = torch.where(clean, torch.maximum(found[part], predicted), found[part])
        return found


def _of_class(probs: Tensor, of: Tensor, rows: Tensor, classes: Tensor) -> Tensor:
    """float32 [L]: probability of each pair's class, from those [N, k] of some classes; 0 where it is none of those."""
    return probs[rows].masked_fill(of[rows] != classes.unsqueeze(1), 0.0).amax(1)


def best_of_class(scores: Tensor, classes: Tensor, k: int) -> Tensor:
    """Positions int64, ascending, of the k highest scores [L] ≥ 0 of each class, int64 [L]; of equals the first."""
    # The bits of floats that are not negative, as those of whole numbers, are in the floats' order: one sort does.
    order = ((classes << 32) - scores.float().view(torch.int32)).argsort(stable=True)
    counts = torch.bincount(classes)
    place = torch.arange(len(order)) - (counts.cumsum(0) - counts)[classes[order]]
    return order[place < k].sort().values


def initial_prototypes(bank: FeatureBank, candidates: Candidates, k: int, phase: Phase) -> tuple[Tensor, Tensor]:
    """Mean feature of each class's k samples of highest confidence.

    Source: section 3.2, "top-k ranked image features according to their classification confidence score are averaged".

    Returns
    -------
    vectors, present
        float32 [C', D] of the classes that have samples, and those classes, int64 [C'] ascending, on the bank's
        device.
    """
    rows, classes = candidates.pairs()
    if len(rows) == 0:
        raise UserError("no sample has a label: there is nothing to build prototypes from")
    best = best_of_class(candidates.confidence(rows, classes), classes, k)
    means = weighted_means(bank, rows[best], classes[best], phase)
    present = classes.unique().to(bank.device)
    return means[present], present


def piece_rows(width: int, device: torch.device) -> int:
    """Rows of so many values that stay near a processor, or fill a GPU."""
    return max(256, CACHED[device.type == "cpu"] // (4 * width))


def weighted_means(
    bank: FeatureBank,
    rows: Tensor,
    classes: Tensor,
    phase: Phase,
    weights: Callable[[Tensor, Tensor], Tensor] | None = None,
    size: int | None = None,
) -> Tensor:
    """v_c: mean features of classes, float32 [C, D]; 0 of a class without rows.

    Source: equation 5.

    Parameters
    ----------
    rows, classes
        int64 [L]: pairs, by row, so that the bank is read once and in order.
    weights
        Gives p_i, float32 [r], of features [r, D] and their classes, int64 [r]; all 1 by default.
    size
        For so many rows at a time.
    """
    device = bank.device
    size = piece_rows(bank.dim, device) if size is None else size
    means, part = torch.zeros(2, bank.num_classes, bank.dim, device=device)
    totals, added = torch.zeros(2, bank.num_classes, dtype=torch.float64, device=device)
    start = pending = 0
    for block in phase.progress(bank.blocks(rows), None, "prototypes"):
        named = classes[start : start + len(block)].to(device)
        for piece in ops.spans(len(block), 1, size):
            features, of = block.features[piece], named[piece]
            shares = features.new_ones(len(features)) if weights is None else weights(features, of)
            part.index_add_(0, of, features if weights is None else features * shares.unsqueeze(1))
            added.index_add_(0, of, shares.double())
        start, pending = start + len(block), pending + len(block)
        # Sums in single precision are never those of many rows of a class: means of parts make up the mean.
        if pending > 8 * bank.num_classes or start == len(rows):
            totals += added
            part.addcmul_(means, added.float().unsqueeze(1), value=-1)
            means.addcdiv_(part, totals.clamp(min=1e-30).float().unsqueeze(1))
            part.zero_()
            added.zero_()
            pending = 0
    return means


class Consistency:
    """p_i (4) of any (sample, label) pairs, against fixed initial prototypes.

    Classes without samples have no visual similarity, and are left out of both vectors.
    """

    def __init__(self, config: ConsistencyConfig, initial: Tensor, present: Tensor) -> None:
        self.config = config
        self.initial = initial
        self.present = present
        self._directions = ops.unit(initial.float()).T.contiguous()
        #: int64: where each class stands among those present.
        self._place = torch.zeros(int(present.max()) + 1, dtype=torch.int64, device=present.device)
        self._place[present] = torch.arange(len(present), device=present.device)
        #: `semantic_side` of all present classes, while they are not too many.
        self._kept: tuple[Tensor, Tensor] | None = None

    def of_pairs(self, features: Tensor, labels: Tensor, relation: Rows) -> Tensor:
        """p_i float32 [R] of the pairs (features[r], labels[r])."""
        config = self.config
        self._directions = self._directions.to(features.device)
        scores = [features.new_zeros(0, dtype=torch.float32)]
        for piece in ops.spans(len(features), 1, self.size(features)):
            part = features[piece].float()
            length = torch.linalg.vector_norm(part, dim=1, keepdim=True)
            # Similarities are scaled in place of features: as many as there are classes, not as they are wide.
            visual = (part @ self._directions).div_(length.clamp_(min=1e-12))
            semantic = self._semantic(relation, labels[piece])
            scores.append(agreement(*semantic, visual, config.psi, config.temperature, config.gamma, config.eps))
        return torch.cat(scores)

    def size(self, features: Tensor) -> int:
        """Rows of features [R, D] that are scored at a time."""
        return piece_rows(features.shape[1] + 2 * len(self.present), features.device)

    def _semantic(self, relation: Rows, labels: Tensor) -> tuple[Tensor, Tensor]:
        """`semantic_side` of each label, float32 [r, C'] and [r]."""
        if self._kept is None and len(self.present) ** 2 <= _CELLS:
            self._kept = self._side_of(relation, self.present.to(labels.device))
        if self._kept is None:
            named, which = labels.unique(return_inverse=True)
            p, own = self._side_of(relation, named)
        else:
            p, own = self._kept
            which = self._place.to(labels.device)[labels]
        return p.index_select(0, which), own[which]

    def _side_of(self, relation: Rows, classes: Tensor) -> tuple[Tensor, Tensor]:
        semantic = relation.take(classes)[:, self.present.to(classes.device)]
        return semantic_side(semantic, self.config.psi, self.config.temperature)


def class_relation_of(side: SideInfo, key: str) -> Rows:
    """The class relation of a run, S_t."""
    if side.class_similarity is None:
        raise UserError(
            f"{key} needs a class relation: add --side-info sinet (with --side-info.sinet.relation HW it needs no text)"
        )
    return side.class_similarity
