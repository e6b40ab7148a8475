"""CleanNet (CVPR 2018): class prototypes learned from verification labels; weights, and detection of wrong labels.

Only the records stand here, so that discovery and help import no torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from noisyrun.api import Plugin, Recipe, hookimpl

_PAPER = "Lee, He, Zhang, Yang: CleanNet. CVPR 2018"


@hookimpl
def noisyrun_plugins() -> Iterable[Plugin]:
    """The two sockets CleanNet fits."""
    yield Plugin(
        kind="prototypes",
        name="cleannet",
        api="0.9",
        summary="A class embedding learned from reference images, attention and verification labels.",
        factory="noisyrun_cleannet.prototypes:CleanNetPrototypes",
        config="noisyrun_cleannet.config:CleanNetPrototypesConfig",
        paper=_PAPER,
    )
    yield Plugin(
        kind="weighter",
        name="cleannet",
        api="0.9",
        summary="Weighs a label by the cosine of its sample to the class; calls it wrong below one threshold.",
        factory="noisyrun_cleannet.weighter:CleanNetWeighter",
        config="noisyrun_cleannet.config:CleanNetWeighterConfig",
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
