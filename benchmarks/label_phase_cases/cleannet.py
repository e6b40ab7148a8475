"""Lee, He, Zhang, Yang: CleanNet, CVPR 2018. Training of its encoders is left out."""

from __future__ import annotations

from typing import Any

import naive
import numpy as np
import torch

from label_phase_cases.case import NO_SIDE, Case, all_features, array, close, judged, phase, size_of
from label_phase_cases.kmeans_cost import Counted
from noisyrun.api import FeatureBank, Prototypes


def _cleannet(bank: FeatureBank) -> tuple[Any, Any, dict[str, Any]]:
    """The builder's settings, encoders as they are drawn (training is left out), and their values in float64."""
    from noisyrun_cleannet.config import CleanNetPrototypesConfig
    from noisyrun_cleannet.encoders import CleanNet

    config = CleanNetPrototypesConfig()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = CleanNet(bank.dim, "log", config).eval().requires_grad_(False)
    return config, net.to(bank.device), {name: array(value) for name, value in net.state_dict().items()}


def references(bank: FeatureBank) -> Case:
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
        features = all_features(bank)
        assert inertia(features, array(ours.vectors)) < 1.01 * inertia(features, theirs)

    k = config.reference_size
    work = Counted(lambda: choose_references(bank, config, phase(bank, "prototypes.cleannet")))
    return Case(
        work,
        reads=size_of(bank),
        passes=lambda: work.passes,
        naive=lambda features: naive.cleannet_references(features, labels, bank.num_classes, k),
        agrees=agrees,
    )


def _reference_sets(bank: FeatureBank) -> Any:
    """References as the encoders see them, drawn at random: how they are chosen does not matter to who encodes them."""
    from noisyrun_cleannet.references import References

    rows = torch.randint(len(bank), (bank.num_classes, 50), generator=torch.Generator().manual_seed(0))
    vectors = bank.take(rows.flatten()).features.view(*rows.shape, -1).log1p()
    return References(vectors, torch.ones(rows.shape, dtype=torch.bool, device=bank.device), rows)


def encoding(bank: FeatureBank) -> Case:
    from noisyrun_cleannet.training import class_embeddings

    config, net, values = _cleannet(bank)
    sets = _reference_sets(bank)
    layers = bank.dim * config.hidden + config.hidden * config.attended + config.attended * config.attention
    return Case(
        lambda: array(class_embeddings(net, sets, phase(bank, "prototypes.cleannet"))),
        reads=sets.vectors.nbytes,
        single=2 * sets.mask.numel() * layers,
        naive=lambda _: naive.cleannet_classes(array(sets.vectors), array(sets.mask), values),
        agrees=close(1.0, 1e-4),
    )


def weigher(bank: FeatureBank) -> Case:
    from noisyrun_cleannet.config import CleanNetWeighterConfig
    from noisyrun_cleannet.encoders import Projection
    from noisyrun_cleannet.training import class_embeddings
    from noisyrun_cleannet.weighter import CleanNetWeighter

    config, net, values = _cleannet(bank)
    vectors = class_embeddings(net, _reference_sets(bank), phase(bank, "prototypes.cleannet"))
    prototypes = Prototypes.of(vectors, project=Projection(net))
    weighter = CleanNetWeighter(CleanNetWeighterConfig(delta=0.1))
    labels, embeddings = bank.labels.single.numpy(), array(vectors)
    n, d = len(bank), bank.dim
    return Case(
        lambda: judged(weighter, bank, prototypes, NO_SIDE)[0],
        reads=size_of(bank),
        single=2 * n * (d * config.query_hidden + config.query_hidden * config.embedding),
        naive=lambda features: naive.cleannet_weights(np.log1p(features), labels, embeddings, values),
        agrees=close(0.999, 1e-4),
    )
