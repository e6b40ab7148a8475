"""One sound plugin for each socket, from which the tests make broken ones."""

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from noisyrun.api import (
    PAD,
    Backbone,
    FeatureExtractor,
    Judgement,
    LabelCorrector,
    Needs,
    OnlinePart,
    PluginConfig,
    PrototypeBuilder,
    Prototypes,
    SampleWeighter,
    SideInfo,
    SideInfoEncoder,
    Targets,
)


class Config(PluginConfig):
    share: float = Field(0.5, gt=0, le=1, description="A share.")


class Weighter(SampleWeighter[Config]):
    """Weighs by the cosine to the label's prototype, set off by the mean norm of the features."""

    norm = 0.0

    @property
    def needs(self):
        return Needs(prototypes=True)

    def fit(self, bank, prototypes, side, phase):
        self.norm = float(torch.cat([block.features.norm(dim=1) for block in bank.blocks()]).mean())

    def weigh(self, block, labels, prototypes, side):
        vectors = prototypes.vectors.mean(1)[labels]
        cosine = functional.cosine_similarity(prototypes.embed(block.features), vectors, eps=1e-6)
        return Judgement((1 + cosine) / (1 + self.norm), cosine, cosine < 0)

    def state_dict(self):
        return {"norm": self.norm}

    def load_state_dict(self, state):
        self.norm = state.get("norm", 0.0)


class Corrector(LabelCorrector[Config]):
    """The classifier's best class, with a share of the loss."""

    def correct(self, block, targets, prototypes, side):
        return Targets.hard(block.top_classes[:, 0], self.config.share)


class Builder(PrototypeBuilder[Config]):
    """The mean of each class, block by block."""

    def build_class(self, c, bank, rows, side, phase):
        total = sum(block.features.double().sum(0) for block in bank.blocks(rows))
        return Prototypes.of((total / len(rows)).float().reshape(1, 1, -1))


class Encoder(SideInfoEncoder[Config]):
    """A vector a class, by the letters of its name."""

    gives = frozenset({"class_embeddings"})

    def encode(self, task, text, before, phase):
        counts = [[name.count(letter) for letter in "aeiou"] for name in text.names]
        return SideInfo(class_embeddings=torch.tensor(counts, dtype=torch.float32))


class Net(FeatureExtractor):
    def __init__(self, channels, dim):
        super().__init__()
        self.dim = dim
        self.layer = nn.Linear(channels, dim)

    def features(self, images):
        return self.layer(images.mean((2, 3)))


class Network(Backbone[Config]):
    """A linear layer on the mean colour."""

    def build(self, task):
        return Net(task.channels, 4)


class Part(nn.Module):
    def __init__(self, dim, classes):
        super().__init__()
        self.layer = nn.Linear(dim, classes)

    def head(self, features):
        return self.layer(features)


class Online(SampleWeighter[Config], OnlinePart):
    """A head of its own, and its cross entropy over rows that are no padding."""

    head = True
    replaces_loss = True

    def weigh(self, block, labels, prototypes, side):
        return torch.ones(len(block))

    def part(self, dim, task):
        return Part(dim, task.num_classes)

    def loss(self, part, batch, features, logits):
        labels = batch.labels.classes[:, 0]
        losses = functional.cross_entropy(logits, labels.clamp(min=0), reduction="none")
        counts = (batch.mask & (labels != PAD)).float()
        return {"ce": (losses * counts).sum() / counts.sum().clamp(min=1)}


SOUND = (Weighter, Corrector, Builder, Encoder, Network, Online)
