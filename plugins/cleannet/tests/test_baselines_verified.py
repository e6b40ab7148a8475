"""Classifiers of right and wrong labels: the same decisions as scikit-learn's own, from tensors alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.semi_supervised import LabelPropagation, LabelSpreading
from sklearn.svm import SVC

from noisyrun.api import FeatureBank, SideInfo, UserError
from noisyrun.testing import make_bank, make_phase
from noisyrun_cleannet.baselines_config import VerifiedConfig
from noisyrun_cleannet.baselines_machines import GRIDS, Lesson, Machine, fit, input_space, inputs
from noisyrun_cleannet.baselines_verified import VerifiedWeighter, draw, draw_both

METHODS = sorted(GRIDS)
DIM = 6


def lesson(n: int = 60, seed: int = 0) -> tuple[Lesson, np.ndarray]:
    """A problem no line solves, and 25 samples to ask about."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n + 45, DIM, generator=generator)
    right = x[:, :2].square().sum(1) + 0.3 * torch.randn(n + 45, generator=generator) < 1.4
    return Lesson(x[:n], right[:n], x[n : n + 20], hidden=16, seed=3), x[n + 20 :].numpy()


def scores(method: str, value: float) -> tuple[np.ndarray, Lesson, np.ndarray]:
    given, asked = lesson()
    ((kind, tensors),) = fit(method, given, (value,))
    # Inputs as they are: unit length would change what scikit-learn is compared on.
    from noisyrun_cleannet.baselines_machines import _READ

    return _READ[kind](torch.from_numpy(asked), tensors).numpy(), given, asked


@pytest.mark.parametrize("k", [1, 5, 15])
def test_neighbours_are_those_of_scikit_learn(k: int) -> None:
    found, given, asked = scores("knn", k)
    model = KNeighborsClassifier(k).fit(given.x.numpy(), given.right.numpy())
    assert np.allclose(found + 0.5, model.predict_proba(asked)[:, 1], atol=1e-6)
    assert ((found > 0) == model.predict(asked)).all()


@pytest.mark.parametrize("cost", [0.1, 10.0])
def test_the_margin_is_that_of_scikit_learn(cost: float) -> None:
    found, given, asked = scores("svm", cost)
    model = SVC(C=cost, gamma=1 / DIM, tol=1e-6).fit(given.x.numpy(), given.right.numpy())
    assert np.allclose(found, model.decision_function(asked), atol=1e-4)
    assert ((found > 0) == model.predict(asked)).all()


def test_the_perceptron_is_that_of_scikit_learn() -> None:
    found, given, asked = scores("mlp", 1e-2)
    with pytest.warns(match="Maximum iterations"):
        model = MLPClassifier((16,), alpha=1e-2, max_iter=100, random_state=3).fit(given.x.numpy(), given.right.numpy())
    assert np.allclose(1 / (1 + np.exp(-found)), model.predict_proba(asked)[:, 1], atol=1e-5)


@pytest.mark.parametrize(
    ("method", "model"), [("label-propagation", LabelPropagation), ("label-spreading", LabelSpreading)]
)
@pytest.mark.parametrize("width", [1.0, 10.0])
def test_graphs_are_those_of_scikit_learn(method: str, model: Any, width: float) -> None:
    found, given, asked = scores(method, width)
    x = torch.cat([given.x, given.unverified]).double().numpy()
    said = np.concatenate([given.right.numpy().astype(int), np.full(20, -1)])
    made = model(gamma=width / DIM, max_iter=200).fit(x, said)
    assert np.allclose(found + 0.5, made.predict_proba(asked.astype(float))[:, 1], atol=1e-4)


def test_a_sample_far_from_every_node_of_a_graph_is_still_judged() -> None:
    given, _ = lesson()
    ((kind, tensors),) = fit("label-spreading", given, (30.0,))
    machine = Machine(kind, {"centre": torch.zeros(DIM), "scale": torch.tensor([1e-3]), **tensors})
    assert bool((machine.scores(torch.randn(9, DIM)).abs() > 0).all())


def test_blocks_do_not_show() -> None:
    given, asked = lesson()
    centre, scale = input_space(torch.from_numpy(asked))
    ((kind, tensors),) = fit("svm", given, (1.0,))
    machine = Machine(kind, {"centre": centre, "scale": scale, **tensors})
    whole = machine.scores(torch.from_numpy(asked))
    assert torch.allclose(machine.scores(torch.from_numpy(asked), memory=1), whole, atol=1e-6)
    assert machine.scores(torch.zeros(0, DIM)).shape == (0,)


def test_inputs_have_mean_zero_and_variance_one() -> None:
    features = torch.randn(50, DIM) * 7 + 3
    x = inputs(features, *input_space(features))
    assert torch.allclose(x.mean(0), torch.zeros(DIM), atol=1e-4)
    assert float(x.square().mean()) == pytest.approx(1.0, abs=1e-3)
    same = torch.ones(4, DIM)
    assert bool(torch.isfinite(inputs(same, *input_space(same))).all())


