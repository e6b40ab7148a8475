"""Block operations that any plugin may use: one implementation each, for CPU and GPU.

All of them take and give tensors on one device, read large inputs in blocks, and never hold a full matrix of
rows × rows. Sums over many rows accumulate in float64, so that the result does not depend on how the rows were cut.
"""

from noisyrun.api.ops.clusters import Clusters, kmeans, kmeans_batch
from noisyrun.api.ops.rows import (
    BLOCK_BYTES,
    KEY_BLOCK,
    SegmentSum,
    cosine,
    kth_value,
    segment_mean,
    segment_sum,
    spans,
    top_cosine,
    unit,
)

__all__ = [
    "BLOCK_BYTES",
    "KEY_BLOCK",
    "Clusters",
    "SegmentSum",
    "cosine",
    "kmeans",
    "kmeans_batch",
    "kth_value",
    "segment_mean",
    "segment_sum",
    "spans",
    "top_cosine",
    "unit",
]
