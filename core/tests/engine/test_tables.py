"""What a step learns from, and what online parts see of it."""

from dataclasses import replace

import pytest
import torch

from noisyrun.api import PAD, Labels, Stage, Targets
from noisyrun.engine.label_state import LabelState
from noisyrun.engine.tables import LabelTables, mix

CPU = torch.device("cpu")
HERE = torch.arange(6)


@pytest.fixture
def train(kit):
    return kit.with_clean(kit.make_data()).train


@pytest.fixture
def judged(train):
    weights = torch.linspace(0.5, 1.5, len(train))[:, None]
    targets = Targets.hard((train.labels.single + 1) % 3, 0.25)
    return replace(LabelState.initial(train.labels), weights=weights, target_weights=2 * weights, targets=targets)


def step(train, state, **stage):
    tables = LabelTables(train, state, Stage(name="s", epochs=1, **stage), CPU)
    return tables.step(HERE, torch.ones(6, dtype=torch.bool), None, for_parts=True)


def test_parts_see_the_corrected_labels_and_weights_of_the_loss(train, judged):
    made = step(train, judged)
    assert torch.equal(made.batch.targets.alpha, torch.full((6,), 0.25))
    assert torch.equal(made.batch.weights, judged.weights[HERE])
    assert torch.equal(made.batch.target_weights, judged.target_weights[HERE])


@pytest.mark.parametrize("targets", ["observed", "trusted", "mixed"])
def test_parts_see_no_correction_where_the_loss_uses_none(train, judged, targets):
    made = step(train, judged, targets=targets, weighted=False)
    assert made.targets is None
    assert torch.equal(made.batch.targets.alpha, torch.zeros(6))
    assert torch.equal(made.batch.targets.classes, made.labels.classes)
    assert torch.equal(made.batch.weights, torch.ones(6, 1))
    assert made.batch.target_weights is None


def test_parts_see_the_labels_of_the_stage(train, judged):
    for targets, labels in (("observed", train.labels), ("trusted", train.trusted)):
        assert torch.equal(step(train, judged, targets=targets).batch.labels.classes, labels.classes[HERE])


def test_mixed_labels_are_trusted_where_there_are_some_and_those_weigh_one(train, judged):
    made = step(train, judged, targets="mixed")
    clean = train.clean[HERE]
    assert clean.any()
    assert not clean.all()
    assert torch.equal(made.labels.single, torch.where(clean, train.trusted.single[HERE], train.labels.single[HERE]))
    assert torch.equal(made.weights[:, 0], torch.where(clean, 1.0, judged.weights[HERE, 0]))
    assert torch.equal(made.batch.labels.classes, made.labels.classes)


def test_mixing_leaves_a_sample_without_a_trusted_label_as_it_was(train):
    state = LabelState.initial(train.labels)
    none = replace(train, trusted=Labels.of(torch.full((len(train),), PAD)), clean=torch.zeros(len(train)).bool())
    assert torch.equal(step(none, state, targets="mixed").labels.classes, train.labels.classes[HERE])


def test_several_labels_are_mixed_pair_by_pair():
    observed = Labels(torch.tensor([[0, 1], [2, PAD], [1, PAD]]))
    # Of the first sample it is known that it has class 2 and not class 1; of the third nothing.
    trusted = Labels(torch.tensor([[2], [PAD], [PAD]]), torch.tensor([[1, 2], [0, 2], [PAD, PAD]]))
    weights = torch.tensor([[0.5, 0.6], [0.7, 1.0], [0.8, 1.0]])
    labels, mixed = mix(observed, weights, trusted, torch.tensor([True, True, False]), 3)
    assert labels.multi_hot(3).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert labels.known is None
    assert torch.equal(
        torch.where(labels.classes == PAD, 0, mixed), torch.tensor([[0.5, 0, 1], [0, 0, 0], [0, 0.8, 0]])
    )


def test_a_clean_sample_may_have_no_class_at_all():
    observed = Labels(torch.tensor([[0, 1], [0, 1]]))
    trusted = Labels(torch.tensor([[PAD, PAD], [PAD, PAD]]))
    labels, _ = mix(observed, None, trusted, torch.tensor([True, False]), 2)
    assert labels.multi_hot(2).tolist() == [[0, 0], [1, 1]]


def test_what_either_label_knows_is_known():
    observed = Labels(torch.tensor([[0]]), torch.tensor([[0]]))
    trusted = Labels(torch.tensor([[PAD]]), torch.tensor([[2]]))
    labels, _ = mix(observed, None, trusted, torch.tensor([True]), 3)
    assert labels.known_mask(3).tolist() == [[True, False, True]]
    assert labels.multi_hot(3).tolist() == [[1, 0, 0]]
