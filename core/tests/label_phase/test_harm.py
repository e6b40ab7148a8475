"""The warning that corrections look harmful."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from phase_fakes import NO_SIDE, Fixed
from torch import Tensor

from noisyrun.api import PAD, Labels, Targets
from noisyrun.config.settings import RunSettings
from noisyrun.engine.harm import correction_support, noise_rate, verified_accuracy
from noisyrun.engine.label_phase import run_label_phase
from noisyrun.methods import Methods
from noisyrun.testing import make_bank, make_phase

N, C = 2000, 10


def noisy(rate: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Observed labels with a share of wrong ones, and the true ones."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.arange(N) % C
    flip = torch.rand(N, generator=draw) < rate
    other = (truth + torch.randint(1, C, (N,), generator=draw)) % C
    return torch.where(flip, other, truth), truth


def corrected(truth: Tensor, right: float, seed: int = 1) -> Tensor:
    """Labels of which a share is right."""
    draw = torch.Generator().manual_seed(seed)
    lost = torch.rand(N, generator=draw) >= right
    return torch.where(lost, (truth + torch.randint(1, C, (N,), generator=draw)) % C, truth)


def posterior(truth: Tensor, top: float, seed: int = 2, noise: float = 0.3) -> Tensor:
    """Logits of a classifier that gives the true class `top` on average, and the others the rest."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(N, C, generator=draw) * noise
    logits[torch.arange(N), truth] += torch.log(torch.tensor(top * (C - 1) / (1 - top)))
    return logits


def warnings_of(observed: Tensor, now: Tensor, logits: Tensor, **known: Any) -> tuple[list[str], dict[str, float]]:
    bank = make_bank(torch.ones(N, 1), observed, C, logits=logits, **known)
    lines: list[str] = []
    methods = Methods(correctors=(Fixed(Targets.hard(now, 0.5)),))
    state = run_label_phase(bank, methods, NO_SIDE, make_phase(), RunSettings(), None, lines.append)
    return lines, dict(state.metrics)


def verification(observed: Tensor, truth: Tensor, share: float = 0.1) -> Tensor:
    drawn = torch.rand(N, generator=torch.Generator().manual_seed(3)) < share
    return torch.where(drawn, (observed == truth).to(torch.int8), torch.tensor(-1, dtype=torch.int8))


def test_verified_samples_show_corrections_that_do_harm() -> None:
    observed, truth = noisy(0.4)
    lines, numbers = warnings_of(
        observed, corrected(truth, 0.25), posterior(truth, 0.6), verified=verification(observed, truth)
    )
    assert len(lines) == 1
    assert "corrected labels look worse than the observed ones" in lines[0]
    assert numbers["verified_accuracy_before"] == pytest.approx(0.6, abs=0.05)
    assert numbers["verified_accuracy_after"] == pytest.approx(0.25, abs=0.07)


def test_verified_samples_clear_corrections_that_help_however_many_there_are() -> None:
    observed, truth = noisy(0.4)
    # The classifier memorised its labels, and would cry wolf; verified samples know better.
    memorised = posterior(observed, 0.99)
    lines, numbers = warnings_of(observed, corrected(truth, 0.85), memorised, verified=verification(observed, truth))
    assert lines == []
    assert numbers["verified_accuracy_after"] == pytest.approx(0.85, abs=0.06)


def test_held_out_verification_labels_are_asked_first() -> None:
    observed, truth = noisy(0.4)
    verified = verification(observed, truth, 0.4)
    held = torch.arange(N) < N // 2
    bad = torch.where(held, corrected(truth, 0.1), observed)
    lines, _ = warnings_of(observed, bad, posterior(truth, 0.6), verified=verified, held=held)
    assert "worse than the observed" in lines[0]
    good = torch.where(held, observed, corrected(truth, 0.1))
    lines, numbers = warnings_of(observed, good, posterior(truth, 0.6), verified=verified, held=held)
    assert lines == []
    assert numbers["verified_accuracy_after"] == pytest.approx(numbers["verified_accuracy_before"])


def test_what_verification_labels_tell_by_hand() -> None:
    verified = torch.tensor([1, 1, 1, 1, 0, 0, -1], dtype=torch.int8)
    changes = torch.tensor([True, False, False, False, True, False, True])
    # Right: 4 of 6. One right label is lost, 3 of 4 are kept; of 2 wrong ones 1 is changed, and 0.75 · 2 = 1.5 > 1.
    before, after, z = verified_accuracy(verified, changes)
    assert before == pytest.approx(4 / 6)
    assert after == pytest.approx((3 + 1) / 6)
    assert z == 0


