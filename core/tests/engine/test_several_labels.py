"""Several labels a sample, some of them missing: the loss against a slow loop in float64, and what a step is given."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from noisyrun.api import PAD, Labels, Stage, Targets, Task
from noisyrun.api.side_info import Text
from noisyrun.data.pairs import padded
from noisyrun.data.samples import Samples, no_labels
from noisyrun.engine.corrections import corrected_labels, standing, taken_away
from noisyrun.engine.label_state import LabelState
from noisyrun.engine.loss import step_loss
from noisyrun.engine.tables import LabelTables

N, C = 6, 5


def listed(mask: torch.Tensor) -> torch.Tensor:
    rows, classes = mask.nonzero(as_tuple=True)
    return padded(rows, classes, len(mask))


def bce(x: float, t: float, smoothing: float) -> float:
    t = (1 - smoothing) * t + smoothing / 2
    p = 1 / (1 + math.exp(-x))
    return -t * math.log(p) - (1 - t) * math.log(1 - p)


def slow(logits, labels, targets, weights, target_weights, mask, smoothing):  # type: ignore[no-untyped-def]
    """The mean over samples of which anything is known; of each the mean over the classes that are, in their shares."""

    def part(i: int, classes: list[int], values: list[float], weigh: list[float], known: list[int]) -> float:
        total = 0.0
        for c in known:
            at = classes.index(c) if c in classes else None
            value, weight = (0.0, 1.0) if at is None else (values[at], weigh[at])
            total += weight * bce(float(logits[i, c]), value, smoothing)
        return total / max(1, len(known))

    def of(given: torch.Tensor | None, i: int) -> list[int]:
        return list(range(C)) if given is None else sorted(set(given[i].tolist()) - {PAD})

    total, count = 0.0, 0
    for i in range(len(logits)):
        alpha = float(targets.alpha[i])
        seen, made = of(labels.known, i), of(targets.known, i)
        if not mask[i] or not (seen or (alpha > 0 and made)):
            continue
        count += 1
        ones = [1.0] * labels.classes.shape[1]
        total += (1 - alpha) * part(i, labels.classes[i].tolist(), ones, weights[i].tolist(), seen)
        total += alpha * part(
            i, targets.classes[i].tolist(), targets.values[i].tolist(), target_weights[i].tolist(), made
        )
    return total / max(1, count)


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1]), st.booleans(), st.booleans())
@settings(max_examples=50, deadline=None)
def test_the_loss_with_missing_labels_is_that_of_the_slow_loop(
    seed: int, smoothing: float, partial: bool, corrected_partial: bool
) -> None:
    draw = torch.Generator().manual_seed(seed)

    def chance(share: float) -> torch.Tensor:
        return torch.rand(N, C, generator=draw) < share

    def amounts(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=draw, dtype=torch.float64)

    logits = 3 * torch.randn(N, C, generator=draw, dtype=torch.float64)
    known, again = chance(0.5), chance(0.5)
    labels = Labels(listed(chance(0.4) & (known | (not partial))), listed(known) if partial else None)
    classes = listed(chance(0.5) & (again | (not corrected_partial)))
    values = amounts(*classes.shape) * (classes != PAD)
    alpha = amounts(N) * (amounts(N) > 0.3)
    targets = Targets(classes, values, alpha, None, listed(again) if corrected_partial else None)
    weights, target_weights = 2 * amounts(*labels.classes.shape), 2 * amounts(*classes.shape)
    mask = amounts(N) > 0.2
    given = (logits, labels, targets, weights, target_weights, mask)
    made = step_loss(*given, loss="binary-cross-entropy", multi=True, smoothing=smoothing)
    assert float(made) == pytest.approx(slow(*given, smoothing), rel=1e-9, abs=1e-12)


def test_what_is_left_of_an_observed_label_by_hand() -> None:
    labels = Labels(torch.tensor([[0, 1], [2, PAD]]))
    targets = Targets(
        torch.tensor([[1, 3], [2, 0]]), torch.tensor([[0.5, 0.75], [1.0, 0.25]]), torch.tensor([0.5, 0.0])
    )
    # Class 0 is in no target: half of it is left. Class 1 keeps 1/2 + 1/2 · 1/2. The second sample is not corrected.
    assert standing(labels, targets).tolist() == [[0.5, 0.75], [1.0, 1.0]]
    after = corrected_labels(labels, targets, multi=True)
    assert [sorted(set(row) - {PAD}) for row in after.classes.tolist()] == [[1, 3], [2]]
    assert taken_away(labels, after).tolist() == [[True, False], [False, False]]


def samples() -> Samples:
    """Four samples, of which the second and third have trusted labels: one pair each, and none that holds."""
    task = Task(("a", "b", "c"), "multi", "binary-cross-entropy")
    return Samples(
        task=task,
        index=torch.arange(4),
        labels=Labels(torch.tensor([[0], [1], [2], [0]])),
        verified=torch.full((4,), -1, dtype=torch.int8),
        verified_held=torch.zeros(4, dtype=torch.bool),
        trusted=no_labels(4),
        clean=torch.tensor([False, True, True, False]),
        text=Text(task.classes),
        features=torch.zeros(4, 2),
    )


def loss_of(given: Samples, positions: list[int], logits: torch.Tensor) -> float:
    """The loss of a step of a stage that trains on trusted labels."""
    stage = Stage(name="tune", epochs=1, targets="trusted")
    tables = LabelTables(given, LabelState.initial(given.labels), stage, torch.device("cpu"))
    rows = torch.tensor(positions)
    step = tables.step(rows, torch.ones(len(rows), dtype=torch.bool), None, for_parts=False)
    made = step_loss(logits, step.labels, mask=step.mask, loss="binary-cross-entropy", multi=True)
    return float(made)


def test_trusted_labels_of_a_sample_outside_the_clean_subset_say_nothing() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert loss_of(samples(), [0, 3], logits[:2]) == 0
    # No class holds for either clean sample: three softplus terms each.
    want = float(torch.nn.functional.softplus(logits[1:3]).mean())
    assert loss_of(samples(), [0, 1, 2, 3], logits) == pytest.approx(want)


def test_a_trusted_pair_trains_its_own_class_alone() -> None:
    known = torch.tensor([[PAD], [2], [0], [PAD]])
    given = replace(samples(), trusted=Labels(torch.tensor([[PAD], [2], [PAD], [PAD]]), known))
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    want = (bce(float(logits[1, 2]), 1.0, 0.0) + bce(float(logits[2, 0]), 0.0, 0.0)) / 2
    assert loss_of(given, [0, 1, 2, 3], logits) == pytest.approx(want)
