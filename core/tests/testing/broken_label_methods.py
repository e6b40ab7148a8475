"""Weighters, correctors and builders, each broken in one way."""

import random

import torch
from breaking import broken
from sound_plugins import Builder, Corrector, Weighter

from noisyrun.api import Needs, Prototypes, Targets


@broken("needs-are-told", "labels")
class Strange(Weighter):
    needs = Needs(labels=frozenset({"dozens"}))


@broken("works-with-what-it-needs", "NoneType")
class Silent(Weighter):
    """Uses side information it never asked for."""

    def fit(self, bank, prototypes, side, phase):
        self.norm = float(side.class_embeddings.norm())


@broken("works-with-what-it-needs", "needs 1")
class SingleAlone(Corrector):
    """Says it takes several labels, and reads the one."""

    def correct(self, block, targets, prototypes, side):
        return Targets.hard(block.observed, 1.0)


@broken("works-with-what-it-needs", r"weights must have shape")
class Column(Weighter):
    def weigh(self, block, labels, prototypes, side):
        return torch.ones(len(block), 1)


@broken("works-with-what-it-needs", r"targets\.values must be .*float32")
class Double(Corrector):
    def correct(self, block, targets, prototypes, side):
        made = super().correct(block, targets, prototypes, side)
        return Targets(made.classes, made.values.double(), made.alpha)


@broken("works-with-what-it-needs", "weights must be on cpu")
class Elsewhere(Weighter):
    def weigh(self, block, labels, prototypes, side):
        return torch.ones(len(block), device="meta")


@broken("works-with-more-than-it-needs", "not match|shape|size")
class Greedy(Weighter):
    """Uses what is there without looking at its shape."""

    def weigh(self, block, labels, prototypes, side):
        if side.class_embeddings is None:
            return super().weigh(block, labels, prototypes, side)
        return (block.features @ side.class_embeddings.T)[:, 0].abs()


@broken("weights-are-finite-and-not-negative", "at least 0")
class Negative(Weighter):
    def weigh(self, block, labels, prototypes, side):
        return torch.full((len(block),), -0.1)


@broken("weights-are-finite-and-not-negative", "not finite")
class Infinite(Weighter):
    def weigh(self, block, labels, prototypes, side):
        return torch.ones(len(block)) / (labels != 1).float()


@broken("targets-are-probabilities", "sum to 1")
class OffTheSimplex(Corrector):
    def correct(self, block, targets, prototypes, side):
        return Targets(block.top_classes[:, :2], torch.full((len(block), 2), 0.7), torch.ones(len(block)))


@broken("targets-are-probabilities", "name it once")
class Twice(Corrector):
    """Names a class twice; each value by itself is in bounds."""

    def correct(self, block, targets, prototypes, side):
        top = block.top_classes[:, :1]
        values = torch.full((len(block), 2), 0.5 if not block.bank.task.multi else 0.9)
        return Targets(top.repeat(1, 2), values, torch.ones(len(block)))


@broken("prototypes-stand-for-classes", "another class")
class Foreign(Builder):
    def build_class(self, c, bank, rows, side, phase):
        own = (bank.labels.classes != c).all(1).nonzero()[:1, 0]
        made = super().build_class(c, bank, own, side, phase)
        return Prototypes.of(made.vectors, rows=own.reshape(1, 1))


@broken("prototypes-stand-for-classes", "has no prototype")
class Absent(Builder):
    def build_class(self, c, bank, rows, side, phase):
        made = super().build_class(c, bank, rows, side, phase)
        return Prototypes.of(made.vectors, torch.full((1, 1), c != 2))


@broken("determined-by-the-seed", "two answers")
@broken("leaves-global-generators-alone", "torch's global")
class Dice(Weighter):
    def weigh(self, block, labels, prototypes, side):
        return torch.rand(len(block))


@broken("leaves-global-generators-alone", "Python's global")
class Shuffler(Corrector):
    def fit(self, bank, prototypes, side, phase):
        random.random()


@broken("order-of-rows-does-not-matter", "another order")
class Positional(Weighter):
    """Weighs by the place of a row in the bank."""

    def weigh(self, block, labels, prototypes, side):
        return block.rows.float() / len(block.bank)


@broken("order-of-rows-does-not-matter", "another order")
class PositionalPairs(Positional):
    """The same, but only where a sample may have several labels."""

    def weigh(self, block, labels, prototypes, side):
        if not block.bank.task.multi:
            return torch.ones(len(block))
        return super().weigh(block, labels, prototypes, side)


@broken("determined-by-the-seed", "two answers")
class DicePairs(Dice):
    def weigh(self, block, labels, prototypes, side):
        return super().weigh(block, labels, prototypes, side) ** block.bank.task.multi


@broken("order-of-rows-does-not-matter", "another order")
class FirstOfClass(Builder):
    def build_class(self, c, bank, rows, side, phase):
        return super().build_class(c, bank, rows[:5], side, phase)


