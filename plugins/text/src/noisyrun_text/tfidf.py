"""Side information from the data's own texts: TF-IDF, with latent semantic analysis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
from torch import Tensor

from noisyrun.api import Phase, Text, TextEncoder, UserError
from noisyrun_text.config import TfidfConfig
from noisyrun_text.words import TextSideInfo, class_texts, sample_texts

#: Words that scikit-learn counts among the function words, but that may name a class.
_NUMERALS = {"one", "two", "three", "four", "five", "six", "eight", "nine", "ten"}
_NUMERALS |= {"eleven", "twelve", "fifteen", "twenty", "forty", "fifty", "sixty", "hundred"}
STOP_WORDS = sorted(ENGLISH_STOP_WORDS - _NUMERALS)


class TfidfEncoder(TextEncoder):
    """TF-IDF vectors of texts, in a latent space where there is one.

    Parameters
    ----------
    basis
        float32 [V, d]: each word's place in the latent space; None: a word is its own column, d = V.
    """

    def __init__(self, vectorizer: TfidfVectorizer, basis: Tensor | None) -> None:
        self.vectorizer = vectorizer
        self.basis = basis
        self.dim = len(vectorizer.vocabulary_) if basis is None else basis.shape[1]
        self._analyze = vectorizer.build_analyzer()
        self._idf = torch.from_numpy(vectorizer.idf_).float()

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Float32 [B, T, d] and bool [B, T]: each known word's vector scaled by its inverse document frequency."""
        words = [[self.vectorizer.vocabulary_.get(word) for word in self._analyze(text)] for text in texts]
        known = [[column for column in some if column is not None] for some in words]
        width = max((len(some) for some in known), default=0)
        columns = torch.zeros(len(texts), width, dtype=torch.int64)
        mask = torch.zeros(len(texts), width, dtype=torch.bool)
        for i, some in enumerate(known):
            columns[i, : len(some)] = torch.tensor(some, dtype=torch.int64)
            mask[i, : len(some)] = True
        if self.basis is None:
            vectors = torch.nn.functional.one_hot(columns, self.dim).float()
        else:
            vectors = self.basis[columns]
        return vectors * self._idf[columns].unsqueeze(-1) * mask.unsqueeze(-1), mask

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Float32 [B, d]; 0 for a text without a known word."""
        if not texts:
            return torch.zeros(0, self.dim)
        counts = self.vectorizer.transform(texts)
        if self.basis is None:
            return torch.from_numpy(counts.toarray().astype(np.float32))
        return torch.from_numpy(np.asarray(counts @ self.basis.numpy(), dtype=np.float32))


class TfidfSideInfo(TextSideInfo[TfidfConfig]):
    """Texts of classes and samples by the words they share, without any download."""

    def make_encoder(self, text: Text, phase: Phase) -> TextEncoder:
        texts = class_texts(text, self.config.class_text) + self._some_samples(text, phase)
        vectorizer = TfidfVectorizer(
            max_features=self.config.max_words,
            ngram_range=(1, self.config.ngrams),
            stop_words=STOP_WORDS if self.config.stop_words else None,
            token_pattern=r"(?u)[^\W_]+",  # single characters too: classes may be called 0 to 9
        )
        try:
            counts = vectorizer.fit_transform(texts)
        except ValueError as error:
            raise UserError(
                f"{self.key}: the texts hold no words (the first is {texts[0]!r}); give class names or descriptions"
            ) from error
        return TfidfEncoder(vectorizer, self._basis(counts, phase))

    def _some_samples(self, text: Text, phase: Phase) -> list[str]:
        found = sample_texts(text, self.config.sample_text)
        if found is None or self.config.max_samples == 0:
            return []
        rows, read = found
        if rows <= self.config.max_samples:
            return read(range(rows))
        drawn = torch.randperm(rows, generator=phase.generator("vocabulary"))[: self.config.max_samples]
        return read(drawn.sort().values.tolist())

    def _basis(self, counts, phase: Phase) -> Tensor | None:  # type: ignore[no-untyped-def]  # scipy has no types
        """Each word's place in the latent space, float32 [V, d]; None where there are no more words than d."""
        dim = self.config.dim
        texts, words = counts.shape
        if dim is None or words <= dim:
            return None
        if texts <= dim:
            # So few texts span a space that holds them exactly: no approximation is needed.
            _, strength, right = np.linalg.svd(counts.toarray(), full_matrices=False)
            right = right[strength > 1e-6 * strength[0]]
        else:
            seed = int(torch.randint(2**31 - 1, (1,), generator=phase.generator("svd")))
            right = TruncatedSVD(dim, random_state=seed).fit(counts).components_
        return torch.from_numpy(np.ascontiguousarray(right.T, dtype=np.float32))
