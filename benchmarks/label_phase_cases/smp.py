"""Han, Luo, Wang: Deep Self-Learning From Noisy Labels, ICCV 2019."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import naive
import numpy as np
from torch import Tensor

from label_phase_cases.case import NO_SIDE, Case, array, by_row, close, phase, size_of
from noisyrun.api import FeatureBank, Prototypes, Targets


def _smp_builder() -> Any:
    from noisyrun_smp.config import SmpPrototypesConfig
    from noisyrun_smp.prototypes import SmpPrototypes

    return SmpPrototypes(SmpPrototypesConfig())


def _smp_prototypes(bank: FeatureBank) -> Prototypes:
    made: Prototypes = _smp_builder()(bank, NO_SIDE, phase(bank, "prototypes.smp"))
    return made


def prototypes(bank: FeatureBank) -> Case:
    from noisyrun_smp.prototypes import draw

    sizes = bank.class_counts().clamp(max=1280).double()

    def formula(features: Any) -> Any:
        one = phase(bank, "prototypes.smp")
        draws = [draw(bank.of_class(c), 1280, one.generator("class", c)).numpy() for c in range(bank.num_classes)]
        return np.stack(naive.smp_prototypes(features, draws))

    return Case(
        lambda: array(_smp_prototypes(bank).rows),
        reads=float(4 * sizes.sum() * bank.dim),
        # Half of a symmetric matrix: the other half is the same.
        double=float(sizes.square().sum() * bank.dim),
        naive=formula,
        agrees=lambda ours, theirs: np.testing.assert_array_equal(ours, theirs),
    )


def corrector(bank: FeatureBank) -> Case:
    from noisyrun_smp.config import SmpCorrectorConfig
    from noisyrun_smp.corrector import SmpCorrector

    prototypes = _smp_prototypes(bank)
    assert prototypes.rows is not None
    chosen = list(array(prototypes.rows))
    labels = bank.labels.single.numpy()

    def parts() -> Iterator[tuple[Tensor, ...]]:
        corrector = SmpCorrector(SmpCorrectorConfig())
        for block in bank.blocks():
            made = corrector(block, Targets.of(block.labels), prototypes, NO_SIDE)
            assert made.confidence is not None
            yield made.top, made.confidence

    def work() -> Any:
        return [array(one) for one in by_row(len(bank), parts())]

    def formula(features: Any) -> Any:
        scores = naive.smp_scores(features, chosen)
        return scores.argmax(1), np.abs(naive.smp_margin(scores, labels))

    def agrees(ours: Any, theirs: Any) -> None:
        assert (ours[0] == theirs[0]).mean() > 0.9999
        close(0.9999, 1e-4)(ours[1], theirs[1])

    n, c, d = len(bank), bank.num_classes, bank.dim
    return Case(work, reads=size_of(bank), single=2 * n * c * d, naive=formula, agrees=agrees)
