"""Scikit-learn's handwritten digits: 1,797 real images of 8 × 8 pixels, there without a download."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch

from noisyrun.data.hashing import key, order
from noisyrun.data.raw import Raw, RawData

#: Share of the images that makes the test set, the same whatever the seed.
_TEST = 0.25

#: Name, WordNet 3.0 id (children of digit.n.01) and shape of each digit.
_DIGITS = (
    ("zero", "n13742358", "a closed oval ring with an empty middle, taller than wide"),
    ("one", "n13742573", "a single upright stroke, at times with a short flag at its top"),
    ("two", "n13743269", "an arch open to the left that slants down to a flat base line"),
    ("three", "n13744044", "two arches, one above the other, both open to the left"),
    ("four", "n13744304", "a tall upright stroke crossed by a bar that a slanting stroke joins from above"),
    ("five", "n13744521", "a flat top line, a short stroke down its left, then a belly open to the left"),
    ("six", "n13744722", "a long curve down the left that closes in a loop at the bottom"),
    ("seven", "n13744916", "a flat top line and one slanting stroke down from its right end"),
    ("eight", "n13745086", "two closed loops, one above the other, crossing at the waist"),
    ("nine", "n13745270", "a closed loop at the top with a stroke down from its right side"),
)


def read() -> RawData:
    """The digits, split into train and test, stratified by class, the same split for every run."""
    from sklearn.datasets import load_digits

    found = load_digits()
    # Grey levels are 0 to 16.
    pixels = np.round(found.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = found.target.astype(np.int64)
    test = np.zeros(len(labels), bool)
    for c in range(len(_DIGITS)):
        rows = np.flatnonzero(labels == c)
        drawn = order(key("digits", "test"), torch.from_numpy(rows))
        test[rows[drawn[: round(_TEST * len(rows))].numpy()]] = True

    def split(mask: np.ndarray) -> Raw:
        columns = {"label": pa.array(labels[mask])}
        return Raw("digits", np.flatnonzero(mask), columns, {"label": "label"}, images=pixels[mask])

    names, wnids, shapes = zip(*_DIGITS, strict=True)
    return RawData("digits", "digits", split(~test), split(test), names, wnids, shapes)
