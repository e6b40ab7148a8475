"""Calibration, against a slow computation in float64 and cases worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from noisyrun.api import PAD
from noisyrun.report.calibration import BINS, Calibration

CPU = torch.device("cpu")


def told(*batches: tuple[Tensor, Tensor]) -> dict[str, float]:
    made = Calibration(CPU)
    for log_probs, truth in batches:
        made.add(log_probs, truth)
    return made.measures()


def slow_ece(cases: list[tuple[float, bool]]) -> float:
    """Cases of confidence and whether it holds, sorted into bins (lower, upper] by comparison alone."""
    error = 0.0
    for m in range(BINS):
        inside = [case for case in cases if m / BINS < case[0] <= (m + 1) / BINS or (m == 0 and case[0] == 0)]
        if inside:
            confident = sum(confidence for confidence, _ in inside) / len(inside)
            right = sum(hit for _, hit in inside) / len(inside)
            error += len(inside) / len(cases) * abs(confident - right)
    return error


@pytest.mark.parametrize("sharp", [0.5, 3.0, 30.0])
def test_one_label_agrees_with_counting_samples_one_by_one(sharp: float) -> None:
    draw = torch.Generator().manual_seed(0)
    logits = sharp * torch.randn(200, 4, generator=draw)
    truth = torch.randint(-1, 4, (200,), generator=draw)
    cases, nll, brier = [], 0.0, 0.0
    for row, y in zip(logits.double(), truth.tolist(), strict=True):
        if y == PAD:
            continue
        probs = (row.exp() / row.exp().sum()).tolist()
        cases.append((max(probs), probs.index(max(probs)) == y))
        nll -= math.log(probs[y])
        brier += sum((p - (c == y)) ** 2 for c, p in enumerate(probs))
    logs = logits.log_softmax(1)
    got = told((logs[:70], truth[:70]), (logs[70:], truth[70:]))
    want = {"ece": slow_ece(cases), "nll": nll / len(cases), "brier": brier / len(cases)}
    assert got == pytest.approx(want, rel=1e-5)


def test_several_labels_agree_with_counting_pairs_one_by_one() -> None:
    draw = torch.Generator().manual_seed(1)
    probs = torch.rand(40, 3, generator=draw, dtype=torch.float64)
    holds, known = (torch.rand(40, 3, generator=draw) < share for share in (0.4, 0.8))
    flat = zip(probs.flatten().tolist(), holds.flatten().tolist(), known.flatten().tolist(), strict=True)
    pairs = [(p, y) for p, y, seen in flat if seen]
    made = Calibration(CPU)
    nll = -torch.where(holds, probs, 1 - probs).log()
    for rows in torch.arange(40).split(16):
        made.add_pairs(probs[rows], nll[rows], holds[rows], known[rows])
    want = {
        "ece": slow_ece(pairs),
        "nll": -sum(math.log(p if y else 1 - p) for p, y in pairs) / len(pairs),
        "brier": sum((p - y) ** 2 for p, y in pairs) / len(pairs),
    }
    assert made.measures() == pytest.approx(want)


def test_one_label_by_hand() -> None:
    # 0.8 and right, 0.6 and wrong, in bins of their own: (0.2 + 0.6) / 2.
    got = told((torch.tensor([[0.8, 0.2], [0.6, 0.4]]).log(), torch.tensor([0, 1])))
    assert got["ece"] == pytest.approx(0.4)
    assert got["nll"] == pytest.approx(-(math.log(0.8) + math.log(0.4)) / 2)
    assert got["brier"] == pytest.approx((2 * 0.2**2 + 2 * 0.6**2) / 2)


def test_within_a_bin_too_high_and_too_low_make_up_for_each_other() -> None:
    # Both in (11/15, 12/15]: mean confidence 0.75, one of two right.
    logs = torch.tensor([[0.74, 0.26], [0.76, 0.24]], dtype=torch.float64).log()
    assert told((logs, torch.tensor([0, 1])))["ece"] == pytest.approx(0.25)


def test_certainty_is_perfect_when_it_is_right_and_infinitely_bad_when_not() -> None:
    sure = torch.tensor([[1.0, 0.0]]).log()
    assert told((sure, torch.tensor([0]))) == {"ece": 0, "nll": 0, "brier": 0}
    wrong = told((sure, torch.tensor([1])))
    assert wrong == {"ece": 1, "brier": 2}  # no mean of what is infinite


def test_what_is_not_known_is_not_measured() -> None:
    logs = torch.tensor([[0.8, 0.2]]).log()
    assert told((logs, torch.tensor([PAD]))) == {}
    assert told() == {}
