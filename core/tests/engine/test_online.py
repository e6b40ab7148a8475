"""A part of the network that a weighter brings, through a whole run."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from noisyrun.api import BAGS, MIX, UNIFORM, LabelCorrector, OnlinePart, PluginConfig, SampleWeighter, Stage
from noisyrun.engine.trainer import Trainer
from noisyrun.methods import Methods

CPU = torch.device("cpu")
NAME = "weighter/clean"


class Part(nn.Module):
    def __init__(self, dim, classes):
        super().__init__()
        self.layer = nn.Linear(dim, classes)

    def head(self, features):
        return self.layer(features)


class Clean(SampleWeighter[PluginConfig], OnlinePart):
    """Its own head and its own loss, over the rows that are no padding."""

    key = "weighter.clean"
    head = True
    replaces_loss = True

    def __init__(self):
        super().__init__(PluginConfig())
        self.seen = []

    def weigh(self, block, labels, prototypes, side):
        return torch.ones(len(block))

    def part(self, dim, task):
        return Part(dim, task.num_classes)

    def loss(self, part, batch, features, logits):
        self.seen.append(batch)
        losses = functional.cross_entropy(logits, batch.labels.single, reduction="none")
        return {"ce": (losses * batch.mask).sum() / batch.mask.sum()}


def make(kit, batches=UNIFORM, folder=None, epochs=1, stages=()):
    method = Clean()
    methods = Methods(backbone=kit.backbone(), weighters=(method,))
    settings = kit.make_settings(epochs=epochs, batch_size=16, stages=stages)
    data = kit.with_clean(kit.make_data(47))
    return method, Trainer(settings, methods, data, device=CPU, batches=batches, folder=folder)


def rows(method, name):
    return torch.cat([getattr(batch, name) for batch in method.seen])


@pytest.mark.parametrize("batches", [UNIFORM, BAGS(4)])
def test_rows_that_are_no_padding_are_every_sample_once(kit, batches):
    method, trainer = make(kit, batches)
    trainer.run()
    index = rows(method, "index")[rows(method, "mask")]
    assert torch.equal(index.sort().values, trainer.data.train.index)


def test_bags_are_of_one_class_and_their_padding_is_masked(kit):
    method, trainer = make(kit, BAGS(4))
    trainer.run()
    assert not bool(rows(method, "mask").all())
    for batch in method.seen:
        for bag in batch.bags.unique():
            of = batch.bags == bag
            assert int(of.sum()) == 4
            assert len(batch.labels.single[of].unique()) == 1


def test_a_mix_holds_clean_samples_in_its_ratio_and_every_other_one_once(kit):
    method, trainer = make(kit, MIX(1, 3))
    trainer.run()
    assert [int(batch.clean.sum()) for batch in method.seen] == [4] * len(method.seen)
    index = rows(method, "index")[~rows(method, "clean")]
    assert torch.equal(index.sort().values, trainer.data.train.index[~trainer.data.train.clean])


def test_the_part_is_trained_and_a_resumed_run_ends_with_the_same_one(kit, tmp_path):
    _, trainer = make(kit, folder=tmp_path / "one", epochs=2)
    trainer.build()
    first = trainer.network.parts[NAME].layer.weight.detach().clone()
    last = trainer.run().network.parts[NAME].layer.weight
    assert not torch.equal(first, last)

    _, broken = make(kit, folder=tmp_path / "two", epochs=2)
    save = broken._save

    def stop():
        save()
        raise KeyboardInterrupt

    broken._save = stop
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    again = make(kit, folder=tmp_path / "two", epochs=2)[1].run(resume=True)
    assert torch.equal(again.network.parts[NAME].layer.weight, last)


BEFORE = Stage(name="before", epochs=1, online=False, targets="observed", weighted=False)


def test_a_stage_without_parts_leaves_them_as_they_are_and_draws_uniform_batches(kit):
    method, trainer = make(kit, MIX(1, 3), stages=[BEFORE])
    trainer.build()
    part, own = trainer.network.parts[NAME].layer.weight.clone(), trainer.network.classifier.weight.clone()
    network = trainer.run().network
    assert method.seen == []
    assert trainer.progress.steps == 3  # 47 samples in batches of 16
    assert torch.equal(network.parts[NAME].layer.weight, part)
    assert not torch.equal(network.classifier.weight, own)


@pytest.mark.parametrize("left", [0, 1])
def test_resumed_across_a_stage_without_parts(kit, tmp_path, left):
    """Killed within and right after that stage; then also after the last, where the head in use must be known."""
    after = Stage(name="after", epochs=2, trains="parts")
    stages = [BEFORE, after] if left else [after.model_copy(update={"trains": "all"}), BEFORE]
    whole = make(kit, folder=tmp_path / "whole", stages=stages)[1].run()
    for when in (1, 2, 3):
        folder = tmp_path / str(when)
        _, broken = make(kit, folder=folder, stages=stages)
        save, count = broken._save, [0]

        def stop(save=save, count=count, when=when):
            save()
            count[0] += 1
            if count[0] == when:
                raise KeyboardInterrupt

        broken._save = stop
        with pytest.raises(KeyboardInterrupt):
            broken.run()
        again = make(kit, folder=folder, stages=stages)[1].run(resume=True)
        states = again.network.state_dict(), whole.network.state_dict()
        assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
        assert again.network.has_parts == bool(left)
        assert again.accuracy == whole.accuracy


def test_a_corrector_that_only_trains_a_part_asks_for_no_label_phase(kit):
    class Part(LabelCorrector[PluginConfig], OnlinePart):
        pass

    class Both(Part):
        def correct(self, block, targets, prototypes, side):
            return targets

    one, both = (Methods(kit.backbone(), correctors=(kind(PluginConfig()),)) for kind in (Part, Both))
    assert (one.judge_labels, both.judge_labels) == (False, True)
    assert (one.correct_labels, both.correct_labels) == (False, True)
