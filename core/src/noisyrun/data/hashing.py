"""Random numbers by counter, and digests.

Everything random about data is a pure function of (seed, purpose, stable index): no generator carries state, so a
draw is the same whatever the batch size, the number of workers or processes, the device, and the versions of
NumPy and PyTorch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def _signed(word: int) -> int:
    """A 64-bit word as the signed integer that int64 arithmetic works with."""
    word &= (1 << 64) - 1
    return word - (1 << 64) if word >> 63 else word


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)))


def key(*words: int | str) -> int:
    """A 64-bit key (signed) from some words, e.g. ``key("noise", seed)``."""
    digest = hashlib.sha256(":".join(str(word) for word in words).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def _shifted(x: Tensor, by: int) -> Tensor:
    """Logical right shift: ``>>`` on int64 would drag the sign along."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def bits(stream: int | Tensor, counter: int | Tensor) -> Tensor:
    """64 random bits for each counter of a stream, int64, by the SplitMix64 generator.

    Parameters
    ----------
    stream, counter
        int or int64 tensors that broadcast; at least one is a tensor.

    Notes
    -----
    Steele, Lea & Flood, "Fast splittable pseudorandom number generators" (2014): the mix of stream + counter · γ.
    """
    # A plain counter is multiplied in Python's integers, which do not fit a tensor until they are cut to 64 bits.
    step = (counter + 1) * _GOLDEN
    x = torch.as_tensor(stream + (step if isinstance(step, Tensor) else _signed(step)))
    for by, factor in _MIX:
        x = (x ^ _shifted(x, by)) * factor
    return x ^ _shifted(x, 31)


def uniform(stream: int | Tensor, counter: int | Tensor) -> Tensor:
    """float64 in [0, 1) for each counter of a stream."""
    return _shifted(bits(stream, counter), 11).double() * 2.0**-53


def below(stream: int | Tensor, counter: int | Tensor, n: int | Tensor) -> Tensor:
    """int64 in 0 … n−1 for each counter of a stream."""
    return (uniform(stream, counter) * n).long()


def normal(stream: int | Tensor, counter: int | Tensor) -> Tensor:
    """float64, standard normal, for each counter of a stream."""
    # Half a step up keeps 0 out, whose quantile is −∞.
    return torch.special.ndtri(uniform(stream, counter) + 2.0**-54)


def order(stream: int, index: Tensor) -> Tensor:
    """int64 [n]: a permutation of positions that is drawn by the samples' stable index, int64 [n]."""
    return torch.argsort(bits(stream, index), stable=True)


def digest(*parts: Any) -> str:
    """SHA-256 of some values: tensors and arrays with shape and dtype, everything else as text."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            part = part.detach().cpu().numpy()
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype.str}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        else:
            words = part if isinstance(part, Iterable) and not isinstance(part, str) else (part,)
            for word in words:
                text = str(word).encode()
                total.update(f"{len(text)}:".encode() + text)
    return total.hexdigest()
