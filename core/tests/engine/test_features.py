"""Where the features of a label phase come from."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from noisyrun.backbones.config import FeaturesConfig
from noisyrun.backbones.features import FeatureMLP, FeaturesBackbone
from noisyrun.engine.trainer import Trainer


class Normalised(FeaturesBackbone):
    """Features by batch normalisation, which learns from every batch it sees in training."""

    def build(self, task):
        made = FeatureMLP(task.feature_dim, self.config)
        made.layers = nn.Sequential(nn.BatchNorm1d(task.feature_dim))
        return made


def built(kit, backbone):
    backbone.key = "backbone.features"
    methods = replace(kit.make_methods(), backbone=backbone)
    trainer = Trainer(kit.make_settings(), methods, kit.make_data(features=True), device=torch.device("cpu"))
    trainer.build()
    trainer.network.train()
    return trainer


def bank_of(trainer):
    return trainer.features.bank(trainer.view(trainer.stages[0]), {})


def test_given_features_that_the_network_passes_on_are_the_bank_without_a_copy(kit):
    trainer = built(kit, FeaturesBackbone(FeaturesConfig()))
    bank = bank_of(trainer)
    assert bank.take(torch.arange(90)).features.data_ptr() == trainer.data.train.features.data_ptr()
    with torch.no_grad():
        logits = trainer.network.eval().head(trainer.data.train.features)
    assert torch.equal(bank.top_classes[:, 0], logits.argmax(1))


def test_given_features_that_the_network_changes_are_made_anew_and_teach_it_nothing(kit):
    trainer = built(kit, Normalised(FeaturesConfig()))
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    bank = bank_of(trainer)
    assert trainer.network.training
    assert all(torch.equal(before[name], value) for name, value in trainer.network.state_dict().items())
    with torch.no_grad():
        want = trainer.network.eval().features(trainer.data.train.features)
    assert torch.allclose(bank.take(torch.arange(90)).features, want, atol=1e-6)
