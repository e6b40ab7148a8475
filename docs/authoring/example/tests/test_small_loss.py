"""small-loss keeps noisyrun's contract, and does what it is for."""

from __future__ import annotations

import torch
from noisyrun_small_loss import noisyrun_plugins
from noisyrun_small_loss.config import SmallLossConfig
from noisyrun_small_loss.method import SmallLoss

from noisyrun.api import SideInfo
from noisyrun.testing import make_bank, make_phase, parametrize_with_checks


@parametrize_with_checks(noisyrun_plugins())
def test_conformance(plugin, check):
    check(plugin)


def test_of_each_class_the_likelier_half_is_kept():
    """Two samples a class; in each, the classifier believes in one label more than in the other."""
    logits = torch.tensor([[3.0, 0], [1, 0], [0, 1], [0, 3]])
    bank = make_bank(torch.eye(4), [0, 0, 1, 1], 2, logits=logits)
    weighter = SmallLoss(SmallLossConfig(keep=0.5))
    weighter.fit(bank, None, SideInfo(), make_phase())
    (block,) = bank.blocks()
    judged = weighter(block, bank.labels.single, None, SideInfo())
    assert judged.weights.tolist() == [1, 0, 0, 1]
    assert judged.wrong.tolist() == [False, True, True, False]
