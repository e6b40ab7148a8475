"""CleanNet (CVPR 2018): class prototypes learned from verification labels; weights, and detection of wrong labels.

Only the records stand here, so that discovery and help import no torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from noisyrun.api import Plugin, Recipe, hookimpl

_PAPER = "Lee, He, Zhang, Yang: CleanNet. CVPR 2018"


@hookimpl
def noisyrun_plugins() -> Iterable[Plugin]:
    """The two sockets CleanNet fits, and the detectors it was held against."""
    yield Plugin(
        kind="prototypes",
        name="cleannet",
        api="1.0",
        summary="A class embedding learned from reference images, attention and verification labels.",
        factory="noisyrun_cleannet.prototypes:CleanNetPrototypes",
        config="noisyrun_cleannet.config:CleanNetPrototypesConfig",
        paper=_PAPER,
    )
    yield Plugin(
        kind="weighter",
        name="cleannet",
        api="1.0",
        summary="Weighs a label by the cosine of its sample to the class; calls it wrong below one threshold.",
        factory="noisyrun_cleannet.weighter:CleanNetWeighter",
        config="noisyrun_cleannet.config:CleanNetWeighterConfig",
        paper=_PAPER,
    )
    yield Plugin(
        kind="weighter",
        name="naive",
        api="1.0",
        summary="Takes every label for right: the baseline that any detector has to beat.",
        factory="noisyrun_cleannet.baselines:NaiveWeighter",
        config="noisyrun_cleannet.baselines_config:NaiveConfig",
        paper=_PAPER,
    )
    yield Plugin(
        kind="weighter",
        name="average",
        api="1.0",
        summary="Calls a label wrong by the cosine of its sample to the mean of the class's references.",
        factory="noisyrun_cleannet.baselines:AverageWeighter",
        config="noisyrun_cleannet.baselines_config:AverageConfig",
        paper=_PAPER,
    )
    yield Plugin(
        kind="weighter",
        name="filtering",
        api="1.0",
        summary="Calls a label wrong that is none of the classifier's K best classes.",
        factory="noisyrun_cleannet.baselines:FilteringWeighter",
        config="noisyrun_cleannet.baselines_config:FilteringConfig",
        paper=_PAPER,
    )
    yield Plugin(
        kind="weighter",
        name="verified",
        api="1.0",
        summary="Learns right and wrong class by class: MLP, k-NN, SVM, label propagation or spreading.",
        factory="noisyrun_cleannet.baselines_verified:VerifiedWeighter",
        config="noisyrun_cleannet.baselines_config:VerifiedConfig",
        paper=_PAPER,
    )


@hookimpl
def noisyrun_recipes() -> Iterable[Recipe]:
    """The paper's settings in full, and the same method on 32-pixel images."""
    yield Recipe(
        name="cleannet",
        summary="CleanNet as published: ResNet-50, alternating with CleanNet's weights, then the head alone.",
        package="noisyrun_cleannet",
        path="recipes/cleannet.toml",
    )
    yield Recipe(
        name="cleannet-small",
        summary="CleanNet for 32-pixel images: a small network, weights in two alternating rounds.",
        package="noisyrun_cleannet",
        path="recipes/cleannet-small.toml",
    )
