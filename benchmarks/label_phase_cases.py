"""What `label_phase_sizes.py` measures: label phases, the naive formula beside each, and what it must cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import naive
import numpy as np
import torch
from torch import Tensor

from noisyrun.api import DenseRows, FeatureBank, Prototypes, SideInfo, Targets
from noisyrun.testing import make_bank, make_phase

NO_SIDE = SideInfo()


@dataclass(frozen=True)
class Case:
    """A piece of work on one bank.

    Attributes
    ----------
    work
        Does it once.
    reads
        Bytes it must read.
    single, double
        Floating-point operations of matrix products it cannot do without, float32 and float64.
    naive
        The formula in NumPy float64, given the features in float64.
    agrees
        Raises an AssertionError where the results of `work` and `naive` differ.
    """

    work: Callable[[], Any]
    reads: float
    single: float = 0.0
    double: float = 0.0
    naive: Callable[[Any], Any] | None = None
    agrees: Callable[[Any, Any], None] = lambda ours, theirs: None


class _Logits:
    """Logits that are made block by block: [N, C] is never held, by the bank's maker either."""

    def __init__(self, features: Tensor, centres: Tensor) -> None:
        self.features = features
        self.centres = centres

    def __getitem__(self, rows: slice) -> Tensor:
        some = min(64, self.features.shape[1])  # a classifier that is no oracle, and cheap to ask
        return self.features[rows, :some] @ self.centres[:, :some].T * (8 / some)


def synthetic_bank(rows: int, dim: int, classes: int, noise: float = 0.4) -> FeatureBank:
    """Rectified Gaussian classes, a share of whose labels is drawn anew; the classifier knows their centres."""
    draw = torch.Generator().manual_seed(0)
    truth = torch.randint(classes, (rows,), generator=draw)
    wrong = torch.rand(rows, generator=draw) < noise
    labels = torch.where(wrong, torch.randint(classes, (rows,), generator=draw), truth)
    centres = torch.randn(classes, dim, generator=draw)
    features = torch.empty(rows, dim)
    for start in range(0, rows, 8192):
        block = slice(start, start + 8192)
        spread = torch.randn(len(truth[block]), dim, generator=draw)
        features[block] = (centres[truth[block]] + 2 * spread).relu_()
    logits: Any = _Logits(features, centres)
    return make_bank(features, labels, classes, logits=logits)


def relation(classes: int) -> Any:
    """A class relation as side information gives it: 1 on the diagonal, less elsewhere."""
    other = np.random.default_rng(0).uniform(0.05, 0.3, (classes, classes))
    return np.where(np.eye(classes, dtype=bool), 1.0, (other + other.T) / 2)


def _judged(weighter: Any, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo) -> tuple[Any, Any]:
    """Weights and decisions of all observed labels, as the host asks for them."""
    made = [weighter(block, block.observed, prototypes, side) for block in bank.blocks()]
    weights = torch.cat([one.weights for one in made]).double().numpy()
    return weights, None if made[0].wrong is None else torch.cat([one.wrong for one in made]).numpy()


def _close(share: float, within: float) -> Callable[[Any, Any], None]:
    def agrees(ours: Any, theirs: Any) -> None:
        near = np.abs(np.asarray(ours) - theirs) < within
        assert near.mean() >= share, f"only {near.mean():.4f} within {within}"

    return agrees


# --- SINet --------------------------------------------------------------------------------------------------------


def _sinet_prototypes(bank: FeatureBank) -> Prototypes:
    from noisyrun_sinet.config import SinetPrototypesConfig
    from noisyrun_sinet.prototypes import SinetPrototypes

    side = SideInfo(class_similarity=DenseRows(torch.from_numpy(relation(bank.num_classes)).float()))
    return SinetPrototypes(SinetPrototypesConfig())(bank, side, make_phase(0, "prototypes.sinet"))


def sinet_prototypes(bank: FeatureBank) -> Case:
    n, c, d = len(bank), bank.num_classes, bank.dim

    def formula(features: Any) -> Any:
        logits = np.log(np.maximum(1e-30, _probabilities(bank)))
        return naive.sinet_prototypes(features, logits, bank.labels.single.numpy(), relation(c))

    return Case(
        lambda: _sinet_prototypes(bank).vectors[:, 0].double().numpy(),
        reads=4 * n * d,
        single=2 * n * c * d,
        naive=formula,
        agrees=_close(0.999, 1e-2),
    )


