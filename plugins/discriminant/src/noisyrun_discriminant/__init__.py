"""Wrong labels by regularised discriminant analysis.

Only the record stands here, so that discovery and help import no torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from noisyrun.api import Plugin, hookimpl


@hookimpl
def noisyrun_plugins() -> Iterable[Plugin]:
    """What this distribution brings."""
    yield Plugin(
        kind="weighter",
        name="discriminant",
        api="1.0",
        summary="A label's probability by regularised discriminant analysis of the features, without its own sample",
        factory="noisyrun_discriminant.weighter:Discriminant",
        config="noisyrun_discriminant.config:DiscriminantConfig",
        paper="Friedman: Regularized Discriminant Analysis. JASA 1989",
    )
