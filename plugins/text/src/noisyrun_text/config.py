"""Configurations of the text encoders. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from noisyrun.api import PluginConfig

SampleText = Literal["titles", "descriptions", "tags"]


class TextConfig(PluginConfig):
    """What all text encoders share: which words stand for a class and for a sample."""

    class_text: Literal["name", "description", "name+description"] = Field(
        "name+description",
        description="Text of a class; its name wherever the data has no description.",
    )
    sample_text: tuple[SampleText, ...] = Field(
        ("titles", "descriptions", "tags"),
        description="Texts of a sample, joined in this order; those that the data lacks are left out.",
    )
    class_tokens: bool = Field(
        True, description="Also give a vector for each token of a class's text, which some encoders build on."
    )


class TransformerConfig(TextConfig):
    """A Hugging Face encoder, frozen."""

    model: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2",
        min_length=1,
        description="Model id on huggingface.co, or a local folder with config.json, tokenizer and *.safetensors.",
    )
    revision: str | None = Field(
        None, description="Branch, tag or commit of the model; a commit makes a run repeatable. Main by default."
    )
    pooling: Literal["mean", "cls"] = Field(
        "mean", description="Vector of a text: mean over its tokens, or its first token."
    )
    max_length: int = Field(64, ge=4, le=8192, description="Tokens of a text that are read; the rest is cut off.")
    batch_size: int = Field(64, ge=1, description="Texts encoded at a time.")
    device: str = Field("auto", description="Where the encoder computes: auto (with the run), cpu, cuda or cuda:N.")
    local_files_only: bool = Field(False, description="Never ask the network; use what is on this machine.")


class FastTextConfig(TextConfig):
    """Word vectors from a text file."""

    vectors: Path | None = Field(
        None,
        description="File of word vectors: .vec, .txt or .vec.gz, one word and its values a line (fastText, GloVe).",
    )
    lower: bool = Field(True, description="Where a word is not found as written, look it up in lower case.")


class TfidfConfig(TextConfig):
    """TF-IDF over the texts of the classes and samples."""

    dim: int | None = Field(
        256,
        ge=2,
        description="Width after latent semantic analysis (truncated SVD), which leaves cosines between up to so many "
        "texts as they are; none: one column a word.",
    )
    max_words: int = Field(20_000, ge=2, description="Words kept, most frequent first.")
    ngrams: int = Field(1, ge=1, le=3, description="Also count sequences of up to so many words.")
    stop_words: bool = Field(True, description="Leave out English function words (numerals stay).")
    max_samples: int = Field(
        100_000, ge=0, description="Samples whose texts count for the vocabulary, drawn by the seed; all classes do."
    )