def bank_of(seed: int = 0, verified: bool = True) -> tuple[FeatureBank, torch.Tensor]:
    """Three classes: two with rings of right labels, and one that nobody verified."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(360) % 3
    right = torch.rand(360, generator=generator) < 0.6
    features = torch.randn(360, DIM, generator=generator) + torch.where(right, 2.0, -1.0).unsqueeze(1)
    order = torch.rand(360, generator=generator)
    said = torch.where((order < 0.6) & (labels < 2), right.long(), -1)
    return make_bank(features, labels, 3, verified=said if verified else None, held=order < 0.3), right


def fitted(bank: FeatureBank, **settings: Any) -> VerifiedWeighter:
    weighter = VerifiedWeighter(VerifiedConfig(**settings))
    weighter.key = "weighter.verified"
    weighter.fit(bank, None, SideInfo(), make_phase(0, weighter.key))
    return weighter


def judge(weighter: VerifiedWeighter, bank: FeatureBank) -> Any:
    block = bank.take(torch.arange(len(bank)))
    return weighter(block, block.observed, None, SideInfo())


@pytest.mark.parametrize("method", METHODS)
def test_wrong_labels_are_found_and_unverified_classes_left_alone(method: str) -> None:
    bank, right = bank_of()
    made = judge(fitted(bank, method=method), bank)
    new = (bank.verified("all") < 0) & (bank.labels.single < 2)
    assert float((made.wrong[new] != right[new]).float().mean()) > 0.9
    alone = bank.labels.single == 2
    assert not bool(made.wrong[alone].any())
    assert made.weights[alone].unique().tolist() == [1.0]
    assert torch.equal(made.weights, (~made.wrong).float())
    assert bool(((made.score <= 0) == made.wrong)[~alone].all())


@pytest.mark.parametrize("method", METHODS)
def test_state_brings_back_the_same_judgement(method: str) -> None:
    bank, _ = bank_of()
    first = fitted(bank, method=method, grid=(1.0,))
    state = first.state_dict()
    assert all(isinstance(value, torch.Tensor | str) for value in state.values())
    second = VerifiedWeighter(VerifiedConfig(method=method))
    second.load_state_dict(state)
    assert torch.equal(judge(second, bank).score, judge(first, bank).score)
    assert torch.equal(judge(second, bank).wrong, judge(first, bank).wrong)


def test_the_setting_is_the_best_on_held_out_labels() -> None:
    bank, _ = bank_of()
    held = bank.verified("held")
    errors = []
    for k in (1.0, 51.0):
        wrong = judge(fitted(bank, method="knn", grid=(k,)), bank).wrong
        of = [(held >= 0) & (bank.labels.single == c) for c in (0, 1)]
        errors.append(sum(float((wrong[rows] == (held[rows] == 1)).float().mean()) for rows in of))
    assert errors[0] != errors[1]
    chosen = fitted(bank, method="knn", grid=(1.0, 51.0)).machines[0].tensors["k"]
    assert float(chosen) == (1.0, 51.0)[int(np.argmin(errors))]


def test_a_class_with_labels_of_one_kind_is_left_alone() -> None:
    bank = make_bank(torch.randn(8, DIM), [0] * 4 + [1] * 4, 2, verified=[0, 0, 0, -1, 1, 0, 1, 0])
    weighter = fitted(bank, method="knn", grid=(1.0,))
    assert sorted(weighter.machines) == [1]
    assert not bool(judge(weighter, bank).wrong[:4].any())


def test_judging_another_label_asks_that_labels_classifier() -> None:
    bank, _ = bank_of()
    weighter = fitted(bank, method="svm", grid=(1.0,))
    block = bank.take(torch.tensor([0, 3]))  # observed: class 0
    other = weighter(block, torch.tensor([1, 2]), None, SideInfo())
    assert float(other.score[0]) == pytest.approx(float(weighter.machines[1].scores(block.features[:1])[0]))
    assert float(other.score[1]) == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "knn", "grid": (2.5,)}, "whole numbers from 1"),
        ({"method": "svm", "grid": (0.0,)}, "greater than 0"),
    ],
)
def test_a_grid_that_makes_no_sense_is_one_line(settings: Any, words: str) -> None:
    bank, _ = bank_of()
    with pytest.raises(UserError, match=f"--weighter.verified.grid: .*{words}"):
        fitted(bank, **settings)


def test_a_fit_draws_the_same_again_and_leaves_global_random_numbers_alone() -> None:
    bank, _ = bank_of()
    torch.manual_seed(5)
    np.random.seed(5)
    before, numbers = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first = judge(fitted(bank, method="mlp", most=20), bank).score
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (np.random.get_state()[1] == numbers).all()
    assert torch.equal(judge(fitted(bank, method="mlp", most=20), bank).score, first)


def test_draws_are_bounded_and_keep_both_kinds() -> None:
    generator = torch.Generator().manual_seed(0)
    right = torch.arange(1000) == 500
    drawn = draw_both(right, 10, generator)
    assert len(drawn) == 10
    assert right[drawn].tolist().count(True) == 1
    assert draw(3, 10, generator).tolist() == [0, 1, 2]
    assert len(draw(30, 10, generator).unique()) == 10
