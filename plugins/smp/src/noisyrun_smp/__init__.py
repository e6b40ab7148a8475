"""SMP: deep self-learning from noisy labels (ICCV 2019): several prototypes a class, and label correction.

Only the records stand here, so that discovery and help import no torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from noisyrun.api import Plugin, Recipe, hookimpl

_PAPER = "Han, Luo, Wang: Deep Self-Learning From Noisy Labels. ICCV 2019"


@hookimpl
def noisyrun_plugins() -> Iterable[Plugin]:
    """The two sockets SMP fits."""
    yield Plugin(
        kind="prototypes",
        name="smp",
        api="1.0",
        summary="Several samples a class: dense among their class's samples, and not too much alike.",
        factory="noisyrun_smp.prototypes:SmpPrototypes",
        config="noisyrun_smp.config:SmpPrototypesConfig",
        paper=_PAPER,
    )
    yield Plugin(
        kind="corrector",
        name="smp",
        api="1.0",
        summary="Corrects a label to the class whose prototypes the sample is most alike on average.",
        factory="noisyrun_smp.corrector:SmpCorrector",
        config="noisyrun_smp.config:SmpCorrectorConfig",
        paper=_PAPER,
    )


@hookimpl
def noisyrun_recipes() -> Iterable[Recipe]:
    """The paper's settings in full, and the same method on 32-pixel images."""
    yield Recipe(
        name="smp",
        summary="SMP as published on Clothing1M: ResNet-50, SGD, 15 epochs, labels corrected from the sixth on.",
        package="noisyrun_smp",
        path="recipes/smp.toml",
    )
    yield Recipe(
        name="smp-small",
        summary="SMP for 32-pixel images: a small network, labels corrected after the first third.",
        package="noisyrun_smp",
        path="recipes/smp-small.toml",
    )
