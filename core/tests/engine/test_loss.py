"""The loss of a step against a slow loop in float64, and against cases worked by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from noisyrun.api import PAD, Labels, Targets
from noisyrun.engine.loss import counted, step_loss

NAMES = ("cross-entropy", "binary-cross-entropy")


def slow_single(logits, observed, targets, weights, target_weights, mask, loss, smoothing):
    """Σ_i [(1−α)·w(y)·ℓ(y) + α·Σ_k v_k·w(ŷ_k)·ℓ(ŷ_k)] / B, one sample and one class at a time."""

    def one(row, k):
        classes = len(row)
        if loss == "cross-entropy":
            total = math.log(sum(math.exp(x) for x in row))
            given = [total - x for x in row]
            return (1 - smoothing) * given[k] + smoothing * sum(given) / classes
        total = 0.0
        for c, x in enumerate(row):
            t = (1 - smoothing) * float(c == k) + smoothing / 2
            p = 1 / (1 + math.exp(-x))
            total -= t * math.log(p) + (1 - t) * math.log(1 - p)
        return total / classes

    total, count = 0.0, 0
    for i, row in enumerate(logits.tolist()):
        alpha = float(targets.alpha[i]) if targets is not None else 0.0
        known = observed[i] != PAD
        corrected = alpha > 0 and targets is not None and any(k != PAD for k in targets.classes[i].tolist())
        if not mask[i] or not (known or corrected):
            continue
        count += 1
        if known:
            total += (1 - alpha) * float(weights[i, 0]) * one(row, int(observed[i]))
        for slot, k in enumerate(targets.classes[i].tolist() if targets is not None else []):
            if k != PAD:
                total += alpha * float(targets.values[i, slot]) * float(target_weights[i, slot]) * one(row, k)
    return total / max(1, count)


@given(st.integers(0, 10_000), st.sampled_from(NAMES), st.sampled_from([0.0, 0.1]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_single_label_loss_is_that_of_the_slow_loop(seed, loss, smoothing, corrected):
    draw = torch.Generator().manual_seed(seed)
    n, c, k = 7, 5, 3
    logits = 3 * torch.randn(n, c, generator=draw, dtype=torch.float64)
    observed = torch.randint(-1, c, (n,), generator=draw)
    mask = torch.rand(n, generator=draw) > 0.2
    weights = torch.rand(n, 1, generator=draw, dtype=torch.float64) * 2
    target_weights = torch.rand(n, k, generator=draw, dtype=torch.float64) * 2
    classes = torch.stack([torch.randperm(c, generator=draw)[:k] for _ in range(n)])
    values = torch.rand(n, k, generator=draw, dtype=torch.float64)
    classes[0, 2], values[0, 2] = PAD, 0.0
    values = values / values.sum(1, keepdim=True)
    alpha = torch.rand(n, generator=draw, dtype=torch.float64) * (torch.rand(n, generator=draw) > 0.3)
    targets = Targets(classes, values, alpha) if corrected else None
    made = step_loss(
        logits, Labels.of(observed), targets, weights, target_weights, mask, loss=loss, smoothing=smoothing
    )
    want = slow_single(logits, observed, targets, weights, target_weights, mask, loss, smoothing)
    assert float(made) == pytest.approx(want, rel=1e-9, abs=1e-12)


def test_a_case_worked_by_hand():
    # Two classes with logits (0, ln 3): p = (1/4, 3/4), so ℓ(0) = ln 4 and ℓ(1) = ln 4/3.
    logits = torch.tensor([[0.0, math.log(3.0)]])
    targets = Targets(torch.tensor([[1]]), torch.tensor([[1.0]]), torch.tensor([0.25]))
    made = step_loss(logits, Labels.of(torch.tensor([0])), targets, torch.tensor([[0.5]]), torch.tensor([[2.0]]))
    want = 0.75 * 0.5 * math.log(4) + 0.25 * 2.0 * math.log(4 / 3)
    assert float(made) == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_weights_and_corrections_it_is_torchs_cross_entropy(smoothing):
    logits, labels = torch.randn(8, 4), torch.randint(0, 4, (8,))
    made = step_loss(logits, Labels.of(labels), smoothing=smoothing)
    want = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    torch.testing.assert_close(made, want)


def test_multi_label_loss_counts_known_classes_alone_and_weighs_the_listed_ones():
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.2, -1.0]], dtype=torch.float64)
    # The first sample has class 0 (weight 3) and is known not to have class 2; nothing is known of class 1.
    labels = Labels(torch.tensor([[0], [PAD]]), torch.tensor([[0, 2], [PAD, PAD]]))
    weights = torch.tensor([[3.0], [1.0]], dtype=torch.float64)
    made = step_loss(logits, labels, weights=weights, loss="binary-cross-entropy", multi=True)
    has, has_not = math.log1p(math.exp(-1.0)), math.log1p(math.exp(0.5))
    # The second sample is known in no class: it is no part of the mean.
    assert float(made) == pytest.approx((3 * has + has_not) / 2)


def test_multi_label_loss_mixes_observed_and_corrected_values():
    logits = torch.randn(4, 6, dtype=torch.float64)
    labels = Labels(torch.tensor([[0, 1], [2, PAD], [PAD, PAD], [5, 3]]))
    classes = torch.tensor([[0, 4], [3, PAD], [1, 2], [5, PAD]])
    values = torch.tensor([[0.9, 0.4], [1.0, 0.0], [0.5, 0.25], [1.0, 0.0]])
    alpha = torch.tensor([0.5, 0.0, 1.0, 0.25])
    made = step_loss(logits, labels, Targets(classes, values, alpha), loss="binary-cross-entropy", multi=True)
    want = 0.0
    for i in range(4):
        seen, soft = torch.zeros(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
        for k in labels.classes[i].tolist():
            if k != PAD:
                seen[k] = 1
        for k, v in zip(classes[i].tolist(), values[i].tolist()):
            if k != PAD:
                soft[k] = v
        a = float(alpha[i])
        want += (1 - a) * float(functional.binary_cross_entropy_with_logits(logits[i], seen))
        want += a * float(functional.binary_cross_entropy_with_logits(logits[i], soft))
    assert float(made) == pytest.approx(want / 4, rel=1e-6)


def test_several_labels_under_cross_entropy_share_a_sample_evenly():
    logits = torch.randn(2, 3)
    made = step_loss(logits, Labels(torch.tensor([[0, 2], [1, PAD]])), multi=True)
    logp = logits.log_softmax(1)
    want = -(0.5 * (logp[0, 0] + logp[0, 2]) + logp[1, 1]) / 2
    torch.testing.assert_close(made, want)


@pytest.mark.parametrize("loss", NAMES)
def test_padding_and_unknown_labels_give_no_gradient(loss):
    logits = torch.randn(3, 4, requires_grad=True)
    labels = Labels.of(torch.tensor([1, PAD, 2]))
    step_loss(logits, labels, mask=torch.tensor([True, True, False]), loss=loss).backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().sum() > 0
    assert logits.grad[1:].abs().sum() == 0


def test_a_batch_without_labels_has_loss_zero():
    logits = torch.randn(2, 3, requires_grad=True)
    loss = step_loss(logits, Labels.of(torch.tensor([PAD, PAD])))
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_half_precision_logits_are_computed_in_float32():
    logits = torch.randn(4, 3).bfloat16()
    assert step_loss(logits, Labels.of(torch.tensor([0, 1, 2, 0]))).dtype == torch.float32


@pytest.mark.parametrize(("multi", "loss"), [(False, "cross-entropy"), (True, "binary-cross-entropy")])
@pytest.mark.parametrize("corrected", [False, True])
def test_the_losses_of_parts_add_up_to_that_of_the_batch(multi, loss, corrected):
    draw = torch.Generator().manual_seed(3)
    logits = torch.randn(9, 4, generator=draw)
    classes = torch.randint(-1, 4, (9, 2 if multi else 1), generator=draw)
    known = torch.where(torch.rand(9, 4, generator=draw) < 0.4, torch.arange(4), PAD) if multi else None
    labels = Labels(classes, known)
    targets = Targets.hard(torch.randint(0, 4, (9,), generator=draw), 0.3) if corrected else None
    mask = torch.arange(9) % 4 != 1
    options = {"loss": loss, "multi": multi}
    whole = step_loss(logits, labels, targets, mask=mask, **options)
    count = counted(labels, targets, mask, num_classes=4, **options).sum()
    parts = [torch.arange(9)[start::3] for start in range(3)]
    apart = [
        step_loss(
            logits[rows],
            labels.take(rows),
            None if targets is None else targets.take(rows),
            mask=mask[rows],
            count=count / len(parts),
            **options,
        )
        for rows in parts
    ]
    torch.testing.assert_close(torch.stack(apart).mean(), whole)
