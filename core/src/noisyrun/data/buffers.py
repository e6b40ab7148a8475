"""Memory of batches that is used again."""

from __future__ import annotations

import math
import sys

import numpy as np
import torch
from torch import Tensor

#: Bytes below which the allocator keeps freed memory itself.
_SMALL = 1 << 20
#: Blocks kept, at most: those of the batches that are decoded ahead, and of the one in use.
_MOST = 8
_DTYPES = {torch.uint8: np.uint8, torch.float32: np.float32}
_held = [np.empty(0)]
#: References to a block that stands in a list and nowhere else.
_ALONE = sys.getrefcount(_held[0])


class Buffers:
    """Uninitialised tensors on the CPU, in memory that is given again once no tensor refers to it any more.

    The system hands out large blocks cleared, page by page, and takes them back when they are freed: for batches of web
    images that takes twice as long as what is done to the pixels.

    A tensor that is given may be kept for as long as one likes; views of it, and what autograd keeps, count, too.
    """

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor of a shape, uint8 or float32."""
        kind = np.dtype(_DTYPES[dtype])
        size = math.prod(shape) * kind.itemsize
        if size < _SMALL:
            return torch.empty(shape, dtype=dtype)
        place = self._idle(size)
        return torch.from_numpy(self._blocks[place][:size].view(kind).reshape(shape))

    def _idle(self, size: int) -> int:
        """Place of a block of at least so many bytes that nobody refers to."""
        # A tensor made from an array refers to the array until its memory is freed.
        idle = [place for place in range(len(self._blocks)) if sys.getrefcount(self._blocks[place]) == _ALONE]
        for place in idle:
            if self._blocks[place].size >= size:
                return place
        if len(self._blocks) >= _MOST:
            del self._blocks[idle[0] if idle else 0]
        self._blocks.append(np.empty(size, np.uint8))
        return len(self._blocks) - 1