def _probabilities(bank: FeatureBank) -> Any:
    """The classifier's probabilities, dense: what the bank keeps, the rest spread over the other classes."""
    found = np.zeros((len(bank), bank.num_classes))
    np.put_along_axis(found, bank.top_classes.numpy(), bank.top_probs.numpy(), 1)
    np.put_along_axis(found, bank.labels.classes.numpy(), bank.label_probs.numpy(), 1)
    rest = np.maximum(0, 1 - found.sum(1, keepdims=True)) / np.maximum(1, (found == 0).sum(1, keepdims=True))
    return np.where(found == 0, rest, found)


def sinet_weigher(bank: FeatureBank) -> Case:
    from noisyrun_sinet.config import SinetWeighterConfig
    from noisyrun_sinet.weighter import SinetWeighter

    prototypes = _sinet_prototypes(bank)
    weighter = SinetWeighter(SinetWeighterConfig())

    def work() -> Any:
        weighter.fit(bank, prototypes, NO_SIDE, make_phase(0, "weighter.sinet"))
        return _judged(weighter, bank, prototypes, NO_SIDE)

    def agrees(ours: Any, theirs: Any) -> None:
        _close(0.999, 1e-4)(ours[0], theirs[0])
        assert (ours[1] == theirs[1]).mean() > 0.99  # the thresholds may be a bin apart

    vectors = prototypes.vectors[:, 0].double().numpy()
    return Case(
        work,
        reads=4 * len(bank) * bank.dim,
        # The other classes of the 40 % or so whose label looks doubtful.
        single=0.4 * 2 * len(bank) * bank.num_classes * bank.dim,
        naive=lambda features: naive.sinet_judge(features, bank.labels.single.numpy(), vectors),
        agrees=agrees,
    )


# --- SMP ----------------------------------------------------------------------------------------------------------


def _smp_builder() -> Any:
    from noisyrun_smp.config import SmpPrototypesConfig
    from noisyrun_smp.prototypes import SmpPrototypes

    return SmpPrototypes(SmpPrototypesConfig())


def _smp_prototypes(bank: FeatureBank) -> Prototypes:
    made: Prototypes = _smp_builder()(bank, NO_SIDE, make_phase(0, "prototypes.smp"))
    return made


def smp_prototypes(bank: FeatureBank) -> Case:
    from noisyrun_smp.prototypes import draw

    sizes = bank.class_counts().clamp(max=1280).double()

    def formula(features: Any) -> Any:
        phase = make_phase(0, "prototypes.smp")
        draws = [draw(bank.of_class(c), 1280, phase.generator("class", c)).numpy() for c in range(bank.num_classes)]
        return np.stack(naive.smp_prototypes(features, draws))

    return Case(
        lambda: _smp_prototypes(bank).rows,
        reads=float(4 * sizes.sum() * bank.dim),
        double=float(2 * sizes.square().sum() * bank.dim),
        naive=formula,
        agrees=lambda ours, theirs: np.testing.assert_array_equal(ours.numpy(), theirs),
    )


def smp_corrector(bank: FeatureBank) -> Case:
    from noisyrun_smp.config import SmpCorrectorConfig
    from noisyrun_smp.corrector import SmpCorrector

    prototypes = _smp_prototypes(bank)
    assert prototypes.rows is not None
    chosen = list(prototypes.rows.numpy())
    labels = bank.labels.single.numpy()

    def work() -> Any:
        corrector = SmpCorrector(SmpCorrectorConfig())
        made = [corrector(block, Targets.of(block.labels), prototypes, NO_SIDE) for block in bank.blocks()]
        return torch.cat([one.top for one in made]).numpy(), torch.cat([one.confidence for one in made]).numpy()

    def formula(features: Any) -> Any:
        scores = naive.smp_scores(features, chosen)
        return scores.argmax(1), np.abs(naive.smp_margin(scores, labels))

    def agrees(ours: Any, theirs: Any) -> None:
        assert (ours[0] == theirs[0]).mean() > 0.9999
        _close(0.9999, 1e-4)(ours[1], theirs[1])

    n, c, d = len(bank), bank.num_classes, bank.dim
    return Case(work, reads=4 * n * d, single=2 * n * c * d, naive=formula, agrees=agrees)


