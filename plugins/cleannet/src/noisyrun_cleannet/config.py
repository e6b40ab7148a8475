"""Settings of CleanNet. Defaults are the paper's or its authors'; where both are silent, the description says so."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisyrun.api import PluginConfig


class VerificationConfig(PluginConfig):
    """Whose word it is that a label is right or wrong."""

    verification: Literal["given", "predictions"] = Field(
        "given",
        description="given: verification labels of the data (--verify); predictions: a label counts as verified right "
        "where it is among a classifier's top_k classes, and as wrong elsewhere (WebVision's pseudo-verification).",
    )
    predictions: str | None = Field(
        None,
        description="predictions: name of a stage's keep_predictions to go by; the current classifier's by default.",
    )
    top_k: int = Field(5, ge=1, description="predictions: a label among so many best classes counts as right.")
    per_class: int = Field(
        250,
        ge=1,
        description="predictions: samples of a class that are so verified for training; and for the "
        "threshold and early stopping a fifth as many others (ours).",
    )


class CleanNetPrototypesConfig(VerificationConfig):
    """How reference sets are chosen and the two encoders trained."""

    references: Literal["k-means", "random"] = Field(
        "k-means", description="Reference set of a class: centroids of its features, or samples drawn at random."
    )
    reference_size: int = Field(50, ge=1, description="References a class; all samples where a class has fewer.")
    input: Literal["auto", "log", "unit", "raw"] = Field(
        "auto",
        description="What the encoders see: log(1 + x), features at unit length, or as they are. auto: log where no "
        "feature is negative, unit otherwise.",
    )
    hidden: int = Field(512, ge=1, description="Width of the reference encoder's first layer.")
    attended: int = Field(
        256, ge=1, description="Width of what attention weighs: the reference encoder's second layer."
    )
    attention: int = Field(256, ge=1, description="Width of the attention layer.")
    query_hidden: int = Field(256, ge=1, description="Width of the query autoencoder's outer layers.")
    embedding: int = Field(128, ge=1, description="Width E of class and query embeddings.")
    dropout: float = Field(
        0.2, ge=0, lt=1, description="Dropout after each hidden layer while training; where, the paper does not say."
    )
    omega: float = Field(5.0, ge=0, description="Weight ω of labels verified wrong in the matching loss.")
    rho: float = Field(0.1, ge=-1, le=1, description="Margin ρ, a cosine: wrong labels cost nothing below it.")
    beta: float = Field(0.1, ge=0, description="Weight β of the reconstruction error, summed over dimensions.")
    gamma: float = Field(0.1, ge=0, description="Weight γ of the loss of queries that are not verified.")
    lr: float = Field(0.01, gt=0, description="Learning rate of SGD; a tenth of it from half of the steps on.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD.")
    l2: float = Field(1e-4, ge=0, description="L2 penalty of SGD.")
    steps: int = Field(60_000, ge=1, description="Steps at most.")
    refresh_steps: int = Field(
        60_000,
        ge=0,
        description="Steps at most in later rounds, which go on from the round before; 0: train once, and only encode "
        "anew. The paper: to convergence.",
    )
    verified_batch: int = Field(
        128,
        ge=1,
        description="Verified queries in a step. The paper: 32; the cost of a step is in the reference sets, and more "
        "queries make fewer steps do.",
    )
    unverified_batch: int = Field(
        128,
        ge=0,
        description="Queries in a step that are not verified (the paper: 32); where there are none, verified.",
    )
    check_every: int = Field(
        250, ge=1, description="Steps between looks at the held-out verification labels (ours; without dropout)."
    )
    patience: int = Field(
        4,
        ge=0,
        description="Looks without gain until the learning rate falls to a tenth, and as many again until training "
        "stops; the best network is kept. 0: all steps, and the last network. The paper: to convergence.",
    )
    show_classes: int = Field(
        10, ge=0, description="Classes of the picture of most and least attended references; 0: no picture."
    )


class CleanNetWeighterConfig(VerificationConfig):
    """How a cosine becomes a weight and a decision."""

    weights: Literal["soft", "hard"] = Field(
        "soft", description="soft: max(0, cosine), the paper's better one; hard: 1 from δ on, 0 below."
    )
    delta: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="Threshold δ, a cosine. By default the one of least average error over classes on held-out "
        "verification labels, one for all classes.",
    )
    similarity: Literal["mean", "nearest"] = Field(
        "mean", description="Of a builder with several prototypes a class: mean cosine, or that of the nearest (ours)."
    )
