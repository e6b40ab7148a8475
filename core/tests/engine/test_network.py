"""The network with parts that methods bring."""

import pytest
import torch
from torch import nn

from noisyrun.api import Labels, MethodError, OnlinePart, Task, UserError
from noisyrun.api.labels import Targets
from noisyrun.api.online import Batch
from noisyrun.engine.network import Network, Step

TASK = Task(tuple("abc"), image_size=(8, 8), channels=1)


class Head(nn.Module):
    def __init__(self, dim, classes):
        super().__init__()
        self.layer = nn.Linear(dim, classes)

    def head(self, features):
        return self.layer(features)


class Clean(OnlinePart):
    head = True
    replaces_loss = True

    def part(self, dim, task):
        return Head(dim, task.num_classes)

    def loss(self, part, batch, features, logits):
        return {"clean": logits.square().mean()}


class Extra(OnlinePart):
    def part(self, dim, task):
        return nn.Linear(dim, 1)

    def loss(self, part, batch, features, logits):
        return {"extra": part(features).mean()}


class Vector(Extra):
    def loss(self, part, batch, features, logits):
        return {"extra": part(features)}


def build(kit, online=None, **options):
    torch.manual_seed(0)
    return Network(kit.backbone(), TASK, online, **options)


def step(parts=True):
    labels = Labels.of(torch.tensor([0, 1, 2, 0]))
    ones = torch.ones(4, 1)
    batch = Batch(torch.arange(4), labels, Targets.of(labels), ones, torch.zeros(4).bool(), labels, ones[:, 0].bool())
    return Step(labels, batch=batch if parts else None)


IMAGES = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_the_loss_is_the_loops_own_plus_every_parts(kit):
    network = build(kit, {"weighter.extra": Extra()})
    loss, terms = network(IMAGES, step())
    assert set(terms) == {"loop", "weighter.extra.extra"}
    torch.testing.assert_close(loss, terms["loop"] + terms["weighter.extra.extra"])


def test_a_parts_head_takes_the_place_of_the_backbones_and_can_replace_the_loss(kit):
    network = build(kit, {"corrector.clean": Clean()})
    loss, terms = network(IMAGES, step())
    assert set(terms) == {"corrector.clean.clean"}
    loss.backward()
    assert all(p.grad is not None for p in network.parameters())
    network.eval()
    features = network.features(IMAGES)
    part = network.parts["corrector/clean"]
    torch.testing.assert_close(network.predict(IMAGES), part.layer(features))


def test_in_a_stage_without_parts_the_backbones_own_head_learns_from_the_loops_loss_and_predicts(kit):
    network = build(kit, {"corrector.clean": Clean(), "weighter.extra": Extra()}, own_head=True)
    network.freeze("all", online=False)
    assert not network.has_parts
    assert {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad} == {
        "extractor",
        "classifier",
    }
    assert set(network(IMAGES, step(parts=False))[1]) == {"loop"}
    network.eval()
    torch.testing.assert_close(network.predict(IMAGES), network.classifier(network.features(IMAGES)))

    network.freeze("head", online=True)
    assert {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad} == {"parts"}
    part = network.parts["corrector/clean"]
    torch.testing.assert_close(network.predict(IMAGES), part.layer(network.features(IMAGES)))


def test_the_backbones_own_head_is_not_built_where_nothing_uses_it_and_changes_no_other_weight(kit):
    bare, both = (build(kit, {"corrector.clean": Clean()}, own_head=own) for own in (False, True))
    assert bare.classifier is None
    same = both.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in bare.state_dict().items())


def test_training_parts_where_there_are_none_is_refused(kit):
    with pytest.raises(UserError, match="leaves nothing to train"):
        build(kit).freeze("parts")


def test_two_heads_are_refused(kit):
    with pytest.raises(UserError, match=r"corrector.a and weighter.b both bring a head"):
        build(kit, {"corrector.a": Clean(), "weighter.b": Clean()})


def test_a_part_without_the_head_it_promised_names_its_method(kit):
    class Headless(Extra):
        head = True

    with pytest.raises(MethodError, match=r"weighter.headless: .* the part has no head"):
        build(kit, {"weighter.headless": Headless()})


def test_a_part_that_predicts_is_asked_at_evaluation(kit):
    class Predicts(Extra):
        def predict(self, part, features):
            return features[:, :3]

    network = build(kit, {"weighter.p": Predicts()}).eval()
    torch.testing.assert_close(network.predict(IMAGES), network.features(IMAGES)[:, :3])


def test_a_loss_that_is_no_scalar_names_its_method(kit):
    network = build(kit, {"weighter.vector": Vector()})
    with pytest.raises(MethodError, match=r"weighter.vector: loss 'extra' must be a floating-point scalar"):
        network(IMAGES, step())


@pytest.mark.parametrize(
    ("trains", "learning"),
    [("all", {"extractor", "classifier", "parts"}), ("head", {"classifier", "parts"}), ("parts", {"parts"})],
)
def test_freezing_leaves_gradients_to_what_trains(kit, trains, learning):
    network = build(kit, {"weighter.extra": Extra()})
    network.freeze(trains)
    assert {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad} == learning


def test_a_frozen_extractor_keeps_its_statistics_while_the_rest_trains(kit):
    network = build(kit)
    network.freeze("head")
    network.train()
    before = {k: v.clone() for k, v in network.extractor.state_dict().items()}
    network(IMAGES, step(parts=False))[0].backward()
    assert all(torch.equal(v, before[k]) for k, v in network.extractor.state_dict().items())
    network.freeze("all")
    assert network.extractor.training


def test_dropout_comes_before_the_head_and_only_in_training(kit):
    network = build(kit, dropout=0.5)
    network.eval()
    assert torch.equal(network.predict(IMAGES), network.predict(IMAGES))
    network.train()
    one, other = (float(network(IMAGES, step(parts=False))[0].detach()) for _ in range(2))
    assert one != other


def test_small_cnn_takes_images_of_other_sizes_and_both_norms():
    from noisyrun.backbones.config import SmallCNNConfig
    from noisyrun.backbones.small_cnn import SmallCNN

    for norm in ("batch", "group"):
        for side in (8, 32, 64):
            task = Task(tuple("ab"), image_size=(side, side), channels=3)
            made = SmallCNN(SmallCNNConfig(width=6, depth=4, norm=norm))(task)
            assert made.features(torch.randn(2, 3, side + 5, side)).shape == (2, made.dim)
            assert made.dim == 48


def test_backbones_say_which_data_they_need(kit):
    with pytest.raises(UserError, match="choose --backbone features"):
        kit.backbone()(Task(tuple("ab"), feature_dim=4))
    with pytest.raises(UserError, match="has images"):
        kit.backbone(features=True)(TASK)
