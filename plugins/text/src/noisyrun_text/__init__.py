"""Text encoders for noisyrun: transformers, fastText vectors, TF-IDF."""

from __future__ import annotations

from collections.abc import Iterator

from noisyrun.api import Plugin, hookimpl


@hookimpl
def noisyrun_plugins() -> Iterator[Plugin]:
    """The text encoders of this distribution, each a side-info encoder."""
    yield Plugin(
        kind="side_info",
        name="text",
        api="1.0",
        summary="Any Hugging Face text encoder, frozen: texts of classes and samples as vectors and tokens.",
        factory="noisyrun_text.transformer:TransformerSideInfo",
        config="noisyrun_text.config:TransformerConfig",
    )
    yield Plugin(
        kind="side_info",
        name="fasttext",
        api="1.0",
        summary="Word vectors from a .vec file (fastText, GloVe), read word by word as needed.",
        factory="noisyrun_text.fasttext:FastTextSideInfo",
        config="noisyrun_text.config:FastTextConfig",
        paper="Bojanowski et al., TACL 2017",
    )
    yield Plugin(
        kind="side_info",
        name="tfidf",
        api="1.0",
        summary="TF-IDF and latent semantic analysis of the data's own texts; needs no downloads.",
        factory="noisyrun_text.tfidf:TfidfSideInfo",
        config="noisyrun_text.config:TfidfConfig",
        paper="Deerwester et al., JASIS 1990",
    )
