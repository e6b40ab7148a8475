"""Initial prototypes, and consistency scores of samples of the bank (section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from noisyrun.api import FeatureBank, Rows, SideInfo, UserError, ops
from noisyrun_sinet.config import ConsistencyConfig
from noisyrun_sinet.equations import consistency

#: Similarities [rows, C] held at once.
_CELLS = 1 << 24


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

    def of_class(self, c: int) -> Tensor:
        """Rows int64 [n] of class c."""
        rows = self._clean.get(c)
        return self.bank.of_class(c) if rows is None else rows

    def confidence(self, c: int, rows: Tensor) -> Tensor:
        """Probability of class c for each of its rows, float32 [n]; 0 where the bank does not know it."""
        bank = self.bank
        observed = bank.label_probs[rows].masked_fill(bank.labels.classes[rows] != c, 0.0).amax(1)
        if c not in self._clean:  # its rows are those that c is observed of
            return observed
        predicted = bank.top_probs[rows].masked_fill(bank.top_classes[rows] != c, 0.0).amax(1)
        return torch.maximum(observed, predicted)


def initial_prototypes(bank: FeatureBank, candidates: Candidates, k: int) -> tuple[Tensor, Tensor]:
    """Mean feature of each class's k samples of highest confidence.

    Source: section 3.2, "top-k ranked image features according to their classification confidence score are averaged".

    Returns
    -------
    vectors, present
        float32 [C', D] of the classes that have samples, and those classes, int64 [C'] ascending, on the bank's
        device.
    """
    vectors, present = [], []
    for c in range(bank.num_classes):
        rows = candidates.of_class(c)
        if len(rows) == 0:
            continue
        best = candidates.confidence(c, rows).argsort(descending=True, stable=True)[:k]
        vectors.append(bank.take(rows[best].sort().values).features.float().mean(0))
        present.append(c)
    if not present:
        raise UserError("no sample has a label: there is nothing to build prototypes from")
    return torch.stack(vectors), torch.tensor(present, device=bank.device)


class Consistency:
    """p_i (4) of any (sample, label) pairs, against fixed initial prototypes.

    Classes without samples have no visual similarity, and are left out of both vectors.
    """

    def __init__(self, config: ConsistencyConfig, initial: Tensor, present: Tensor) -> None:
        self.config = config
        self.initial = initial
        self.present = present
        self._directions = ops.unit(initial.float()).T.contiguous()

    def semantic(self, relation: Rows, classes: Tensor) -> Tensor:
        """Rows of S_t over the present classes, float32 [r, C']."""
        return relation.take(classes)[:, self.present.to(classes.device)]

    def of_one(self, features: Tensor, semantic: Tensor) -> Tensor:
        """p_i float32 [n] of samples [n, D] that share a class, whose row of S_t is [C']."""
        return torch.cat([self._score(semantic, part) for part in features.split(self._rows)])

    def of_pairs(self, features: Tensor, labels: Tensor, relation: Rows) -> Tensor:
        """p_i float32 [R] of the pairs (features[r], labels[r])."""
        scores = [features.new_zeros(0, dtype=torch.float32)]
        for part, classes in zip(features.split(self._rows), labels.split(self._rows)):
            named, which = classes.unique(return_inverse=True)
            scores.append(self._score(self.semantic(relation, named)[which], part))
        return torch.cat(scores)

    @property
    def _rows(self) -> int:
        return max(1, _CELLS // len(self.present))

    def _score(self, semantic: Tensor, features: Tensor) -> Tensor:
        config = self.config
        self._directions = self._directions.to(features.device)
        features = features.float()
        length = torch.linalg.vector_norm(features, dim=1, keepdim=True)
        # Similarities are scaled in place of features: as many as there are classes, not as they are wide.
        visual = (features @ self._directions).div_(length.clamp_(min=1e-12))
        return consistency(semantic, visual, config.psi, config.temperature, config.gamma, config.eps)


def class_relation_of(side: SideInfo, key: str) -> Rows:
    """The class relation of a run, S_t."""
    if side.class_similarity is None:
        raise UserError(
            f"{key} needs a class relation: add --side-info sinet (with --side-info.sinet.relation HW it needs no text)"
        )
    return side.class_similarity


def chunks(present: Tensor) -> Iterator[Tensor]:
    """Classes in groups whose rows of S_t fit in memory together."""
    yield from present.split(max(1, min(256, _CELLS // len(present))))
