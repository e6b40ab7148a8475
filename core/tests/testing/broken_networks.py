"""Encoders, backbones and parts trained in the loop, each broken in one way."""

import torch
from breaking import broken
from sound_plugins import Encoder, Net, Network, Online, Part
from torch import nn

from noisyrun.api import SideInfo
from noisyrun.api.side_info import DenseRows


@broken("gives-what-it-says", "gives names class_tokens")
class Promising(Encoder):
    gives = frozenset({"class_embeddings", "class_tokens"})


@broken("gives-what-it-says", "gives does not name")
class Secret(Encoder):
    gives = frozenset()


@broken("has-a-row-for-every-sample", "2 rows for 180 samples")
class Short(Encoder):
    def encode(self, task, text, before, phase):
        return SideInfo(sample_embeddings=DenseRows(torch.zeros(2, 3)))


@broken("features-have-the-width-it-says", "dim is 5")
class Wide(Network):
    def build(self, task):
        made = Net(task.channels, 4)
        made.dim = 5
        made.make_head = lambda dim, classes: nn.Linear(4, classes)
        return made


@broken("gradient-reaches-every-weight", "unused")
class Idle(Network):
    def build(self, task):
        made = Net(task.channels, 4)
        made.unused = nn.Linear(2, 2)
        return made


@broken("weights-load-into-another-network", "outside state_dict")
class Outside(Network):
    """Keeps a weight that is neither a parameter nor a buffer."""

    def build(self, task):
        made = Net(task.channels, 4)
        scale = torch.rand(4)
        made.features = lambda images: made.layer(images.mean((2, 3))) * scale
        return made


@broken("another-seed-draws-other-weights", "two seeds")
class Constant(Network):
    def build(self, task):
        made = Net(task.channels, 4)
        nn.init.ones_(made.layer.weight)
        nn.init.zeros_(made.layer.bias)
        made.make_head = lambda dim, classes: nn.Identity()
        return made


@broken("losses-are-finite-scalars", "scalar")
class Vector(Online):
    def loss(self, part, batch, features, logits):
        return {"ce": logits.sum(1)}


@broken("gradient-reaches-the-part", "never learn|no gradient")
class Detached(Online):
    def loss(self, part, batch, features, logits):
        return {"ce": (logits.detach() * 0).sum() + features.mean()}


@broken("finite-under-bf16-autocast", "is nan")
class SureOfItself(Online):
    """A sigmoid in half precision is 1 long before it is in full precision."""

    def loss(self, part, batch, features, logits):
        return {"other": -((1 - torch.sigmoid(4 * logits)).log().mean(1) * batch.mask).mean()}


@broken("finite-under-bf16-autocast", "BFloat16")
class OneDtype(Online):
    """Sums features into a table of single precision."""

    def loss(self, part, batch, features, logits):
        sums = torch.zeros(logits.shape[1], features.shape[1]).index_add(
            0, batch.labels.classes[:, 0].clamp(min=0), features * batch.mask.unsqueeze(1)
        )
        return {"spread": sums.square().mean() + super().loss(part, batch, features, logits)["ce"]}


@broken("padding-counts-nothing", "batch.mask")
class CountsPadding(Online):
    def loss(self, part, batch, features, logits):
        return {"ce": logits.square().mean()}


@broken("a-batch-of-padding-is-finite", "all rows padding")
class DividesByNone(Online):
    def loss(self, part, batch, features, logits):
        return {"ce": (logits.square().mean(1) * batch.mask).sum() / batch.mask.sum()}


@broken("predictions-have-a-logit-for-each-class", "predict gives")
class Narrow(Online):
    def predict(self, part, features):
        return part.head(features)[:, :2]


@broken("the-part-is-not-kept", "keeps its part as mine")
class Keeper(Online):
    def part(self, dim, task):
        self.mine = Part(dim, task.num_classes)
        return self.mine
