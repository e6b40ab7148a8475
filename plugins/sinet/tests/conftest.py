"""What several of SINet's tests share."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from noisyrun.api import DenseRows, SideInfo, TextEncoder

NLTK_DATA = Path(__file__).parents[4] / "shared" / "data" / "nltk_data"


class WordVectors(TextEncoder):
    """A text encoder without downloads: each word has a fixed random vector."""

    dim = 16

    def __init__(self) -> None:
        self.calls = 0

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        self.calls += 1
        words = [text.lower().replace(":", " ").split() for text in texts]
        longest = max(1, *(len(one) for one in words))
        tokens = torch.zeros(len(texts), longest, self.dim)
        mask = torch.zeros(len(texts), longest, dtype=torch.bool)
        for i, one in enumerate(words):
            for j, word in enumerate(one):
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
                tokens[i, j] = torch.randn(self.dim, generator=torch.Generator().manual_seed(seed))
                mask[i, j] = True
        return tokens, mask


@pytest.fixture
def encoder() -> WordVectors:
    return WordVectors()


@pytest.fixture(scope="session")
def wordnet_data() -> None:
    """WordNet, from NLTK's own folders or the shared data; skips where there is none."""
    import nltk

    if NLTK_DATA.is_dir():
        nltk.data.path.insert(0, str(NLTK_DATA))
    try:
        nltk.data.find("corpora/wordnet")
    except LookupError:
        pytest.skip(f"no WordNet: neither {os.environ.get('NLTK_DATA', 'NLTK_DATA')} nor {NLTK_DATA}")


@pytest.fixture(scope="session")
def make_relation() -> Callable[..., SideInfo]:
    """A symmetric class relation with ones on its diagonal."""

    def make(classes: int, seed: int = 0) -> SideInfo:
        half = torch.rand(classes, classes, generator=torch.Generator().manual_seed(seed))
        similarity = (half + half.T) / 2
        similarity.fill_diagonal_(1.0)
        return SideInfo(class_similarity=DenseRows(similarity))

    return make


@pytest.fixture(scope="session")
def make_clusters() -> Callable[..., tuple[Tensor, Tensor]]:
    """Features around one direction a class, and the class of each."""

    def make(classes: int, per_class: int, dim: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        centres = torch.randn(classes, dim, generator=generator) * 2
        labels = torch.arange(classes).repeat_interleave(per_class)
        return centres[labels] + torch.randn(len(labels), dim, generator=generator), labels

    return make