# --- CleanNet -----------------------------------------------------------------------------------------------------


def _cleannet(bank: FeatureBank) -> tuple[Any, Any, dict[str, Any]]:
    """The builder's settings, encoders as they are drawn (training is left out), and their values in float64."""
    from noisyrun_cleannet.config import CleanNetPrototypesConfig
    from noisyrun_cleannet.encoders import CleanNet

    config = CleanNetPrototypesConfig()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = CleanNet(bank.dim, "log", config).eval().requires_grad_(False)
    return config, net, {name: value.double().numpy() for name, value in net.state_dict().items()}


def cleannet_references(bank: FeatureBank) -> Case:
    from noisyrun_cleannet.references import choose_references

    config, _, _ = _cleannet(bank)
    labels = bank.labels.single.numpy()

    def inertia(features: Any, sets: Any) -> float:
        total = 0.0
        for c in range(min(5, bank.num_classes)):
            points = features[labels == c]
            distances = (points**2).sum(1)[:, None] - 2 * points @ sets[c].T + (sets[c] ** 2).sum(1)
            total += distances.min(1).sum()
        return total

    def agrees(ours: Any, theirs: Any) -> None:
        features = bank.take(torch.arange(len(bank))).features.double().numpy()
        assert inertia(features, ours.vectors.double().numpy()) < 1.01 * inertia(features, theirs)

    n, k, d = len(bank), config.reference_size, bank.dim
    return Case(
        lambda: choose_references(bank, config, make_phase(0, "prototypes.cleannet")),
        reads=4 * n * d,
        single=2 * n * k * d,  # one round
        naive=lambda features: naive.cleannet_references(features, labels, bank.num_classes, k),
        agrees=agrees,
    )


def _reference_sets(bank: FeatureBank) -> Any:
    """References as the encoders see them, drawn at random: how they are chosen does not matter to who encodes them."""
    from noisyrun_cleannet.references import References

    rows = torch.randint(len(bank), (bank.num_classes, 50), generator=torch.Generator().manual_seed(0))
    vectors = bank.take(rows.flatten()).features.view(*rows.shape, -1).log1p()
    return References(vectors, torch.ones(rows.shape, dtype=torch.bool), rows)


def cleannet_encoding(bank: FeatureBank) -> Case:
    from noisyrun_cleannet.training import class_embeddings

    config, net, values = _cleannet(bank)
    sets = _reference_sets(bank)
    layers = bank.dim * config.hidden + config.hidden * config.attended + config.attended * config.attention
    return Case(
        lambda: class_embeddings(net, sets, make_phase(0, "prototypes.cleannet")).double().numpy(),
        reads=sets.vectors.nbytes,
        single=2 * sets.mask.numel() * layers,
        naive=lambda _: naive.cleannet_classes(sets.vectors.double().numpy(), sets.mask.numpy(), values),
        agrees=_close(1.0, 1e-4),
    )


def cleannet_weigher(bank: FeatureBank) -> Case:
    from noisyrun_cleannet.config import CleanNetWeighterConfig
    from noisyrun_cleannet.encoders import Projection
    from noisyrun_cleannet.training import class_embeddings
    from noisyrun_cleannet.weighter import CleanNetWeighter

    config, net, values = _cleannet(bank)
    vectors = class_embeddings(net, _reference_sets(bank), make_phase(0, "prototypes.cleannet"))
    prototypes = Prototypes.of(vectors, project=Projection(net))
    weighter = CleanNetWeighter(CleanNetWeighterConfig(delta=0.1))
    labels, embeddings = bank.labels.single.numpy(), vectors.double().numpy()
    n, d = len(bank), bank.dim
    return Case(
        lambda: _judged(weighter, bank, prototypes, NO_SIDE)[0],
        reads=4 * n * d,
        single=2 * n * (d * config.query_hidden + config.query_hidden * config.embedding),
        naive=lambda features: naive.cleannet_weights(np.log1p(features), labels, embeddings, values),
        agrees=_close(0.999, 1e-4),
    )


# --- URNet --------------------------------------------------------------------------------------------------------


