"""Measures, each against a slow independent computation and a case worked by hand."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from noisyrun.api import PAD, Labels
from noisyrun.report import metrics


def draws(n: int = 40, seed: int = 0, ties: bool = True) -> tuple[Tensor, Tensor]:
    """Scores, with ties, and whether each label is truly wrong."""
    draw = torch.Generator().manual_seed(seed)
    score = torch.rand(n, generator=draw)
    return ((score * 10).round() / 10 if ties else score), torch.rand(n, generator=draw) < 0.4


def slow_auroc(score: Tensor, wrong: Tensor) -> float:
    """How often a wrong label has the lower score of a pair; half for a tie."""
    pairs = list(itertools.product(score[wrong].tolist(), score[~wrong].tolist()))
    return sum(1.0 if bad < good else 0.5 if bad == good else 0.0 for bad, good in pairs) / len(pairs)


def slow_average_precision(suspicion: list[float], positive: list[bool]) -> float:
    """Σ (R_k − R_{k−1}) · P_k over the distinct thresholds, highest first."""
    area = recall = 0.0
    for threshold in sorted(set(suspicion), reverse=True):
        kept = [p for s, p in zip(suspicion, positive) if s >= threshold]
        new = sum(kept) / sum(positive)
        area += (new - recall) * sum(kept) / len(kept)
        recall = new
    return area


def slow_best_f1(score: list[float], wrong: list[bool]) -> float:
    """F1 of the best of all thresholds: all labels up to a score are called wrong."""
    found = []
    for threshold in set(score):
        hits = sum(w for s, w in zip(score, wrong) if s <= threshold)
        found.append(2 * hits / (sum(s <= threshold for s in score) + sum(wrong)))
    return max(found)


@pytest.mark.parametrize("seed", range(4))
def test_detection_agrees_with_counting_pairs_and_thresholds(seed: int) -> None:
    score, wrong = draws(seed=seed)
    decided = score < 0.5
    got = metrics.detection(score, decided, wrong)
    assert got["auroc"] == pytest.approx(slow_auroc(score, wrong))
    assert got["average_precision"] == pytest.approx(slow_average_precision((-score).tolist(), wrong.tolist()))
    hits = int((decided & wrong).sum())
    assert got["f1"] == pytest.approx(2 * hits / (int(decided.sum()) + int(wrong.sum())))
    assert got["precision"] == pytest.approx(hits / int(decided.sum()))
    assert got["recall"] == pytest.approx(hits / int(wrong.sum()))
    assert got["noise_rate"] == pytest.approx(int(wrong.sum()) / len(wrong))
    suspects = sorted(range(len(score)), key=lambda i: (float(score[i]), i))[: int(wrong.sum())]
    assert got["precision_at_noise_rate"] == pytest.approx(sum(wrong[suspects].tolist()) / len(suspects))
    assert got["best_f1"] == pytest.approx(slow_best_f1(score.tolist(), wrong.tolist()))


def test_detection_by_hand() -> None:
    # From the most suspicious: wrong, right, wrong, right. Pairs in order: 3 of 4. AP = (1/1 + 2/3) / 2.
    score = torch.tensor([0.1, 0.2, 0.3, 0.9])
    wrong = torch.tensor([True, False, True, False])
    got = metrics.detection(score, torch.tensor([True, True, False, False]), wrong)
    assert got["auroc"] == pytest.approx(0.75)
    assert got["average_precision"] == pytest.approx(5 / 6)
    assert (got["f1"], got["precision"], got["recall"]) == (0.5, 0.5, 0.5)
    assert got["precision_at_noise_rate"] == 0.5  # of the two most suspicious, one
    assert got["best_f1"] == pytest.approx(0.8)  # up to 0.3: two of three, and both found
    assert "class_error" not in got


def test_of_equal_scores_the_earlier_label_is_the_more_suspicious() -> None:
    score = torch.zeros(4)
    first = metrics.detection(score, None, torch.tensor([True, False, False, False]))
    last = metrics.detection(score, None, torch.tensor([False, False, False, True]))
    assert (first["precision_at_noise_rate"], last["precision_at_noise_rate"]) == (1, 0)
    # A threshold cannot part them.
    assert first["best_f1"] == last["best_f1"] == pytest.approx(2 / 5)


def test_the_average_error_over_classes_counts_each_class_once() -> None:
    classes = torch.tensor([0, 0, 0, 0, 2, 2])
    wrong = torch.tensor([True, False, False, False, True, False])
    decided = torch.tensor([False, False, False, False, True, True])
    # Class 0: one mistake of four. Class 1 does not occur. Class 2: one of two.
    got = metrics.detection(torch.rand(6), decided, wrong, classes)
    assert got["class_error"] == pytest.approx((1 / 4 + 1 / 2) / 2)


def test_f1_never_takes_a_threshold_of_the_score() -> None:
    score, wrong = draws()
    got = metrics.detection(score, None, wrong, torch.zeros(len(wrong), dtype=torch.int64))
    assert not {"f1", "precision", "recall", "class_error"} & got.keys()


def test_a_decision_that_finds_nothing_has_f1_of_0() -> None:
    score, wrong = draws()
    assert metrics.detection(score, torch.zeros_like(wrong), wrong)["f1"] == 0


@pytest.mark.parametrize("all_wrong", [True, False])
def test_ranking_is_not_measured_where_there_is_nothing_to_rank(all_wrong: bool) -> None:
    got = metrics.detection(torch.rand(5), None, torch.full((5,), all_wrong))
    assert got == {"noise_rate": float(all_wrong)}
    assert metrics.detection(torch.rand(0), None, torch.zeros(0, dtype=torch.bool)) == {}


def test_label_accuracy_counts_known_truths_alone() -> None:
    labels, truth = torch.tensor([0, 1, 2, PAD, 1]), torch.tensor([0, 2, 2, 1, PAD])
    assert metrics.label_accuracy(labels, truth) == pytest.approx(2 / 4)
    assert metrics.label_accuracy(labels, torch.full((5,), PAD)) is None


def test_a_sample_is_wrong_when_its_label_is_not_the_true_one() -> None:
    observed, truth = Labels.of(torch.tensor([0, 1, PAD, 2])), Labels.of(torch.tensor([0, 2, 1, PAD]))
    wrong, known = metrics.truly_wrong(observed, truth)
    assert known.tolist() == [True, True, False, False]
    assert wrong[known].tolist() == [False, True]


def test_a_multi_label_sample_is_wrong_when_a_class_it_is_said_to_have_is_known_to_be_absent() -> None:
    observed = Labels(torch.tensor([[0, 1], [0, 2], [1, PAD], [PAD, PAD]]))
    truth = Labels(
        torch.tensor([[0, 1], [0, PAD], [PAD, PAD], [0, PAD]]), torch.tensor([[0, 1], [0, 2], [0, PAD], [0, 1]])
    )
    wrong, known = metrics.truly_wrong(observed, truth)
    assert wrong.tolist() == [False, True, False, False]
    assert known.tolist() == [True, True, False, False]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_multi_label_accuracy_counts_known_pairs(size: int) -> None:
    labels = Labels(torch.tensor([[0, 1], [2, PAD], [PAD, PAD]]))
    truth = Labels(torch.tensor([[0, PAD], [2, 1], [1, PAD]]), torch.tensor([[0, 1], [2, PAD], [0, 1]]))
    # Sample 0: class 0 right, 1 wrong. Sample 1: class 2 right. Sample 2: class 0 right (absent), 1 wrong.
    assert metrics.multi_label_accuracy(labels, truth, 3, size) == pytest.approx(3 / 5)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_agrees_with_sorting_each_row(k: int) -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 5, (50, 7), generator=draw).float()
    truth = torch.randint(0, 7, (50,), generator=draw)
    hits = [int(truth[i]) in sorted(range(7), key=lambda c: (-float(logits[i, c]), c))[:k] for i in range(50)]
    assert metrics.top_k(logits, truth, k) == pytest.approx(sum(hits) / 50)


def test_top_k_by_hand() -> None:
    logits = torch.tensor([[3.0, 2, 1], [1, 2, 3], [0, 9, 1]])
    truth = torch.tensor([1, 2, PAD])
    assert metrics.top_k(logits, truth, 1) == pytest.approx(0.5)
    assert metrics.top_k(logits, truth, 2) == 1
    assert metrics.top_k(logits, torch.full((3,), PAD)) is None


def test_mean_average_precision_by_hand_leaves_out_classes_without_a_positive() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.8, 0.7, 0.5], [0.1, 0.9, 0.5]])
    labels = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 0]]).bool()
    # Class 0: hits at ranks 1 and 3: (1 + 2/3) / 2. Class 1: at 1 and 3, the same. Class 2: none.
    assert metrics.mean_average_precision(scores, labels) == pytest.approx(5 / 6)
    # Without the last sample: class 0 at rank 1: 1. Class 1: at rank 2: 1/2.
    known = torch.tensor([[1, 1, 1], [1, 1, 1], [0, 0, 1]]).bool()
    assert metrics.mean_average_precision(scores, labels, known) == pytest.approx(0.75)
    assert metrics.mean_average_precision(scores, torch.zeros(3, 3).bool()) is None


@pytest.mark.parametrize("masked", [True, False])
def test_mean_average_precision_agrees_with_counting_thresholds(masked: bool) -> None:
    draw = torch.Generator().manual_seed(1)
    scores = torch.randint(0, 6, (30, 4), generator=draw).float()
    labels = torch.rand(30, 4, generator=draw) < 0.3
    known = torch.rand(30, 4, generator=draw) < 0.7 if masked else torch.ones(30, 4, dtype=torch.bool)
    each = [slow_average_precision(scores[known[:, c], c].tolist(), labels[known[:, c], c].tolist()) for c in range(4)]
    given = known if masked else None
    assert metrics.mean_average_precision(scores, labels, given) == pytest.approx(sum(each) / 4)
    whole = slow_average_precision(scores[known].tolist(), labels[known].tolist())
    assert metrics.average_precision_all(scores, labels, given) == pytest.approx(whole)


def test_average_precision_over_all_pairs_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.2], [0.6, 0.4]])
    labels = torch.tensor([[True, False], [False, True]])
    # From the top: 0.9 yes, 0.6 no, 0.4 yes: (1 + 2/3) / 2.
    assert metrics.average_precision_all(scores, labels) == pytest.approx(5 / 6)
    assert metrics.average_precision_all(scores, torch.zeros(2, 2).bool()) is None


def test_effective_sample_size_is_the_share_of_weights_that_count() -> None:
    assert metrics.effective_sample_size(torch.tensor([2.0, 2, 0, 0])) == pytest.approx(0.5)
    assert metrics.effective_sample_size(torch.ones(7)) == pytest.approx(1)
    assert metrics.effective_sample_size(torch.zeros(3)) == 0


def test_wrong_pairs_by_hand() -> None:
    observed = Labels(torch.tensor([[0, 1], [0, 2], [1, PAD]]))
    truth = Labels(torch.tensor([[0], [0], [PAD]]), torch.tensor([[0, 1], [0, PAD], [0, PAD]]))
    wrong, known = metrics.wrong_pairs(observed, truth)
    assert wrong.tolist() == [[False, True], [False, False], [False, False]]
    assert known.tolist() == [[True, True], [True, False], [False, False]]


@pytest.mark.parametrize("masked", [True, False])
def test_the_f1_of_several_labels_agrees_with_scikit_learn(masked: bool) -> None:
    from sklearn.metrics import f1_score

    draw = torch.Generator().manual_seed(2)
    said, true = (torch.rand(30, 5, generator=draw) < 0.3 for _ in range(2))
    known = torch.rand(30, 5, generator=draw) < 0.6 if masked else torch.ones(30, 5, dtype=torch.bool)
    truth = Labels(listed(true & known), listed(known) if masked else None)
    want = f1_score(true[known], said[known])
    assert metrics.multi_label_f1(Labels(listed(said)), truth) == pytest.approx(want)


def listed(mask: Tensor) -> Tensor:
    """A mask [N, C] as padded class indices."""
    rows = [[c for c, yes in enumerate(row) if yes] for row in mask.tolist()]
    width = max(map(len, rows))
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])


def test_the_f1_of_no_labels_is_not_measured() -> None:
    none = Labels(torch.tensor([[PAD], [PAD]]))
    assert metrics.multi_label_f1(none, none) is None


def test_mean_average_precision_with_missing_labels_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score

    draw = torch.Generator().manual_seed(3)
    scores = torch.rand(50, 6, generator=draw)
    labels, known = (torch.rand(50, 6, generator=draw) < share for share in (0.3, 0.6))
    each = [average_precision_score(labels[known[:, c], c], scores[known[:, c], c]) for c in range(6)]
    assert metrics.mean_average_precision(scores, labels, known) == pytest.approx(sum(each) / 6)
    whole = average_precision_score(labels[known], scores[known])
    assert metrics.average_precision_all(scores, labels, known) == pytest.approx(whole)
