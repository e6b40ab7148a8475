"""Label phases on 50,000 × 256 features, each beside the naive formula with the same drawn samples.

The floor is what the machine needs at best: to read the features once at its memory's pace, or to multiply the
matrices that cannot be avoided at its measured rate. There is no assertion on seconds: machines differ, ratios less.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import naive
import numpy as np
import pytest
import torch

from noisyrun.api import DenseRows, FeatureBank, Phase, Prototypes, SideInfo, Targets
from noisyrun.testing import make_bank, make_phase

smp = pytest.importorskip("noisyrun_smp.prototypes")
smp_corrector = pytest.importorskip("noisyrun_smp.corrector")
smp_config = pytest.importorskip("noisyrun_smp.config")

ROUNDS = 5
NO_SIDE = SideInfo()


@pytest.fixture(scope="module")
def bank(arrays: Any) -> FeatureBank:
    features, logits = (torch.from_numpy(a).float() for a in (arrays.features, arrays.logits))
    return make_bank(features, torch.from_numpy(arrays.labels), 10, logits=logits)


def smp_phase() -> Phase:
    return make_phase(0, "prototypes.smp")


def smp_builder() -> Any:
    return smp.SmpPrototypes(smp_config.SmpPrototypesConfig())


@pytest.fixture(scope="module")
def draws(bank: FeatureBank) -> list[Any]:
    """The samples that the plugin draws of each class."""
    return [smp.draw(bank.of_class(c), 1280, smp_phase().generator("class", c)).numpy() for c in range(10)]


@pytest.fixture(scope="module")
def prototypes(bank: FeatureBank) -> Prototypes:
    made: Prototypes = smp_builder()(bank, NO_SIDE, smp_phase())
    return made


def timed(benchmark: Any, group: str, side: str, work: Callable[[], Any], floor: float | None = None) -> Any:
    benchmark.group = group
    benchmark.extra_info.update({"side": side} if floor is None else {"side": side, "floor": floor})
    return benchmark.pedantic(work, rounds=ROUNDS, warmup_rounds=1)


def read_once(bank: FeatureBank, machine: Any) -> float:
    return 4 * len(bank) * bank.dim / float(machine.bandwidth)


# --- SMP ----------------------------------------------------------------------------------------------------------


def test_smp_prototypes(benchmark: Any, bank: FeatureBank, machine: Any) -> None:
    floor = bank.num_classes * 2 * 1280**2 * bank.dim / machine.double
    timed(benchmark, "SMP prototypes", "noisyrun", lambda: smp_builder()(bank, NO_SIDE, smp_phase()), floor)


def test_smp_prototypes_naive(benchmark: Any, arrays: Any, draws: list[Any], prototypes: Prototypes) -> None:
    found = timed(benchmark, "SMP prototypes", "base", lambda: naive.smp_prototypes(arrays.features, draws))
    assert prototypes.rows is not None
    assert [rows.tolist() for rows in found] == prototypes.rows.tolist()


def smp_labels(bank: FeatureBank, prototypes: Prototypes) -> torch.Tensor:
    corrector = smp_corrector.SmpCorrector(smp_config.SmpCorrectorConfig())
    made = [corrector(block, Targets.of(block.labels), prototypes, NO_SIDE).top for block in bank.blocks()]
    return torch.cat(made)


def test_smp_correction(benchmark: Any, bank: FeatureBank, prototypes: Prototypes, machine: Any) -> None:
    timed(benchmark, "SMP correction", "noisyrun", lambda: smp_labels(bank, prototypes), read_once(bank, machine))


def test_smp_correction_naive(benchmark: Any, arrays: Any, bank: FeatureBank, prototypes: Prototypes) -> None:
    assert prototypes.rows is not None
    rows = list(prototypes.rows.numpy())
    found = timed(benchmark, "SMP correction", "base", lambda: naive.smp_scores(arrays.features, rows).argmax(1))
    assert np.mean(found == smp_labels(bank, prototypes).numpy()) > 0.9999


# --- SINet --------------------------------------------------------------------------------------------------------


def sinet(module: str) -> Any:
    return pytest.importorskip(f"noisyrun_sinet.{module}")


@pytest.fixture(scope="module")
def relation() -> Any:
    """A class relation as SINet's side information gives it: 1 on the diagonal, less elsewhere."""
    other = np.random.default_rng(0).uniform(0.05, 0.3, (10, 10))
    return np.where(np.eye(10, dtype=bool), 1.0, (other + other.T) / 2)


def sinet_prototypes(bank: FeatureBank, relation: Any) -> Prototypes:
    builder = sinet("prototypes").SinetPrototypes(sinet("config").SinetPrototypesConfig())
    side = SideInfo(class_similarity=DenseRows(torch.from_numpy(relation).float()))
    made: Prototypes = builder(bank, side, make_phase(0, "prototypes.sinet"))
    return made


def test_sinet_prototypes(benchmark: Any, bank: FeatureBank, relation: Any, machine: Any) -> None:
    sinet("prototypes")
    floor = read_once(bank, machine)
    timed(benchmark, "SINet prototypes", "noisyrun", lambda: sinet_prototypes(bank, relation), floor)


def test_sinet_prototypes_naive(benchmark: Any, arrays: Any, bank: FeatureBank, relation: Any) -> None:
    def work() -> Any:
        return naive.sinet_prototypes(arrays.features, arrays.logits, arrays.labels, relation)

    found = timed(benchmark, "SINet prototypes", "base", work)
    ours = sinet_prototypes(bank, relation).vectors[:, 0].double().numpy()
    assert np.abs(ours - found).max() < 1e-3 * np.abs(found).max()


def sinet_weights(bank: FeatureBank, prototypes: Prototypes) -> torch.Tensor:
    weighter = sinet("weighter").SinetWeighter(sinet("config").SinetWeighterConfig())
    weighter.fit(bank, prototypes, NO_SIDE, make_phase(0, "weighter.sinet"))
    return torch.cat([weighter(b, b.observed, prototypes, NO_SIDE).weights for b in bank.blocks()])


def test_sinet_weights(benchmark: Any, bank: FeatureBank, prototypes: Prototypes, machine: Any) -> None:
    sinet("weighter")
    floor = read_once(bank, machine)
    timed(benchmark, "SINet weights, 8 prototypes", "noisyrun", lambda: sinet_weights(bank, prototypes), floor)


def test_sinet_weights_naive(benchmark: Any, arrays: Any, bank: FeatureBank, prototypes: Prototypes) -> None:
    assert prototypes.rows is not None
    vectors = [arrays.features[rows.numpy()] for rows in prototypes.rows]

    def work() -> Any:
        return naive.sinet_weight(naive.sinet_distance(arrays.features, arrays.labels, vectors))

    found = timed(benchmark, "SINet weights, 8 prototypes", "base", work)
    gap = np.abs(sinet_weights(bank, prototypes).double().numpy() - found)
    # A distance near 0 loses half its digits in float32: the prototypes themselves, 80 of 50,000.
    assert np.mean(gap < 1e-4) > 0.998
    assert gap.max() < 5e-3