def urnet_class(bank: FeatureBank) -> Case:
    from noisyrun_urnet.class_size import ClassSize
    from noisyrun_urnet.config import ClassSizeConfig

    weighter = ClassSize(ClassSizeConfig())

    def work() -> Any:
        weighter.fit(bank, None, NO_SIDE, make_phase(0, "weighter.urnet-class"))
        return _judged(weighter, bank, None, NO_SIDE)[0]

    labels, classes = bank.labels.single.numpy(), bank.num_classes
    formula = lambda _: naive.urnet_class(labels, classes)  # noqa: E731
    # Features are no part of it, but the host hands a weigher blocks that hold them, as views.
    return Case(work, reads=8 * len(bank), naive=formula, agrees=_close(1.0, 1e-4))


def urnet_cluster(bank: FeatureBank) -> Case:
    from noisyrun_urnet.clusters import Clusters
    from noisyrun_urnet.config import ClustersConfig

    weighter = Clusters(ClustersConfig())

    def work() -> Any:
        weighter.fit(bank, None, NO_SIDE, make_phase(0, "weighter.urnet-cluster"))
        return _judged(weighter, bank, None, NO_SIDE)[0]

    def agrees(ours: Any, theirs: Any) -> None:
        # Other draws, other groups: their sizes must be alike as a whole.
        assert abs(ours.mean() - theirs.mean()) < 0.3 * theirs.mean(), (ours.mean(), theirs.mean())

    labels, predicted = bank.labels.single.numpy(), bank.top_classes[:, 0].numpy()
    points = 5 * len(bank)
    return Case(
        work,
        reads=4 * points * bank.dim,
        single=2 * points * 5 * bank.dim,  # one round
        naive=lambda features: naive.urnet_clusters(features, labels, predicted, bank.num_classes),
        agrees=agrees,
    )


def urnet_instance(bank: FeatureBank) -> Case:
    """Weighing alone: the image-text model as it is after one epoch."""
    from noisyrun_urnet.config import InstanceConfig
    from noisyrun_urnet.instance import Instance

    texts = torch.randn(bank.num_classes, 300, generator=torch.Generator().manual_seed(1))
    weighter = Instance(InstanceConfig(epochs=1))
    weighter.fit(bank, None, SideInfo(class_embeddings=texts), make_phase(0, "weighter.urnet-instance"))
    assert weighter.model is not None
    assert weighter.texts is not None
    values = {name: value.double().numpy() for name, value in weighter.model.state_dict().items()}
    embedded, labels = weighter.texts.double().numpy(), bank.labels.single.numpy()
    n, d = len(bank), bank.dim
    return Case(
        lambda: _judged(weighter, bank, None, NO_SIDE)[0],
        reads=4 * n * d,
        single=2 * n * (d * weighter.config.hidden + weighter.config.hidden * weighter.config.width),
        naive=lambda features: naive.urnet_instance(features, labels, embedded, values),
        agrees=_close(0.999, 1e-4),
    )


def urnet_label(bank: FeatureBank) -> Case:
    from noisyrun_urnet.config import LabelMixConfig
    from noisyrun_urnet.label import LabelMix

    corrector = LabelMix(LabelMixConfig())
    labels, predicted = bank.labels.single.numpy(), bank.top_classes[:, 0].numpy()

    def work() -> Any:
        return [corrector(block, Targets.of(block.labels), None, NO_SIDE) for block in bank.blocks()]

    def agrees(ours: list[Targets], theirs: Any) -> None:
        changed = torch.cat([one.dense(bank.num_classes) * one.alpha.unsqueeze(1) for one in ours]).double().numpy()
        kept = 1 - torch.cat([one.alpha for one in ours]).double().numpy()
        dense = changed + kept[:, None] * np.eye(bank.num_classes)[labels]
        assert np.abs(dense - theirs).max() < 1e-6

    return Case(
        work,
        reads=16 * len(bank),
        naive=lambda _: naive.urnet_label(labels, predicted, bank.num_classes),
        agrees=agrees,
    )


CASES: dict[str, Callable[[FeatureBank], Case]] = {
    "sinet prototypes": sinet_prototypes,
    "sinet weighter": sinet_weigher,
    "smp prototypes": smp_prototypes,
    "smp corrector": smp_corrector,
    "cleannet references": cleannet_references,
    "cleannet encoding": cleannet_encoding,
    "cleannet weighter": cleannet_weigher,
    "urnet-class": urnet_class,
    "urnet-cluster": urnet_cluster,
    "urnet-instance": urnet_instance,
    "urnet-label": urnet_label,
}
