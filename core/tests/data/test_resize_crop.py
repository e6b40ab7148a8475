"""Images brought to a larger side first, and cut at random to the size that is trained on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from noisyrun.api import Labels, Task, Text, UserError
from noisyrun.api.needs import UNIFORM
from noisyrun.config.settings import AugmentSettings
from noisyrun.data.images import ResidentImages
from noisyrun.data.loader import TrainLoader
from noisyrun.data.samples import Samples, no_labels


def ramps(count: int = 8, height: int = 16, width: int = 24) -> Samples:
    """Images whose pixels say where they stand: rows in the first channel, columns in the second."""
    pixels = torch.zeros(count, 3, height, width, dtype=torch.uint8)
    pixels[:, 0] = torch.arange(height, dtype=torch.uint8).unsqueeze(1) * 10
    pixels[:, 1] = torch.arange(width, dtype=torch.uint8) * 10
    pixels[:, 2] = 255
    return Samples(
        Task(("a", "b"), image_size=(height, width), channels=3),
        torch.arange(count),
        Labels.of(torch.zeros(count, dtype=torch.int64)),
        verified=torch.full((count,), -1, dtype=torch.int8),
        verified_held=torch.zeros(count, dtype=torch.bool),
        trusted=no_labels(count),
        clean=torch.zeros(count, dtype=torch.bool),
        text=Text(("a", "b")),
        images=ResidentImages(pixels),
    )


def epoch(samples: Samples, number: int = 0, resolution: int | None = None, **augment: Any) -> Tensor:
    loader = TrainLoader(
        samples,
        batches=UNIFORM,
        batch_size=4,
        augment=AugmentSettings(**augment),
        seed=0,
        device="cpu",
        mean=(),
        std=(),
        resolution=resolution,
    )
    batches = list(loader.epoch(number))
    order = torch.cat([batch.positions for batch in batches]).argsort()
    return torch.cat([batch.inputs for batch in batches])[order]


def test_images_keep_their_size_and_are_cut_out_of_larger_ones_without_padding() -> None:
    seen = epoch(ramps(), resize=20, flip=False)
    assert seen.shape == (8, 3, 16, 24)
    assert bool((seen[:, 2] == 1).all())  # padding would be 0


def test_cuts_differ_between_samples_and_epochs_and_are_the_same_when_repeated() -> None:
    first, again, other = (epoch(ramps(), number, resize=20, flip=False) for number in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({tuple(image[:2, 0, 0].tolist()) for image in first}) > 1


def test_cuts_reach_both_ends_of_both_sides() -> None:
    many = torch.cat([epoch(ramps(64), number, resize=20, flip=False) for number in range(4)])
    corners = many[:, :2, 0, 0]
    far = many[:, :2, -1, -1]
    assert float(corners.min()) < 0.01
    assert float(far[:, 0].max()) > 0.57  # the last row, 150 of 255
    assert float(far[:, 1].max()) > 0.89  # the last column, 230 of 255


def test_a_stage_at_another_resolution_is_cut_to_that() -> None:
    assert epoch(ramps(), resolution=18, resize=20, flip=False).shape == (8, 3, 18, 27)


def test_a_side_below_that_of_the_images_is_refused() -> None:
    with pytest.raises(UserError, match=r"--augment\.resize: must be at least"):
        epoch(ramps(), resize=12)
