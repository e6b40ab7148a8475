"""Block operations that any plugin may use: one implementation each, for CPU and GPU."""

from __future__ import annotations

import torch
from torch import Tensor


def unit(vectors: Tensor, eps: float = 1e-12) -> Tensor:
    """Vectors [..., d] scaled to unit length; a zero vector stays zero."""
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length.clamp(min=eps)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of every row of a [n, d] with every row of b [m, d]: [n, m]. A zero vector has cosine 0 with all."""
    return unit(a) @ unit(b).T
