"""Correcting labels: what is changed, what is kept, and how surely."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import smp_reference as slow
import torch
from torch import nn

from noisyrun.api import PAD, FeatureBank, Prototypes, SideInfo, Targets, Text
from noisyrun.bank import build
from noisyrun.config.settings import BankSettings
from noisyrun.data.samples import Samples, no_labels
from noisyrun.testing import make_bank, make_phase
from noisyrun_smp.config import SmpCorrectorConfig, SmpPrototypesConfig
from noisyrun_smp.corrector import SmpCorrector, judged
from noisyrun_smp.prototypes import SmpPrototypes


def corrector(**settings: Any) -> SmpCorrector:
    made = SmpCorrector(SmpCorrectorConfig(**settings))
    made.key = "corrector.smp"
    return made


def correct(bank: FeatureBank, prototypes: Prototypes, before: Targets | None = None, **settings: Any) -> Targets:
    block = bank.take(torch.arange(len(bank)))
    given = Targets.of(block.labels) if before is None else before
    return corrector(**settings)(block, given, prototypes, SideInfo())


def scene(n: int = 60, classes: int = 4, dim: int = 5, per: int = 3) -> tuple[FeatureBank, Prototypes]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n, dim, generator=generator)
    labels = torch.randint(0, classes, (n,), generator=generator)
    vectors = torch.randn(classes, per, dim, generator=generator)
    return make_bank(features, labels, classes), Prototypes.of(vectors)


AXES = Prototypes.of(torch.eye(3))


@pytest.mark.parametrize("similarity", ["mean", "max"])
def test_labels_are_those_of_the_slow_form(similarity: str) -> None:
    bank, prototypes = scene()
    found = correct(bank, prototypes, similarity=similarity)
    features = bank.take(torch.arange(60)).features.double().numpy()
    scores = slow.scores(features, [v.double().numpy() for v in prototypes.vectors], similarity)
    assert found.top.tolist() == scores.argmax(1).tolist()
    assert found.alpha.tolist() == [0.5] * 60
    own = scores[np.arange(60), bank.labels.single.numpy()]
    others = scores.copy()
    others[np.arange(60), bank.labels.single.numpy()] = -np.inf
    assert found.confidence is not None
    assert np.allclose(found.confidence.numpy(), np.abs(own - others.max(1)), atol=1e-6)


def test_by_hand() -> None:
    # Cosines (0.8, 0.6, 0): observed 1 becomes 0, surer by 0.2; observed 0 stays, by 0.2; observed 2 becomes 0, by 0.8.
    bank = make_bank(torch.tensor([[4.0, 3.0, 0.0]] * 3), [1, 0, 2], 3)
    found = correct(bank, AXES)
    assert found.top.tolist() == [0, 0, 0]
    assert found.confidence is not None
    assert torch.allclose(found.confidence, torch.tensor([0.2, 0.2, 0.8]))


def test_alpha_is_the_share_of_the_corrected_label() -> None:
    bank, prototypes = scene()
    assert correct(bank, prototypes, alpha=0.3).alpha.tolist() == pytest.approx([0.3] * 60)


def test_a_tie_with_the_observed_label_keeps_it() -> None:
    bank = make_bank(torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]), [1, 2], 3)
    assert correct(bank, AXES).top.tolist() == [1, 2]


def test_only_the_surest_changes_are_made_with_a_margin() -> None:
    bank = make_bank(torch.tensor([[4.0, 3.0, 0.0]] * 3), [1, 0, 2], 3)
    found = correct(bank, AXES, min_margin=0.5)
    assert found.top.tolist() == [1, 0, 0]
    assert found.alpha.tolist() == [0.0, 0.5, 0.5]  # what was not sure enough keeps the target it had
    assert found.confidence is not None
    assert found.confidence.tolist() == pytest.approx([-0.2, 0.2, 0.8])  # unmade changes still count as doubt


def test_without_a_share_of_the_loss_nothing_changes_and_every_doubt_counts() -> None:
    bank = make_bank(torch.tensor([[4.0, 3.0, 0.0]] * 3), [1, 0, 2], 3)
    found = correct(bank, AXES, alpha=0.0)
    assert found.alpha.tolist() == [0.0, 0.0, 0.0]
    assert found.confidence is not None
    assert found.confidence.tolist() == pytest.approx([-0.2, 0.2, -0.8])


def test_what_an_earlier_corrector_made_stays_where_there_is_no_ground() -> None:
    bank = make_bank(torch.tensor([[4.0, 3.0, 0.0]] * 2), [1, 2], 3)
    before = Targets(torch.tensor([[2, 1], [0, 1]]), torch.tensor([[0.7, 0.3], [0.5, 0.5]]), torch.tensor([0.9, 0.8]))
    found = correct(bank, AXES, before, min_margin=0.5)
    assert found.classes.tolist() == [[2, 1], [0, PAD]]
    assert found.values.tolist() == [pytest.approx([0.7, 0.3]), [1.0, 0.0]]
    assert found.alpha.tolist() == pytest.approx([0.9, 0.5])


def test_a_label_of_a_class_without_prototypes_is_kept() -> None:
    prototypes = Prototypes.of(torch.eye(3), torch.tensor([True, True, False]))
    bank = make_bank(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), [2, 0], 3)
    for similarity in ("mean", "max"):
        found = correct(bank, prototypes, similarity=similarity)
        assert found.top.tolist() == [2, 0]  # the second is most like class 2, which nothing stands for
        assert found.alpha.tolist() == [0.0, 0.5]


def test_nothing_is_corrected_to_a_class_without_prototypes() -> None:
    prototypes = Prototypes.of(torch.eye(3), torch.tensor([True, True, False]))
    bank = make_bank(torch.tensor([[-1.0, -0.5, 9.0]]), [0], 3)
    assert correct(bank, prototypes).top.tolist() == [1]


def test_with_one_class_that_has_prototypes_its_samples_keep_their_label() -> None:
    prototypes = Prototypes.of(torch.eye(3), torch.tensor([True, False, False]))
    bank = make_bank(torch.tensor([[-1.0, 5.0, 0.0]]), [0], 3)
    found = correct(bank, prototypes)
    assert found.top.tolist() == [0]
    assert torch.isfinite(found.confidence).all()  # type: ignore[arg-type]


def test_one_class_in_all_is_no_trouble() -> None:
    bank = make_bank(torch.randn(4, 3), [0] * 4, 1)
    assert correct(bank, Prototypes.of(torch.eye(3)[:1])).top.tolist() == [0] * 4


def test_a_sample_without_a_label_gets_one() -> None:
    bank = make_bank(torch.tensor([[4.0, 3.0, 0.0], [1.0, 1.0, 0.0]]), [PAD, PAD], 3)
    assert correct(bank, AXES).top.tolist() == [0, 0]


def test_prototypes_of_a_learned_space_are_compared_in_that_space() -> None:
    project = nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        project.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))
    prototypes = Prototypes.of(torch.eye(3), project=project)
    bank = make_bank(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), [0, 1], 3)
    assert correct(bank, prototypes).top.tolist() == [1, 0]


def test_prototypes_count_by_their_weight() -> None:
    # Class 0: along x with weight 3, along −x with weight 1: mean cosine (3 − 1) / 4. Class 1: along (1, 2): 0.447.
    vectors = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]], [[1.0, 2.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    weights = torch.tensor([[3.0, 1.0], [1.0, 0.0]])
    bank = make_bank(torch.tensor([[1.0, 0.0]]), [1], 2)
    assert correct(bank, Prototypes.of(vectors, mask, weights)).top.tolist() == [0]
    assert correct(bank, Prototypes.of(vectors, mask)).top.tolist() == [1]


def test_relabelling_the_classes_relabels_the_answer() -> None:
    bank, prototypes = scene()
    order = torch.tensor([2, 0, 3, 1])  # class c becomes order[c]
    moved = Prototypes.of(prototypes.vectors[order.argsort()])
    block = bank.take(torch.arange(60))
    other = make_bank(block.features, order[bank.labels.single], 4)
    for similarity in ("mean", "max"):
        first = correct(bank, prototypes, similarity=similarity)
        second = correct(other, moved, similarity=similarity)
        assert torch.equal(order[first.top], second.top)
        assert torch.allclose(first.confidence, second.confidence, atol=1e-6)  # type: ignore[arg-type]


def test_the_order_of_the_samples_does_not_matter() -> None:
    bank, prototypes = scene()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    block = bank.take(order)
    moved = corrector()(block, Targets.of(block.labels), prototypes, SideInfo())
    assert torch.equal(correct(bank, prototypes).top[order], moved.top)


def test_blocks_of_any_size_give_the_same() -> None:
    bank, prototypes = scene()
    method = corrector()
    parts = [method(b, Targets.of(b.labels), prototypes, SideInfo()).top for b in bank.blocks(size=7)]
    assert torch.equal(torch.cat(parts), correct(bank, prototypes).top)


def test_a_bank_on_disk_gives_what_one_in_memory_gives(tmp_path: Path) -> None:
    # In half precision on disk: features that half precision holds exactly.
    memory, _ = scene()
    features = memory.take(torch.arange(60)).features.half().float()
    labels, nobody = memory.labels, no_labels(60)
    samples = Samples(
        memory.task,
        torch.arange(60),
        labels,
        verified=torch.full((60,), -1, dtype=torch.int8),
        verified_held=torch.zeros(60, dtype=torch.bool),
        trusted=nobody,
        clean=torch.zeros(60, dtype=torch.bool),
        text=Text(memory.task.classes),
    )
    settings = BankSettings(residence="disk")
    disk = build(samples, features, torch.zeros(60, 4), settings=settings, device=torch.device("cpu"), folder=tmp_path)
    held = make_bank(features, labels.single, 4)
    chooser = SmpPrototypes(SmpPrototypesConfig(p=3, m=10))
    chosen = [chooser(bank, SideInfo(), make_phase()) for bank in (disk, held)]
    assert torch.equal(chosen[0].rows, chosen[1].rows)  # type: ignore[arg-type]
    assert torch.equal(correct(disk, chosen[0]).top, correct(held, chosen[1]).top)
    disk.close()


def test_new_prototypes_replace_the_old() -> None:
    bank = make_bank(torch.tensor([[1.0, 0.0, 0.0]]), [0], 3)
    block, method = bank.take(torch.tensor([0])), corrector()
    assert method(block, Targets.of(block.labels), AXES, SideInfo()).top.tolist() == [0]
    turned = Prototypes.of(torch.eye(3).roll(1, 0))
    assert method(block, Targets.of(block.labels), turned, SideInfo()).top.tolist() == [1]


def test_neither_prototypes_nor_targets_are_changed() -> None:
    bank, prototypes = scene()
    kept = prototypes.vectors.clone()
    before = Targets.of(bank.labels)
    classes = before.classes.clone()
    for similarity in ("mean", "max"):
        correct(bank, prototypes, before, similarity=similarity)
    assert torch.equal(prototypes.vectors, kept)
    assert torch.equal(before.classes, classes)
    assert float(before.alpha.sum()) == 0


def test_margins_are_finite_whatever_is_missing() -> None:
    gone = -torch.inf
    scores = torch.tensor([[0.5, gone, gone], [gone, 0.5, 0.4], [gone, gone, gone], [0.1, 0.3, 0.2]])
    assert judged(scores, torch.tensor([0, 0, 0, PAD]))[1].tolist() == pytest.approx([0, 0, 0, -0.1])


def test_it_needs_prototypes_and_single_labels() -> None:
    assert corrector().needs.prototypes
    assert corrector().needs.labels == {"single"}


def test_there_is_no_state_to_keep() -> None:
    made = corrector()
    made.load_state_dict(made.state_dict())
    assert made.state_dict() == {}


@pytest.mark.parametrize("field", [{"alpha": 1.5}, {"similarity": "median"}, {"min_margin": -1}])
def test_settings_out_of_range_are_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        SmpCorrectorConfig(**field)
