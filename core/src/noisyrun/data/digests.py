"""Digests of a data set, part by part, so that a resume can say which part changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from noisyrun.api.labels import PAD, Labels
from noisyrun.api.side_info import Text
from noisyrun.data.hashing import digest
from noisyrun.data.raw import Raw
from noisyrun.data.samples import Samples

if TYPE_CHECKING:
    from noisyrun.data.noise_manifest import NoiseManifest

#: What each digest is of, as a message says it.
WORDS = {
    "labels": "the observed labels",
    "inputs": "the images or features",
    "noise": "the labels that noise changed",
    "logits": "the logits",
    "verification": "the verification labels",
    "trusted": "the trusted labels",
    "truth": "the clean labels",
    "texts": "the texts",
    "sources": "the sources and ranks",
    "test": "images or labels of the test set",
}

#: The digest of a part that the data does not have.
NONE = "none"

#: Texts that are joined before they are hashed: one by one takes a microsecond each.
_JOINED = 16_384


def digests(
    raw: Raw, everything: Samples, train: Samples, test: tuple[Raw, Samples] | None, noise: NoiseManifest | None
) -> dict[str, str]:
    """SHA-256 of every part that the data has.

    Parameters
    ----------
    raw, everything
        All samples but those of the test set, as they were read and with noise.
    train
        What is trained on, with verification labels and the clean subset.
    test
        The test set, as it was read and under its clean labels.
    """
    rated = [part for part in (everything.source, everything.rank) if part is not None]
    checked = bool((train.verified >= 0).any())
    trusted = bool(train.clean.any()) or bool((train.trusted.classes != PAD).any())
    found = {
        "labels": _labels(everything.index, everything.labels),
        "inputs": _inputs(raw, everything),
        "noise": NONE if noise is None else noise.digest,
        "logits": NONE if everything.logits is None else digest(everything.logits),
        "verification": digest(train.index, train.verified) if checked else NONE,
        "trusted": _labels(train.clean, train.trusted) if trusted else NONE,
        "truth": NONE if everything.truth is None else _labels(everything.index, everything.truth),
        "texts": _texts(everything.text),
        "sources": digest(*rated, everything.source_names) if rated else NONE,
        "test": NONE if test is None else digest(_labels(test[1].index, test[1].labels), _inputs(*test)),
    }
    return {name: one for name, one in found.items() if one != NONE}


def kept(of: Mapping[str, str]) -> dict[str, str]:
    """The digests as a checkpoint keeps them: it says of a part that was not there that it was not."""
    return {**dict.fromkeys(WORDS, NONE), **of}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """The first part that is not what it was, in a message's words; None where all is the same.

    A part that an older version of noisyrun took no digest of is not held against anything.
    """
    for name in before:
        if before[name] != now.get(name, NONE):
            return WORDS.get(name, name)
    return None


def _labels(index: torch.Tensor, labels: Labels) -> str:
    return digest(index, *(part for part in vars(labels).values() if part is not None))


def _inputs(raw: Raw, samples: Samples) -> str:
    if isinstance(raw.images, np.ndarray):
        return digest(raw.images)
    if raw.images is not None:
        return raw.images.digest()
    return digest(samples.features)


def _texts(text: Text) -> str:
    total = hashlib.sha256()
    tree = None if text.parents is None else [f"{child}\t{parent}" for child, parent in sorted(text.parents.items())]
    words: tuple[Sequence[Any] | None, ...] = (text.wnids, text.descriptions, tree, text.titles)
    words += (text.sample_descriptions, text.tags)
    if all(part is None for part in words):
        return NONE
    for part in words:
        total.update(b"\1" if part is None else b"\2")
        for some in _pieces(part or ()):
            joined = "\0".join(one if isinstance(one, str) else "\t".join(one) for one in some)
            total.update(f"{len(some)} {len(joined)} {joined}".encode(errors="surrogatepass"))
    return total.hexdigest()


def _pieces(items: Iterable[Any]) -> Iterable[list[Any]]:
    rest = iter(items)
    while some := list(islice(rest, _JOINED)):
        yield some
