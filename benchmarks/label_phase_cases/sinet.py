"""Cheng et al., Weakly Supervised Learning with Side Information for Noisy Labeled Images, ECCV 2020."""

from __future__ import annotations

from typing import Any

import naive
import numpy as np
import torch

from label_phase_cases.case import NO_SIDE, Case, array, close, judged, phase, relation, size_of
from noisyrun.api import DenseRows, FeatureBank, Prototypes, SideInfo


def _sinet_prototypes(bank: FeatureBank) -> Prototypes:
    from noisyrun_sinet.config import SinetPrototypesConfig
    from noisyrun_sinet.prototypes import SinetPrototypes

    side = SideInfo(class_similarity=DenseRows(torch.from_numpy(relation(bank.num_classes)).float().to(bank.device)))
    return SinetPrototypes(SinetPrototypesConfig())(bank, side, phase(bank, "prototypes.sinet"))


def prototypes(bank: FeatureBank) -> Case:
    n, c, d = len(bank), bank.num_classes, bank.dim

    def formula(features: Any) -> Any:
        logits = np.log(np.maximum(1e-30, _probabilities(bank)))
        return naive.sinet_prototypes(features, logits, bank.labels.single.numpy(), relation(c))

    return Case(
        lambda: array(_sinet_prototypes(bank).vectors[:, 0]),
        reads=size_of(bank),
        single=2 * n * c * d,
        naive=formula,
        agrees=close(0.999, 1e-2),
    )


def _probabilities(bank: FeatureBank) -> Any:
    """The classifier's probabilities, dense: what the bank keeps, the rest spread over the other classes."""
    found = np.zeros((len(bank), bank.num_classes))
    np.put_along_axis(found, bank.top_classes.numpy(), bank.top_probs.numpy(), 1)
    np.put_along_axis(found, bank.labels.classes.numpy(), bank.label_probs.numpy(), 1)
    rest = np.maximum(0, 1 - found.sum(1, keepdims=True)) / np.maximum(1, (found == 0).sum(1, keepdims=True))
    return np.where(found == 0, rest, found)


def weigher(bank: FeatureBank) -> Case:
    from noisyrun_sinet.config import SinetWeighterConfig
    from noisyrun_sinet.weighter import SinetWeighter

    prototypes = _sinet_prototypes(bank)
    weighter = SinetWeighter(SinetWeighterConfig())

    def work() -> Any:
        weighter.fit(bank, prototypes, NO_SIDE, phase(bank, "weighter.sinet"))
        return judged(weighter, bank, prototypes, NO_SIDE)

    def agrees(ours: Any, theirs: Any) -> None:
        close(0.999, 1e-4)(ours[0], theirs[0])
        assert (ours[1] == theirs[1]).mean() > 0.99  # the thresholds may be a bin apart

    vectors = array(prototypes.vectors[:, 0])
    return Case(
        work,
        reads=size_of(bank),
        # The other classes of the 40 % or so whose label looks doubtful.
        single=0.4 * 2 * len(bank) * bank.num_classes * bank.dim,
        naive=lambda features: naive.sinet_judge(features, bank.labels.single.numpy(), vectors),
        agrees=agrees,
    )
