"""Noise regularization (CVPR 2019): a clean net and a residual net, trained with few clean and many noisy labels.

Only the records stand here, so that discovery and help import no torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from noisyrun.api import Plugin, Recipe, hookimpl

_PAPER = "Hu, Han, Shan, Chen: Weakly Supervised Image Classification through Noise Regularization. CVPR 2019"

_RECIPES = {
    "noisereg": "Several labels, as published on COCO: backbone on noisy labels, then frozen; the two nets on it.",
    "noisereg-clothing1m": "Single labels, as published on Clothing1M: everything trains at once.",
    "noisereg-small": "Single labels, 32-pixel images or features: everything trains at once.",
    "noisereg-small-multi": "Several labels, 32-pixel images or features: backbone first, then the two nets.",
    "noisereg-noisy": "Baseline Noisy: all noisy labels, nothing else.",
    "noisereg-gt": "Baseline GT: the clean labels of all samples, an upper bound where they are known.",
    "noisereg-ft-w": "Baseline Noisy-FT-W: Noisy, then the whole network on the clean subset.",
    "noisereg-ft-l": "Baseline Noisy-FT-L: Noisy, then the last layer on the clean subset.",
    "noisereg-ft-m": "Baseline Noisy-FT-M: Noisy, then the last layer on clean and noisy labels, 1 : 9.",
}


@hookimpl
def noisyrun_plugins() -> Iterable[Plugin]:
    """A corrector that is an online part."""
    yield Plugin(
        kind="corrector",
        name="noisereg",
        api="1.0",
        summary="A clean net learns from trusted labels, and through a residual net from all noisy ones.",
        factory="noisyrun_noisereg.corrector:Noisereg",
        config="noisyrun_noisereg.config:NoiseregConfig",
        paper=_PAPER,
    )


@hookimpl
def noisyrun_recipes() -> Iterable[Recipe]:
    """The paper's settings in full, the same on small data, and the paper's baselines."""
    for name, summary in _RECIPES.items():
        yield Recipe(name=name, summary=summary, package="noisyrun_noisereg", path=f"recipes/{name}.toml")
