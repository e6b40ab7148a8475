"""The label phase: prototypes, then correctors, then weighters on what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from phase_fakes import NO_SIDE, By, Draws, Fixed, Means, Nearest
from torch import Tensor

from noisyrun import bank as banks
from noisyrun.api import PAD, Labels, PluginConfig, Targets, Task, Text, UserError
from noisyrun.config.settings import BankSettings, RunSettings
from noisyrun.data.samples import Samples
from noisyrun.engine.corrections import corrected_labels
from noisyrun.engine.label_phase import run_label_phase
from noisyrun.engine.label_state import LabelState
from noisyrun.methods import Methods
from noisyrun.testing import make_bank, make_phase


def clusters(n: int = 90, flip: float = 0.2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features of three well separated classes, observed labels of which some are wrong, and the true ones."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.arange(n) % 3
    features = torch.eye(8)[truth] * 5 + torch.randn(n, 8, generator=draw)
    wrong = torch.rand(n, generator=draw) < flip
    return features, torch.where(wrong, (truth + 1) % 3, truth), truth


def run(bank: Any, methods: Methods, *, truth: Tensor | None = None, **settings: Any) -> LabelState:
    warnings = settings.pop("warnings", [])
    phase = settings.pop("phase", make_phase())
    labels = None if truth is None else Labels.of(truth)
    return run_label_phase(bank, methods, NO_SIDE, phase, RunSettings(**settings), labels, warnings.append)


def bank_of(labels: list[int], **kinds: Any) -> Any:
    return make_bank(torch.eye(len(labels)), labels, kinds.pop("classes", 3), **kinds)


UNSCALED = {"weights": {"scale": "none"}}
ONE = torch.ones_like


def test_correction_on_separated_classes_mends_the_labels_and_says_so() -> None:
    features, observed, truth = clusters()
    bank = make_bank(features, observed, 3)
    methods = Methods(prototypes=Means(PluginConfig()), correctors=(Nearest(PluginConfig()),))
    state = run(bank, methods, truth=truth)
    corrected = corrected_labels(bank.labels, state.targets).single
    assert bool((corrected == truth).float().mean() > 0.98)
    assert state.metrics["label_accuracy_before"] == pytest.approx(float((observed == truth).float().mean()))
    assert state.metrics["label_accuracy_after"] == pytest.approx(float((corrected == truth).float().mean()))
    assert state.metrics["changed"] == pytest.approx(float((corrected != observed).float().mean()))
    assert state.metrics["auroc"] > 0.98
    assert state.metrics["f1"] > 0.95


@pytest.mark.parametrize("memory", [2_000, 10_000, 1 << 30])
def test_the_size_of_blocks_changes_nothing(memory: int) -> None:
    features, observed, _ = clusters()
    methods = Methods(
        prototypes=Means(PluginConfig()),
        correctors=(Nearest(PluginConfig()),),
        weighters=(By(lambda rows, labels: 1 + rows % 5 + 10 * labels),),
    )
    whole = run(make_bank(features, observed, 3), methods)
    blocks = run(make_bank(features, observed, 3, memory=memory), methods)
    assert torch.equal(blocks.targets.classes, whole.targets.classes)
    assert torch.equal(blocks.weights, whole.weights)
    assert torch.equal(blocks.target_weights, whole.target_weights)
    assert torch.equal(blocks.score, whole.score)


def test_a_bank_on_disk_leads_to_what_one_in_memory_leads_to(tmp_path: Path) -> None:
    features, observed, _ = clusters()
    n = len(observed)
    unknown = torch.full((n, 1), PAD)
    samples = Samples(
        task=Task(("a", "b", "c")),
        index=torch.arange(n),
        labels=Labels.of(observed),
        verified=torch.full((n,), -1, dtype=torch.int8),
        verified_held=torch.zeros(n, dtype=torch.bool),
        trusted=Labels(unknown),
        clean=torch.zeros(n, dtype=torch.bool),
        text=Text(("a", "b", "c")),
    )
    methods = Methods(prototypes=Means(PluginConfig()), correctors=(Nearest(PluginConfig()),))
    states = [
        run(
            banks.build(
                samples,
                features,
                torch.zeros(n, 3),
                settings=BankSettings(residence=residence),
                device=torch.device("cpu"),
                folder=tmp_path,
            ),
            methods,
        )
        for residence in ("memory", "disk")
    ]
    assert torch.equal(states[0].targets.classes, states[1].targets.classes)
    torch.testing.assert_close(states[0].score, states[1].score, atol=2e-3, rtol=0)


def test_shuffled_samples_get_what_they_got() -> None:
    features, observed, _ = clusters()
    order = torch.randperm(90, generator=torch.Generator().manual_seed(1))
    methods = Methods(prototypes=Means(PluginConfig()), correctors=(Nearest(PluginConfig()),))
    plain = run(make_bank(features, observed, 3), methods)
    shuffled = run(make_bank(features[order], observed[order], 3), methods)
    assert torch.equal(shuffled.targets.classes, plain.targets.classes[order])
    torch.testing.assert_close(shuffled.score, plain.score[order])


def test_the_same_seed_and_round_give_the_same_state_and_another_round_another() -> None:
    bank = bank_of([0, 1, 2, 0])
    first = run(bank, Methods(weighters=(Draws(),)), phase=make_phase(seed=1))
    again = run(bank, Methods(weighters=(Draws(),)), phase=make_phase(seed=1, method="other"))
    later = run(bank, Methods(weighters=(Draws(),)), phase=make_phase(seed=1, round=1))
    assert torch.equal(first.weights, again.weights)
    assert not torch.equal(first.weights, later.weights)


def test_weights_multiply_and_the_ranks_of_scores_are_averaged() -> None:
    """Three rows: one score falls (ranks 1, 0.5, 0), the other ties the first two (ranks 0.25, 0.25, 1)."""
    double = By(lambda rows, labels: 2 * ONE(rows), key="weighter.double", score=lambda rows, labels: -100 * rows)
    rising = By(lambda rows, labels: rows + 1, key="weighter.rising", score=lambda rows, labels: rows.clamp(min=1))
    state = run(bank_of([0, 1, 2]), Methods(weighters=(double, rising)), **UNSCALED)
    assert state.weights[:, 0].tolist() == [2, 4, 6]
    assert state.score.tolist() == [0.625, 0.375, 0.5]


def test_a_weighter_that_ranks_nothing_leaves_the_ranking_to_the_other() -> None:
    """The weight of a rare class says nothing of right and wrong."""
    by_class = By(lambda rows, labels: rows + 1, key="weighter.by-class", score=lambda rows, labels: ONE(rows))
    falling = By(lambda rows, labels: ONE(rows), key="weighter.falling", score=lambda rows, labels: -rows)
    state = run(bank_of([0, 1, 2]), Methods(weighters=(by_class, falling)), **UNSCALED)
    assert state.score.tolist() == [0, -1, -2]


def test_one_weighter_gives_its_own_score() -> None:
    scored = By(lambda rows, labels: ONE(rows), score=lambda rows, labels: -rows)
    assert run(bank_of([0, 1, 2]), Methods(weighters=(scored,))).score.tolist() == [0, -1, -2]


def test_a_weighter_judges_observed_labels_and_those_corrected_ones_that_differ() -> None:
    targets = Targets.hard(torch.tensor([0, 2, 1, 1]), torch.tensor([0.5, 0.5, 0.5, 0.0]))
    weighter = By(lambda rows, labels: 10 * rows + labels)
    state = run(bank_of([0, 1, 2, 0]), Methods(correctors=(Fixed(targets),), weighters=(weighter,)), **UNSCALED)
    assert weighter.asked == [(0, 0), (1, 1), (2, 2), (3, 0), (1, 2), (2, 1)]
    assert state.weights[:, 0].tolist() == [0, 11, 22, 30]
    # Sample 0 keeps its label, and that weighs what it weighs; sample 3 is not corrected.
    assert state.target_weights[:, 0].tolist() == [0, 12, 21, 1]


def test_soft_targets_weigh_by_class() -> None:
    targets = Targets(torch.tensor([[0, 1], [2, PAD]]), torch.tensor([[0.7, 0.3], [1.0, 0.0]]), torch.tensor([0.5, 1]))
    weighter = By(lambda rows, labels: labels + 2)
    state = run(bank_of([1, 2]), Methods(correctors=(Fixed(targets),), weighters=(weighter,)), **UNSCALED)
    assert state.target_weights.tolist() == [[2, 3], [4, 1]]


def test_weights_are_scaled_so_that_the_pairs_in_the_loss_weigh_1_on_average() -> None:
    targets = Targets.hard(torch.tensor([1, 1, 2, 0]), torch.tensor([0.25, 0.5, 0.5, 0.0]))
    weighter = By(lambda rows, labels: 0.1 * (rows + 1) + 0.3 * labels)
    state = run(bank_of([0, 1, 2, 0]), Methods(correctors=(Fixed(targets),), weighters=(weighter,)))
    alpha = state.targets.alpha
    used = (1 - alpha) * state.weights[:, 0] + alpha * state.target_weights[:, 0]
    assert float(used.mean()) == pytest.approx(1)


def test_without_a_weighter_everything_weighs_1() -> None:
    targets = Targets.hard(torch.tensor([1, 1]), 0.5)
    state = run(bank_of([0, 1]), Methods(correctors=(Fixed(targets),)))
    assert state.weights.tolist() == [[1], [1]]
    assert state.target_weights.tolist() == [[1], [1]]


@pytest.mark.parametrize("scale", ["mean1", "none"])
def test_weights_that_are_all_0_give_way_to_1_with_a_warning(scale: str) -> None:
    none = By(lambda rows, labels: 0 * rows)
    warnings: list[str] = []
    state = run(bank_of([0, 1]), Methods(weighters=(none,)), weights={"scale": scale}, warnings=warnings)
    assert state.weights.tolist() == [[1], [1]]
    assert state.metrics["zero_weight"] == 1
    assert [line for line in warnings if line.startswith("weighter.by: all labels weigh 0")]


def test_a_class_without_prototypes_keeps_its_labels_and_is_warned_of_once() -> None:
    class OfTwo(Means):
        def build_class(self, c: int, *rest: Any) -> Any:
            made = super().build_class(c, *rest)
            return made if c < 2 else type(made).of(made.vectors, mask=torch.tensor([[False]]))

    class Judge(By):
        @property
        def needs(self) -> Any:
            return Nearest.needs.fget(None)  # type: ignore[attr-defined]

    features, observed, _ = clusters()
    warnings: list[str] = []
    bank = make_bank(features, observed, 3)
    zero = Judge(lambda rows, labels: (labels < 2).float() * 0.5, lambda rows, labels: labels >= 0)
    methods = Methods(prototypes=OfTwo(PluginConfig()), correctors=(Nearest(PluginConfig()),), weighters=(zero,))
    state = run(bank, methods, warnings=warnings, weights={"scale": "none"}, corrections={"warn": False})
    third = observed == 2
    assert warnings == [
        f"1 of 3 classes have no prototypes (2): their {int(third.sum())} labels weigh 1 and stay as they are"
    ]
    assert bool((state.weights[third] == 1).all())
    assert bool((state.targets.alpha[third] == 0).all())
    assert state.wrong is not None
    assert not bool(state.wrong[third].any())


def test_empty_classes_are_no_reason_to_warn() -> None:
    features, observed, _ = clusters()
    warnings: list[str] = []
    run(make_bank(features, observed, 5), Methods(prototypes=Means(PluginConfig())), warnings=warnings)
    assert warnings == []


def test_only_the_surest_share_of_the_changes_is_kept() -> None:
    made = Targets.hard(torch.tensor([1, 1, 1, 1, 0]), 0.5, confidence=torch.tensor([0.1, 0.9, 0.9, 0.3, 1.0]))
    bank = bank_of([0, 0, 0, 0, 0])
    state = run(bank, Methods(correctors=(Fixed(made),)), corrections={"share": 0.5})
    assert corrected_labels(bank.labels, state.targets).single.tolist() == [0, 1, 1, 0, 0]
    assert state.targets.alpha.tolist() == [0, 0.5, 0.5, 0, 0.5]
    assert state.metrics["changed"] == pytest.approx(0.4)


def test_of_equally_sure_changes_the_lower_rows_are_kept() -> None:
    made = Targets.hard(torch.tensor([1, 1, 1, 1]), 0.5, confidence=torch.ones(4))
    bank = bank_of([0, 0, 0, 0])
    state = run(bank, Methods(correctors=(Fixed(made),)), corrections={"share": 0.5})
    assert corrected_labels(bank.labels, state.targets).single.tolist() == [1, 1, 0, 0]


def test_a_share_needs_a_corrector_that_says_how_sure_it_is() -> None:
    made = Targets.hard(torch.tensor([1, 1]), 0.5)
    with pytest.raises(UserError, match=r"--corrections\.share: corrector\.fixed does not say how sure"):
        run(bank_of([0, 0]), Methods(correctors=(Fixed(made),)), corrections={"share": 0.5})


def test_a_corrector_sees_what_the_one_before_made() -> None:
    class Mixes(Nearest):
        key = "corrector.mixes"

        def correct(self, block: Any, targets: Targets, prototypes: Any, side: Any) -> Targets:
            seen.append(targets)
            return targets

    seen: list[Targets] = []
    made = Targets.hard(torch.tensor([1, 2]), 0.5, confidence=torch.tensor([0.1, 0.2]))
    state = run(bank_of([0, 0]), Methods(correctors=(Fixed(made), Mixes(PluginConfig()))))
    assert seen[0].classes.tolist() == [[1], [2]]
    assert seen[0].confidence is None
    assert state.targets.classes.tolist() == [[1], [2]]


def test_correctors_alone_score_by_how_sure_they_are_and_decide_by_what_they_change() -> None:
    made = Targets.hard(torch.tensor([1, 0, 1]), 0.5, confidence=torch.tensor([0.4, 0.7, 0.9]))
    state = run(bank_of([0, 0, 0]), Methods(correctors=(Fixed(made),)))
    torch.testing.assert_close(state.score, torch.tensor([-0.4, 0.7, -0.9]))
    assert state.wrong is not None
    assert state.wrong.tolist() == [True, False, True]


def test_a_label_is_wrong_when_any_method_says_so() -> None:
    made = Targets.hard(torch.tensor([1, 0, 0]), 0.5)
    weighter = By(lambda rows, labels: ONE(rows), lambda rows, labels: rows == 2)
    state = run(bank_of([0, 0, 0]), Methods(correctors=(Fixed(made),), weighters=(weighter,)))
    assert state.wrong is not None
    assert state.wrong.tolist() == [True, False, True]


def test_nobody_decides_when_no_method_does() -> None:
    state = run(bank_of([0, 1]), Methods(weighters=(By(lambda rows, labels: ONE(rows)),)), truth=torch.tensor([0, 0]))
    assert state.wrong is None
    assert "f1" not in state.metrics
    assert "auroc" in state.metrics


def test_an_observed_label_that_is_missing_is_not_judged() -> None:
    weighter = By(lambda rows, labels: labels + 3)
    state = run(bank_of([0, PAD, 2]), Methods(weighters=(weighter,)), **UNSCALED)
    assert weighter.asked == [(0, 0), (2, 2)]
    assert state.weights[:, 0].tolist() == [3, 1, 5]
    assert state.score.tolist() == [3, 3, 5]


def test_multi_label_judges_every_label_of_a_sample() -> None:
    labels = torch.tensor([[0, 2], [1, PAD], [PAD, PAD]])
    bank = make_bank(torch.eye(3), labels, 3, multi=True)
    made = Targets(
        torch.tensor([[0, 1], [1, 2], [2, PAD]]), torch.tensor([[0.9, 0.6], [1, 0.2], [0.8, 0]]), torch.ones(3)
    )
    weighter = By(lambda rows, labels: 10 * rows + labels, lambda rows, labels: labels == 2)
    state = run(bank, Methods(correctors=(Fixed(made),), weighters=(weighter,)), **UNSCALED)
    assert sorted(weighter.asked) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    assert state.weights.tolist() == [[0, 2], [11, 1], [1, 1]]
    assert state.target_weights.tolist() == [[0, 1], [11, 12], [22, 1]]
    corrected = corrected_labels(bank.labels, state.targets, multi=True).classes
    assert [[c for c in row if c != PAD] for row in corrected.tolist()] == [[0, 1], [1], [2]]
    assert state.wrong is not None
    assert state.wrong.tolist() == [True, False, True]


def test_numbers_are_logged_and_seconds_told_by_method() -> None:
    logged: dict[str, float] = {}
    features, observed, _ = clusters()
    phase = make_phase(log=lambda name, value: logged.__setitem__(name, value))
    methods = Methods(
        prototypes=Means(PluginConfig()),
        correctors=(Nearest(PluginConfig()),),
        weighters=(By(lambda rows, labels: (rows > 8).float()),),
    )
    state = run(make_bank(features, observed, 3), methods, phase=phase)
    assert logged == dict(state.metrics)
    assert {"seconds.prototypes.means", "seconds.corrector.nearest", "seconds.weighter.by", "seconds"} <= logged.keys()
    assert logged["zero_weight"] == pytest.approx(0.1)
    assert logged["mean_weight"] == pytest.approx(0.9)
    assert logged["effective_sample_size"] == pytest.approx(0.9)
