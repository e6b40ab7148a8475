"""Images that are decoded as they are needed: batches, the memory they stand in, and images that cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from noisyrun.data import augment
from noisyrun.data.augment import Draws, crop_and_flip
from noisyrun.data.buffers import Buffers

SHAPE = (8, 3, 320, 320)  # above a mebibyte


def test_memory_of_a_batch_is_used_again_once_nobody_holds_it() -> None:
    buffers = Buffers()
    first = buffers.take(SHAPE, torch.uint8)
    place = first.data_ptr()
    second = buffers.take(SHAPE, torch.uint8)
    assert second.data_ptr() != place
    del first
    assert buffers.take((9, *SHAPE[1:]), torch.uint8).data_ptr() not in (place, second.data_ptr())  # too large for it
    assert buffers.take((5, *SHAPE[1:]), torch.uint8).data_ptr() == place


def test_views_and_saved_tensors_keep_a_batch() -> None:
    buffers = Buffers()
    batch = buffers.take(SHAPE, torch.float32).fill_(1)
    place, view = batch.data_ptr(), batch[1:, 0].detach()
    weight = torch.ones(SHAPE[1:], requires_grad=True)
    loss = (batch * weight).sum()
    del batch
    assert buffers.take(SHAPE, torch.float32).data_ptr() != place
    del view
    assert buffers.take(SHAPE, torch.float32).data_ptr() != place  # the graph needs it still
    loss.backward()
    assert float(weight.grad.sum()) == np.prod(SHAPE)
    del loss
    assert buffers.take(SHAPE, torch.float32).data_ptr() == place


def test_few_blocks_are_kept_when_all_batches_are() -> None:
    buffers = Buffers()
    held = [buffers.take(SHAPE, torch.uint8).fill_(n) for n in range(20)]
    assert [int(batch[0, 0, 0, 0]) for batch in held] == list(range(20))
    assert len(buffers._blocks) <= 8


@pytest.mark.parametrize("slack", [(0, 0), (5, 9)])
@pytest.mark.parametrize("pad", [0, 7])
@pytest.mark.parametrize("parts", ["both", "crop", "flip"])
def test_large_images_are_cropped_as_small_ones(pad, slack, parts, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (16, 3, 60, 70), dtype=torch.uint8)
    draws = Draws(
        torch.zeros(16, dtype=torch.int64),
        None if parts == "flip" else torch.randint(0, 2 * pad + slack[0] + 1, (16,)),
        None if parts == "flip" else torch.randint(0, 2 * pad + slack[1] + 1, (16,)),
        None if parts == "crop" else torch.rand(16) < 0.5,
    )
    by_row = crop_and_flip(images, pad, draws, slack)
    monkeypatch.setattr(augment, "_LARGE", 1 << 30)
    assert torch.equal(by_row, crop_and_flip(images, pad, draws, slack))
