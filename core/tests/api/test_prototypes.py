"""Prototypes of several classes as one."""

import torch
from torch import nn

from noisyrun.api import Prototypes


def test_a_class_without_samples_takes_the_width_of_a_projected_space():
    """The empty class is as wide as the features; the others live where the projection leads."""
    project = nn.Linear(4, 2)
    full = Prototypes.of(torch.ones(1, 3, 2), rows=torch.zeros(1, 3, dtype=torch.int64), project=project)
    off = torch.zeros(1, 1, dtype=torch.bool)
    empty = Prototypes(torch.zeros(1, 1, 4), off, off.float(), torch.full((1, 1), -1))

    for order in ([full, empty], [empty, full]):
        stacked = Prototypes.stack(order)
        assert stacked.vectors.shape == (2, 3, 2)
        assert stacked.project is project
        assert stacked.present.tolist() == [bool(one.mask.any()) for one in order]
        assert stacked.vectors[~stacked.mask].abs().sum() == 0


def test_classes_of_different_counts_are_padded_with_masked_prototypes():
    one, two = Prototypes.of(torch.ones(1, 1, 3)), Prototypes.of(2 * torch.ones(1, 2, 3))
    stacked = Prototypes.stack([one, two])
    assert stacked.mask.tolist() == [[True, False], [True, True]]
    assert stacked.weights.tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert stacked.rows is None
