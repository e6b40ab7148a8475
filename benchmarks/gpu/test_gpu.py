"""The cases of `benchmarks/perf` on a GPU, and whether label phases give there what the naive formula gives."""

from __future__ import annotations

import pytest
import torch
from label_phase_cases import CASES, synthetic_bank
from label_phase_cases.case import all_features
from perf.test_extraction import test_feature_extraction
from perf.test_kmeans import test_kmeans_beside_scikit_learn
from perf.test_label_phase import bank, case, made, test_label_phase
from perf.test_loader import test_augmenting_images_in_memory, test_decoding_and_augmenting
from perf.test_loop import test_epoch

__all__ = [
    "bank",
    "case",
    "made",
    "test_augmenting_images_in_memory",
    "test_decoding_and_augmenting",
    "test_epoch",
    "test_feature_extraction",
    "test_kmeans_beside_scikit_learn",
    "test_label_phase",
]


@pytest.mark.parametrize("name", CASES)
def test_gives_what_the_naive_form_gives(benchmark, device, name):
    small = synthetic_bank(5_000, 64, 10, device)
    with torch.no_grad():
        one = CASES[name](small)
        ours = benchmark.pedantic(one.work, rounds=1)
        one.agrees(ours, one.naive(all_features(small)))