@broken("size-of-blocks-does-not-matter", "blocks of seven")
@broken("judges-a-row-by-itself", "rows beside others")
class ByBlock(Weighter):
    """Sets weights off by the mean of the block."""

    def weigh(self, block, labels, prototypes, side):
        return (block.features[:, 0] - block.features[:, 0].mean()).abs()


@broken("size-of-blocks-does-not-matter", "blocks of seven")
class PairsByBlock(ByBlock):
    def weigh(self, block, labels, prototypes, side):
        return super().weigh(block, labels, prototypes, side) ** block.bank.task.multi


@broken("state-is-tensors-and-json", "neither a tensor nor a JSON value")
class Opaque(Weighter):
    def state_dict(self):
        return {"norm": {1, 2}}


@broken("state-survives-a-checkpoint", "restored")
class Forgetful(Weighter):
    def state_dict(self):
        return {}


@broken("state-survives-a-checkpoint", "restored")
class ForgetfulPairs(Corrector):
    """Keeps what it learned of single labels alone."""

    shares = None

    def fit(self, bank, prototypes, side, phase):
        self.shares = bank.class_counts().float() / len(bank)

    def correct(self, block, targets, prototypes, side):
        if self.shares is None:
            return Targets.of(block.labels)
        return Targets.hard(block.top_classes[:, 0], self.shares.amax() / 2)

    def state_dict(self):
        several = self.shares is not None and self.shares.sum() > 1
        return {} if self.shares is None or several else {"shares": self.shares}

    def load_state_dict(self, state):
        self.shares = state.get("shares")


@broken("stays-within-memory", "MB allowed")
class Whole(Weighter):
    """Gathers all features at once."""

    def fit(self, bank, prototypes, side, phase):
        self.norm = float(torch.cat([block.features for block in bank.blocks()]).norm(dim=1).mean())


@broken("stays-within-memory", "MB allowed")
class Everyone(Corrector):
    """Forms scores of all samples and classes."""

    def fit(self, bank, prototypes, side, phase):
        torch.zeros(len(bank), bank.num_classes)


@broken("leaves-its-inputs-alone", "bank.features changed")
class InPlace(Weighter):
    def weigh(self, block, labels, prototypes, side):
        block.features.sub_(1.0)
        return torch.ones(len(block))


@broken("leaves-its-inputs-alone", "targets.values changed")
class Halving(Corrector):
    def correct(self, block, targets, prototypes, side):
        targets.values.mul_(0.5)
        return super().correct(block, targets, prototypes, side)


@broken("leaves-its-inputs-alone", "targets.values changed")
class HalvingPairs(Corrector):
    def correct(self, block, targets, prototypes, side):
        targets.values.mul_(0.5 if block.bank.task.multi else 1.0)
        return super().correct(block, targets, prototypes, side)


@broken("leaves-its-inputs-alone", "prototypes.vectors changed")
class Overwriting(Weighter):
    def fit(self, bank, prototypes, side, phase):
        prototypes.vectors.div_(2)


@broken("coarse-and-large-features-stay-finite", "not finite")
class Overflowing(Weighter):
    def weigh(self, block, labels, prototypes, side):
        return block.features.exp().sum(1)


@broken("takes-a-class-without-samples", "not finite")
class Divides(Weighter):
    def weigh(self, block, labels, prototypes, side):
        return 1 / block.bank.class_counts()[labels].float()


@broken("takes-a-class-without-samples", "not finite")
class DividesPairs(Divides):
    def weigh(self, block, labels, prototypes, side):
        return super().weigh(block, labels, prototypes, side) ** block.bank.task.multi


@broken("takes-a-class-with-one-sample", "not finite")
class Variance(Builder):
    def build_class(self, c, bank, rows, side, phase):
        return Prototypes.of(
            (bank.take(rows).features.var(0, correction=0) * len(rows) / (len(rows) - 1)).reshape(1, 1, -1)
        )


@broken("takes-features-that-are-all-equal", "not finite")
class Scaled(Weighter):
    def weigh(self, block, labels, prototypes, side):
        return block.features.norm(dim=1) / block.features.norm(dim=1)


@broken("takes-features-that-are-all-equal", "not finite")
class ScaledPairs(Scaled):
    def weigh(self, block, labels, prototypes, side):
        return super().weigh(block, labels, prototypes, side) ** block.bank.task.multi


@broken("takes-two-classes", "out of bounds")
class Top3(Corrector):
    def correct(self, block, targets, prototypes, side):
        return Targets.hard(block.top_classes[:, 2], 1.0)


@broken("takes-samples-without-label", "out of bounds|out of range|negative")
class Unpadded(Corrector):
    def fit(self, bank, prototypes, side, phase):
        torch.bincount(bank.labels.classes.flatten() if not bank.task.multi else torch.zeros(1).long())


@broken("takes-the-prototypes-of-others", "size|shape|multiplied")
class OwnSpace(Weighter):
    """Compares features with prototypes without embedding them."""

    def weigh(self, block, labels, prototypes, side):
        return (block.features @ prototypes.vectors[:, 0].T)[:, 0].abs()
