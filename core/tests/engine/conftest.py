"""A small data set of striped images, and methods that do something visible to labels."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from noisyrun.api import PAD, Judgement, LabelCorrector, Labels, PluginConfig, SampleWeighter, Targets, Task, Text
from noisyrun.backbones.config import FeaturesConfig, SmallCNNConfig
from noisyrun.backbones.features import FeaturesBackbone
from noisyrun.backbones.small_cnn import SmallCNN
from noisyrun.config.settings import RunSettings
from noisyrun.data.images import ResidentImages
from noisyrun.data.samples import Data, Samples
from noisyrun.methods import Methods

CLASSES = 3


def samples(n: int, seed: int, noise: float = 0.0, features: bool = False) -> Samples:
    """Images whose bright rows tell their class; a share of the labels is wrong."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, CLASSES, (n,), generator=draw)
    pixels = torch.randint(0, 60, (n, 1, 8, 8), generator=draw, dtype=torch.uint8)
    for c in range(CLASSES):
        pixels[truth == c, :, 2 * c : 2 * c + 2] += 150
    flip = torch.rand(n, generator=draw) < noise
    observed = torch.where(flip, (truth + 1) % CLASSES, truth)
    size = None if features else (8, 8)
    return Samples(
        task=Task(tuple("abc"), image_size=size, channels=None if features else 1),
        index=torch.arange(n) * 2 + 5,
        labels=Labels.of(observed),
        verified=torch.full((n,), -1, dtype=torch.int8),
        verified_held=torch.zeros(n, dtype=torch.bool),
        trusted=Labels.of(torch.full((n,), PAD)),
        clean=torch.zeros(n, dtype=torch.bool),
        text=Text(tuple("abc")),
        images=None if features else ResidentImages(pixels),
        features=pixels.flatten(1).float() / 255 if features else None,
        truth=Labels.of(truth),
    )


def make_data(n: int = 90, features: bool = False) -> Data:
    train = samples(n, 0, noise=0.3, features=features)
    mean, std = ((), ()) if features else ((0.3,), (0.25,))
    return Data(
        name="stripes",
        train=train,
        val=samples(30, 1, noise=0.3, features=features),
        test=samples(30, 2, features=features),
        digests={"labels": "x"},
        mean=mean,
        std=std,
    )


def with_clean(data: Data, share: int = 3) -> Data:
    """Every so manieth sample has a trusted label."""
    train = data.train
    assert train.truth is not None
    clean = torch.arange(len(train)) % share == 0
    trusted = torch.where(clean[:, None], train.truth.classes, PAD)
    return replace(data, train=replace(train, clean=clean, trusted=Labels(trusted)))


class Confidence(SampleWeighter[PluginConfig]):
    """Weighs a label by the classifier's probability of it; remembers how often it was fitted."""

    key = "weighter.confidence"

    def __init__(self) -> None:
        super().__init__(PluginConfig())
        self.seen = torch.zeros(1)

    def fit(self, bank, prototypes, side, phase):
        self.seen += 1

    def weigh(self, block, labels, prototypes, side):
        probs = block.label_probs[:, 0] + 0.01 * self.seen
        return Judgement(probs, wrong=probs < 0.3)

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


class TopClass(LabelCorrector[PluginConfig]):
    """Mixes in the classifier's best guess."""

    key = "corrector.top-class"

    def __init__(self) -> None:
        super().__init__(PluginConfig())

    def correct(self, block, targets, prototypes, side):
        return Targets.hard(block.top_classes[:, 0], 0.5)


def backbone(features: bool = False):
    made = FeaturesBackbone(FeaturesConfig(hidden=(8,))) if features else SmallCNN(SmallCNNConfig(width=4, depth=2))
    made.key = "backbone.features" if features else "backbone.small-cnn"
    return made


def make_methods(judging: bool = True, features: bool = False) -> Methods:
    if not judging:
        return Methods(backbone=backbone(features))
    return Methods(backbone=backbone(features), weighters=(Confidence(),), correctors=(TopClass(),))


def make_settings(**changes) -> RunSettings:
    values = {"epochs": 3, "batch_size": 16, "device": "cpu", "corrections": {"warn": False}}
    return RunSettings.model_validate(values | changes)


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """What tests make data, methods and settings with."""
    return SimpleNamespace(
        make_data=make_data,
        with_clean=with_clean,
        make_methods=make_methods,
        make_settings=make_settings,
        backbone=backbone,
        Confidence=Confidence,
    )
