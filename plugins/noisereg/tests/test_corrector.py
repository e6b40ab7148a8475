"""The two nets as a part of the network: which labels teach which net."""

from __future__ import annotations

import math
from dataclasses import replace

import noisereg_reference as slow
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from noisyrun.api import MIX, PAD, Batch, Labels, Targets, Task
from noisyrun_noisereg.config import NoiseregConfig
from noisyrun_noisereg.corrector import Noisereg, TwoNets, clean_loss, noise_loss

C, D = 3, 4
FEATURES = torch.randn(6, D, generator=torch.Generator().manual_seed(0))


def task(multi: bool = False) -> Task:
    return Task(tuple("abc"), "multi" if multi else "single", feature_dim=D)


def made(multi: bool = False, **config: object) -> tuple[Noisereg, TwoNets]:
    method = Noisereg(NoiseregConfig(**config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        part = method.part(D, task(multi))
    assert isinstance(part, TwoNets)
    return method, part


def batch(**changes: object) -> Batch:
    """Six samples: the first two are clean and have no noisy label; the last row is padding."""
    labels = Labels.of(torch.tensor([PAD, PAD, 0, 1, 2, 1]))
    values = {
        "index": torch.arange(6),
        "labels": labels,
        "targets": Targets.of(labels),
        "weights": torch.ones(6, 1),
        "clean": torch.tensor([True, True, False, False, False, False]),
        "trusted": Labels.of(torch.tensor([2, 0, PAD, PAD, PAD, PAD])),
        "mask": torch.tensor([True] * 5 + [False]),
    }
    return Batch(**(values | changes))  # type: ignore[arg-type]


def losses(method: Noisereg, part: TwoNets, given: Batch, features: Tensor = FEATURES) -> dict[str, Tensor]:
    return method.loss(part, given, features, part.head(features))


def one_hot(label: int) -> list[float]:
    return [float(label == c) for c in range(C)]


def test_the_loss_is_that_of_the_slow_form() -> None:
    method, part = made()
    part.double()
    features = FEATURES.double()
    assert part.residual is not None
    c, r = part.clean(features).tolist(), part.residual(features).tolist()
    g = [[slow.sigma(x) for x in row] for row in c]
    h = [[slow.sigma(x + y) for x, y in zip(*rows)] for rows in zip(c, r)]
    clean = [(0, one_hot(2)), (1, one_hot(0))]
    noisy = [(2, one_hot(0)), (3, one_hot(1)), (4, one_hot(2))]
    # The losses are computed in float32.
    found = sum(term.item() for term in losses(method, part, batch(), features).values())
    assert found == pytest.approx(slow.objective(g, h, clean, noisy, 0.2), rel=1e-6)


def test_noisy_labels_teach_the_clean_net_through_h() -> None:
    method, part = made()
    losses(method, part, batch())["noise"].backward()
    for net in (part.clean, part.residual):
        assert net is not None
        for parameter in net.parameters():
            assert parameter.grad is not None
            assert bool((parameter.grad != 0).any())


def test_clean_labels_teach_the_clean_net_alone() -> None:
    method, part = made()
    losses(method, part, batch())["clean"].backward()
    assert part.residual is not None
    assert all(p.grad is None for p in part.residual.parameters())
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in part.clean.parameters())


def test_clean_samples_reach_the_clean_loss_and_noisy_ones_the_noisy_loss() -> None:
    method, part = made()
    for name, rows in (("clean", [0, 1]), ("noise", [2, 3, 4])):
        features = FEATURES.clone().requires_grad_()
        losses(method, part, batch(), features)[name].backward()
        assert features.grad is not None
        assert features.grad.abs().sum(1).nonzero()[:, 0].tolist() == rows


@pytest.mark.parametrize("of_clean", [False, True])
def test_the_noisy_label_of_a_clean_sample_counts_only_when_asked_for(of_clean: bool) -> None:
    method, part = made(noisy_of_clean=of_clean)
    labels = Labels.of(torch.tensor([1, PAD, 0, 1, 2, 1]))
    given = batch(labels=labels, targets=Targets.of(labels))
    features = FEATURES.clone().requires_grad_()
    losses(method, part, given, features)["noise"].backward()
    assert features.grad is not None
    assert features.grad.abs().sum(1).nonzero()[:, 0].tolist() == ([0, 2, 3, 4] if of_clean else [2, 3, 4])


def test_alpha_is_the_share_of_the_clean_loss() -> None:
    small, large = (losses(*made(alpha=alpha), batch()) for alpha in (0.1, 0.4))
    torch.testing.assert_close(large["clean"], 4 * small["clean"])
    torch.testing.assert_close(large["noise"], small["noise"])


def test_g_alone_has_no_residual_net_and_looks_at_clean_labels_only() -> None:
    method, part = made(variant="g", alpha=0.1)
    assert part.residual is None
    found = losses(method, part, batch())
    assert set(found) == {"clean"}
    torch.testing.assert_close(found["clean"], 2 * losses(*made(alpha=0.5), batch())["clean"])
    assert method.needs.batches == MIX(1, 9)


def test_h_alone_looks_at_noisy_labels_only_and_predicts_with_h() -> None:
    method, part = made(variant="h")
    joint_method, joint = made()
    joint.load_state_dict(part.state_dict())
    found = losses(method, part, batch())
    assert set(found) == {"noise"}
    torch.testing.assert_close(found["noise"], losses(joint_method, joint, batch())["noise"])
    assert part.residual is not None
    torch.testing.assert_close(part.head(FEATURES), part.clean(FEATURES) + part.residual(FEATURES))
    assert method.needs.batches is None


def test_the_method_predicts_with_the_clean_net() -> None:
    _, part = made()
    assert torch.equal(part.head(FEATURES), part.clean(FEATURES))


@pytest.mark.parametrize(("hidden", "width"), [(None, D), (7, 7)])
def test_the_nets_are_as_wide_as_the_features_unless_told(hidden: int | None, width: int) -> None:
    _, part = made(hidden=hidden)
    assert part.clean.inner.weight.shape == (width, D)
    assert part.residual is not None
    assert part.residual.outer.weight.shape == (C, width)


LOGITS = torch.tensor([[math.log(3.0), 0.0, -math.log(3.0)]])  # probabilities 3/4, 1/2, 1/4


def single_row(**changes: object) -> Batch:
    """The third sample alone, class 0 observed."""
    given, row = batch(), torch.tensor([2])
    values = {name: getattr(given, name)[row] for name in ("index", "weights", "clean", "mask")}
    values |= {name: getattr(given, name).take(row) for name in ("labels", "targets", "trusted")}
    return replace(given, **(values | changes))  # type: ignore[arg-type]


def test_several_labels_count_where_they_are_known() -> None:
    # Known of the trusted labels: the first class is there (ln 4/3), the third is not (ln 4/3). Of the noisy ones: all
    # but the third; the first is said to be absent (ln 4), the second to be there (ln 2).
    trusted = Labels(torch.tensor([[0, PAD]]), torch.tensor([[0, 2]]))
    noisy = Labels(torch.tensor([[1]]), torch.tensor([[0, 1]]))
    given = single_row(trusted=trusted, clean=torch.tensor([True]), labels=noisy, targets=Targets.of(noisy))
    assert float(clean_loss(LOGITS, given, multi=True)) == pytest.approx(2 * math.log(4 / 3))
    noise = noise_loss(LOGITS, given, multi=True, of_clean=True)
    assert float(noise) == pytest.approx(math.log(4) + math.log(2))
    assert float(noise_loss(LOGITS, given, multi=True)) == 0.0


def test_of_several_labels_none_at_all_is_an_answer_but_nothing_known_is_none() -> None:
    nothing = Labels(torch.tensor([[PAD]]))
    given = single_row(labels=nothing, targets=Targets.of(nothing), trusted=nothing, clean=torch.tensor([True]))
    wanted = math.log(4) + math.log(2) + math.log(4 / 3)
    assert float(noise_loss(LOGITS, given, multi=True, of_clean=True)) == pytest.approx(wanted)
    assert float(clean_loss(LOGITS, given, multi=True)) == pytest.approx(wanted)
    unknown = Labels(torch.tensor([[PAD]]), torch.tensor([[PAD]]))
    given = replace(given, labels=unknown, targets=Targets.of(unknown), trusted=unknown)
    assert float(noise_loss(LOGITS, given, multi=True, of_clean=True)) == 0.0
    assert float(clean_loss(LOGITS, given, multi=True)) == 0.0


def test_corrected_labels_and_weights_of_other_methods_enter_the_noisy_loss() -> None:
    # Observed class 0 weighs 0.5, corrected class 1 weighs 2; a quarter of the loss is the corrected one's.
    first = functional.binary_cross_entropy_with_logits(LOGITS[0], torch.tensor(one_hot(0)), reduction="sum")
    second = functional.binary_cross_entropy_with_logits(LOGITS[0], torch.tensor(one_hot(1)), reduction="sum")
    given = single_row(
        weights=torch.tensor([[0.5]]),
        targets=Targets.hard(torch.tensor([1]), 0.25),
        target_weights=torch.tensor([[2.0]]),
    )
    wanted = 0.75 * 0.5 * first + 0.25 * 2.0 * second
    torch.testing.assert_close(noise_loss(LOGITS, given, multi=False), wanted)


def test_a_weight_of_several_labels_is_that_of_its_pair() -> None:
    noisy = Labels(torch.tensor([[0, 1]]))
    given = single_row(labels=noisy, targets=Targets.of(noisy), weights=torch.tensor([[0.0, 3.0]]))
    # Class 0 counts nothing, class 1 thrice, class 2 is absent with weight 1.
    wanted = 3 * math.log(2) + math.log(4 / 3)
    assert float(noise_loss(LOGITS, given, multi=True)) == pytest.approx(wanted)


def test_a_batch_without_clean_or_without_noisy_samples_has_a_loss_of_0() -> None:
    method, part = made()
    found = losses(method, part, batch(clean=torch.zeros(6, dtype=torch.bool)))
    assert found["clean"].item() == 0.0
    assert found["noise"].item() > 0
    found = losses(method, part, batch(clean=torch.ones(6, dtype=torch.bool)))
    assert found["noise"].item() == 0.0
    sum(found.values(), start=torch.zeros(())).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in part.parameters())
