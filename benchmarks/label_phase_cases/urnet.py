"""Li, Song, Zhu and others: Learning from Noisy Web Data with Ubiquitous Reweighting, 2018."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import naive
import numpy as np
import torch
from torch import Tensor

from label_phase_cases.case import NO_SIDE, Case, array, by_row, close, judged, phase, size_of
from label_phase_cases.kmeans_cost import Counted
from noisyrun.api import FeatureBank, SideInfo, Targets


def class_size(bank: FeatureBank) -> Case:
    from noisyrun_urnet.class_size import ClassSize
    from noisyrun_urnet.config import ClassSizeConfig

    weighter = ClassSize(ClassSizeConfig())

    def work() -> Any:
        weighter.fit(bank, None, NO_SIDE, phase(bank, "weighter.urnet-class"))
        return judged(weighter, bank, None, NO_SIDE)[0]

    labels, classes = bank.labels.single.numpy(), bank.num_classes
    formula = lambda _: naive.urnet_class(labels, classes)  # noqa: E731
    # Features are no part of it, but the host hands a weigher blocks that hold them, as views.
    # Labels are read, weights and scores are written.
    return Case(work, reads=16 * len(bank), naive=formula, agrees=close(1.0, 1e-4))


def cluster(bank: FeatureBank) -> Case:
    from noisyrun_urnet.clusters import Clusters
    from noisyrun_urnet.config import ClustersConfig

    weighter = Clusters(ClustersConfig())

    def weights() -> Any:
        weighter.fit(bank, None, NO_SIDE, phase(bank, "weighter.urnet-cluster"))
        return judged(weighter, bank, None, NO_SIDE)[0]

    work = Counted(weights)

    def agrees(ours: Any, theirs: Any) -> None:
        # Other draws, other groups: their sizes must be alike as a whole.
        assert abs(ours.mean() - theirs.mean()) < 0.3 * theirs.mean(), (ours.mean(), theirs.mean())

    labels, predicted = bank.labels.single.numpy(), bank.top_classes[:, 0].numpy()
    return Case(
        work,
        reads=5 * size_of(bank),  # every class is read with the four it is confused with
        passes=lambda: work.passes,
        naive=lambda features: naive.urnet_clusters(features, labels, predicted, bank.num_classes),
        agrees=agrees,
    )


def instance(bank: FeatureBank) -> Case:
    """Weighing alone: the image-text model as it is after one epoch."""
    from noisyrun_urnet.config import InstanceConfig
    from noisyrun_urnet.instance import Instance

    texts = torch.randn(bank.num_classes, 300, generator=torch.Generator().manual_seed(1)).to(bank.device)
    weighter = Instance(InstanceConfig(epochs=1))
    weighter.fit(bank, None, SideInfo(class_embeddings=texts), phase(bank, "weighter.urnet-instance"))
    assert weighter.model is not None
    assert weighter.texts is not None
    values = {name: array(value) for name, value in weighter.model.state_dict().items()}
    embedded, labels = array(weighter.texts), bank.labels.single.numpy()
    n, d = len(bank), bank.dim
    return Case(
        lambda: judged(weighter, bank, None, NO_SIDE)[0],
        reads=size_of(bank),
        single=2 * n * (d * weighter.config.hidden + weighter.config.hidden * weighter.config.width),
        naive=lambda features: naive.urnet_instance(features, labels, embedded, values),
        agrees=close(0.999, 1e-4),
    )


def label(bank: FeatureBank) -> Case:
    from noisyrun_urnet.config import LabelMixConfig
    from noisyrun_urnet.label import LabelMix

    corrector = LabelMix(LabelMixConfig())
    labels, predicted = bank.labels.single.numpy(), bank.top_classes[:, 0].numpy()

    def parts() -> Iterator[tuple[Tensor, ...]]:
        for block in bank.blocks():
            made = corrector(block, Targets.of(block.labels), None, NO_SIDE)
            assert made.confidence is not None
            yield made.classes, made.values, made.alpha, made.confidence

    def agrees(ours: list[Tensor], theirs: Any) -> None:
        made = Targets(*ours)
        changed = array(made.dense(bank.num_classes) * made.alpha.unsqueeze(1))
        dense = changed + (1 - array(made.alpha))[:, None] * np.eye(bank.num_classes)[labels]
        assert np.abs(dense - theirs).max() < 1e-6

    return Case(
        lambda: by_row(len(bank), parts()),
        # Two classes and a probability are read; two classes, two values, a share and a confidence are written.
        reads=(20 + 32) * len(bank),
        naive=lambda _: naive.urnet_label(labels, predicted, bank.num_classes),
        agrees=agrees,
    )
