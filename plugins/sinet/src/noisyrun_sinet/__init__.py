"""SINet: weakly supervised learning with side information for noisy labelled images (ECCV 2020).

Only the records stand here, so that discovery and help import neither torch nor WordNet.
"""

from __future__ import annotations

from collections.abc import Iterable

from noisyrun.api import Plugin, Recipe, hookimpl

_API = "1.0"
_PAPER = (
    "Cheng, Zhou, Zhao, Li, Shang, Zheng, Pan, Xu: Weakly Supervised Learning with Side Information "
    "for Noisy Labeled Images. ECCV 2020"
)


def _record(kind: str, summary: str, module: str, method: str) -> Plugin:
    return Plugin(
        kind=kind,
        name="sinet",
        api=_API,
        summary=summary,
        factory=f"noisyrun_sinet.{module}:{method}",
        config=f"noisyrun_sinet.config:{method}Config",
        paper=_PAPER,
    )


@hookimpl
def noisyrun_plugins() -> Iterable[Plugin]:
    """The four sockets SINet fits."""
    yield _record(
        "side_info",
        "How alike the classes are, from their texts (BERT and a BiLSTM) and from WordNet or a tree.",
        "side_info",
        "SinetSideInfo",
    )
    yield _record(
        "prototypes",
        "One prototype a class: samples count as their visual similarities agree with the class relation.",
        "prototypes",
        "SinetPrototypes",
    )
    yield _record(
        "weighter",
        "Weighs a label by the distance between the sample and the class's prototype.",
        "weighter",
        "SinetWeighter",
    )
    yield _record(
        "corrector",
        "Smooths each label with the top-k predictions of a model trained on high-confidence samples.",
        "corrector",
        "SinetCorrector",
    )


@hookimpl
def noisyrun_recipes() -> Iterable[Recipe]:
    """The paper's settings in full, and the same method on 32-pixel images."""
    yield Recipe(
        name="sinet",
        summary="SINet as published: ResNeXt-101, SGD, 100 epochs, smoothing model, 224 → 256 → 312 pixels.",
        package="noisyrun_sinet",
        path="recipes/sinet.toml",
    )
    yield Recipe(
        name="sinet-small",
        summary="SINet for 32-pixel images: a small network, WordNet alone, a few dozen epochs.",
        package="noisyrun_sinet",
        path="recipes/sinet-small.toml",
    )
