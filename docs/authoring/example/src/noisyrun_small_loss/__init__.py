"""Keeps the labels of smallest loss of each class.

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
        name="small-loss",
        api="1.0",
        summary="Keeps the labels of smallest loss of each class.",
        factory="noisyrun_small_loss.method:SmallLoss",
        config="noisyrun_small_loss.config:SmallLossConfig",
        paper="",
    )