def test_a_few_verified_samples_prove_nothing() -> None:
    observed, truth = noisy(0.4)
    verified = torch.full((N,), -1, dtype=torch.int8)
    right = (observed == truth).nonzero()[:2, 0]
    verified[right] = 1
    now = observed.clone()
    now[right] = (now[right] + 1) % C
    lines, _ = warnings_of(observed, now, posterior(truth, 0.6), verified=verified)
    assert lines == []


def test_without_verification_far_more_changes_than_noise_are_warned_of() -> None:
    observed, truth = noisy(0.1)
    lines, numbers = warnings_of(observed, corrected(truth, 0.3), posterior(truth, 0.8))
    assert numbers["estimated_noise"] == pytest.approx(0.1, abs=0.03)
    assert len(lines) == 1
    assert "of the labels were changed" in lines[0]


def test_as_many_changes_as_there_is_noise_are_not() -> None:
    observed, truth = noisy(0.4)
    lines, numbers = warnings_of(observed, corrected(truth, 0.9), posterior(truth, 0.55))
    assert lines == []
    assert numbers["estimated_noise"] == pytest.approx(0.4, abs=0.05)


def test_a_weak_classifier_that_calls_everything_noise_does_not_hide_harm() -> None:
    observed, truth = noisy(0.4)
    weak = posterior(truth, 0.13, noise=0.4)
    lines, numbers = warnings_of(observed, corrected(truth, 0.15), weak)
    assert numbers["estimated_noise"] > 0.6
    assert len(lines) == 1
    assert "to classes that the classifier itself gives only" in lines[0]


def test_the_warning_can_be_switched_off() -> None:
    observed, truth = noisy(0.1)
    bank = make_bank(torch.ones(N, 1), observed, C, logits=posterior(truth, 0.8))
    methods = Methods(correctors=(Fixed(Targets.hard(corrected(truth, 0.3), 0.5)),))
    lines: list[str] = []
    settings = RunSettings(corrections={"warn": False})  # type: ignore[arg-type]
    run_label_phase(bank, methods, NO_SIDE, make_phase(), settings, None, lines.append)
    assert lines == []


def test_noise_is_counted_as_confident_learning_counts_it() -> None:
    observed, truth = noisy(0.3)
    observed[5] = PAD
    logits = posterior(truth, 0.5, noise=1.0)
    bank = make_bank(torch.ones(N, 1), observed, C, logits=logits)
    probs = logits.softmax(1)
    given = (observed != PAD).nonzero()[:, 0].tolist()
    threshold = [probs[observed == c, c].mean() for c in range(C)]
    joint = torch.zeros(C, C)
    for i in given:
        above = [c for c in range(C) if probs[i, c] >= threshold[c]]
        if above:
            joint[observed[i], max(above, key=lambda c: float(probs[i, c]))] += 1
    sizes = torch.bincount(observed[given], minlength=C).float()
    wrong = (joint.sum(1) - joint.diagonal()) / joint.sum(1)
    assert noise_rate(bank) == pytest.approx(float((wrong * sizes).sum() / sizes.sum()), abs=1e-6)


def test_noise_of_classes_without_samples_is_none() -> None:
    bank = make_bank(torch.eye(4), [0, 0, 1, 1], 5, logits=torch.eye(5)[[0, 0, 1, 1]] * 9)
    assert noise_rate(bank) == 0


def test_support_is_the_mean_probability_of_the_new_labels() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 3.0], [1.0, 0.0, 0.0]])
    bank = make_bank(torch.eye(3), [1, 2, 0], 3, logits=logits)
    probs = logits.softmax(1)
    changes = torch.tensor([True, False, True])
    got = correction_support(bank, changes, torch.tensor([0, 2, 1]))
    assert got == pytest.approx(float((probs[0, 0] + probs[2, 1]) / 2))


def test_harm_of_multi_label_corrections_is_judged_by_verification_alone() -> None:
    labels = torch.tensor([[0, 1]] * 50)
    bank = make_bank(torch.ones(50, 1), labels, 3, multi=True)
    now = Targets(torch.full((50, 1), 2), torch.ones(50, 1), torch.ones(50))
    lines: list[str] = []
    run_label_phase(
        bank, Methods(correctors=(Fixed(now),)), NO_SIDE, make_phase(), RunSettings(), Labels(labels), lines.append
    )
    assert lines == []
