"""cleanlab (confident learning) in noisyrun's sockets.

Only the records stand here, so that discovery and help import neither torch nor cleanlab.
"""

from __future__ import annotations

from collections.abc import Iterable

from noisyrun.api import Plugin, hookimpl

_PAPER = "Northcutt, Jiang, Chuang: Confident Learning: Estimating Uncertainty in Dataset Labels. JAIR 2021"


@hookimpl
def noisyrun_plugins() -> Iterable[Plugin]:
    """What this distribution brings."""
    yield Plugin(
        kind="weighter",
        name="cleanlab",
        api="1.0",
        summary="cleanlab's find_label_issues and label quality, on given or cross-validated probabilities",
        factory="noisyrun_cleanlab.weighter:Cleanlab",
        config="noisyrun_cleanlab.config:CleanlabConfig",
        paper=_PAPER,
    )
    yield Plugin(
        kind="weighter",
        name="cleanlab-outlier",
        api="1.0",
        summary="cleanlab's out-of-distribution score of a sample, which does not look at its label",
        factory="noisyrun_cleanlab.outlier:CleanlabOutlier",
        config="noisyrun_cleanlab.config:CleanlabOutlierConfig",
        paper="Kuan, Mueller: Back to the Basics: Revisiting Out-of-Distribution Detection Baselines. 2022",
    )
