"""URNet: ubiquitous reweighting for large, noisy web data (2018): five weights and a trust in sources, each on its own.

Only the records stand here, so that discovery and help import no torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from noisyrun.api import Plugin, Recipe, hookimpl

_PAPER = "Li, Song, Zhu, Cheng, Su, Ye, Yuan, Han: Learning from Noisy Web Data with Ubiquitous Reweighting. 2018"


@hookimpl
def noisyrun_plugins() -> Iterable[Plugin]:
    """Every reweighting strategy is a plugin of its own; weights of several multiply."""
    weighters = (
        ("class", "ClassSize", "Rare classes count more: between equal samples and equal classes."),
        ("cluster", "Clusters", "Samples in large groups of confusable classes count more."),
        ("instance", "Instance", "Samples count by the cosine between image and label text, learned on the surest."),
        ("bag", "Bags", "Trains a saliency over bags of one class beside the classifier."),
        ("source", "SourceTrust", "Of unreliable sources, only the top-ranked samples of each class count."),
    )
    for name, factory, summary in weighters:
        yield Plugin(
            kind="weighter",
            name=f"urnet-{name}",
            api="1.0",
            summary=summary,
            factory=f"noisyrun_urnet.{_MODULES[name]}:{factory}",
            config=f"noisyrun_urnet.config:{factory}Config",
            paper=_PAPER,
        )
    yield Plugin(
        kind="corrector",
        name="urnet-label",
        api="1.0",
        summary="Mixes a fixed share of the baseline's prediction into each label.",
        factory="noisyrun_urnet.label:LabelMix",
        config="noisyrun_urnet.config:LabelMixConfig",
        paper=_PAPER,
    )


_MODULES = {"class": "class_size", "cluster": "clusters", "instance": "instance", "bag": "bags", "source": "source"}


@hookimpl
def noisyrun_recipes() -> Iterable[Recipe]:
    """The paper's settings in full, and the same method on 32-pixel images."""
    yield Recipe(
        name="urnet",
        summary="URNet as published on WebVision 2.0: ResNeXt-101, a baseline by cross entropy, then all five weights.",
        package="noisyrun_urnet",
        path="recipes/urnet.toml",
    )
    yield Recipe(
        name="urnet-small",
        summary="URNet for 32-pixel images: a small network, a baseline, then all five weights.",
        package="noisyrun_urnet",
        path="recipes/urnet-small.toml",
    )
