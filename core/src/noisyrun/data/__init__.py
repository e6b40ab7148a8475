"""Data sets by stable index: sources, noise, verification, splits, batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noisyrun.config.settings import RunSettings
    from noisyrun.data.samples import Data


def load(settings: RunSettings, *, to_train: bool = True) -> Data:
    """Read, split and, where asked for, make noisy the data set a run names; digits when it names none.

    Parameters
    ----------
    to_train
        Whether the data will be trained on: if not, training images are decoded only where somebody asks for them.

    Raises
    ------
    UserError
        For anything wrong with the data or with what was asked of it, in one line.
    """
    from noisyrun.data import build

    return build.load(settings, to_train=to_train)
