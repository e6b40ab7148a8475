"""Configurations of SINet's four sockets. Imports no torch, so that help stays quick."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisyrun.api import PluginConfig

Relation = Literal["CN", "CD", "HW", "CN+HW", "CD+HW"]


class SinetSideInfoConfig(PluginConfig):
    """Class relation graph (section 3.1)."""

    relation: Relation = Field(
        "CD+HW",
        description="What the class relation is made of (table 2): CN class names, CD class descriptions, "
        "HW WordNet or a tree, or a sum. CN and CD need a text encoder (--side-info text,sinet).",
    )
    hierarchy: Literal["auto", "wordnet", "tree"] = Field(
        "auto", description="HW: WordNet, or the data's own tree (--data.tree); auto takes the tree where there is one."
    )
    similarity: Literal["path", "lch", "wup"] = Field(
        "path",
        description="HW: similarity of two nodes: path 1/(1 + edges between them), lch (Leacock-Chodorow, scaled to "
        "at most 1) or wup (Wu-Palmer). The paper gives a distance, which cannot be added to a cosine: ours.",
    )
    ambiguous: Literal["error", "first"] = Field(
        "error",
        description="HW, CD: a class name of several noun senses, none of which WordNet counts as the most frequent: "
        "stop and list them, or take the first. Paper silent: ours.",
    )
    senses: dict[str, str] = Field(
        default_factory=dict,
        description="HW, CD: WordNet sense by class name where the first is the wrong one, e.g. crane = 'crane.n.05' "
        "or a wnid.",
    )
    hidden: int = Field(128, ge=1, description="CD: units of the LSTM in each direction. Paper silent: ours.")
    word_dropout: float = Field(
        0.3, ge=0, lt=1, description="CD: share of tokens dropped while the LSTM trains. Paper silent: ours."
    )
    sample_texts: int = Field(
        20,
        ge=0,
        description="CD: titles and tags of at most so many samples a class train the LSTM, too, where the data has "
        "them. Paper silent: ours.",
    )
    steps: int | None = Field(
        None,
        ge=1,
        description="CD: steps the LSTM trains; by default two passes over the texts, at least 30. Longer training "
        "drives alike classes apart. Paper silent: ours.",
    )
    batch_size: int = Field(32, ge=2, description="CD: texts in a step of the LSTM. Paper silent: ours.")
    lr: float = Field(2e-3, gt=0, description="CD: learning rate of the LSTM (Adam). Paper silent: ours.")


class ConsistencyConfig(PluginConfig):
    """Settings of the consistency score (4), shared by the prototypes and the weighter."""

    k: int = Field(
        50,
        ge=1,
        description="Samples of highest classification confidence that make a class's initial prototype. "
        "Paper gives no value: ours.",
    )
    psi: Literal["softmax", "l2"] = Field(
        "softmax",
        description="Normalisation of the similarity vectors in (4); l2 goes with the generalised divergence. "
        "Paper names both: softmax ours.",
    )
    temperature: float = Field(
        0.1, gt=0, description="Temperature of that softmax: cosines are nearly flat under a bare one. Ours."
    )
    gamma: float = Field(2.0, gt=0, description="Contrast γ of (4). Paper gives no value: ours.")
    eps: float = Field(1e-3, gt=0, description="Constant ε of (4) that keeps the denominator above 0. Ours.")


class SinetPrototypesConfig(ConsistencyConfig):
    """Visual prototypes (section 3.2)."""

    weighting: Literal["weighting", "constant"] = Field(
        "weighting", description="Samples count by their consistency score, or all alike (table 3)."
    )
    top: int | None = Field(
        None,
        ge=1,
        description="Samples of highest consistency score that make a prototype; all of the class by default.",
    )
    clean: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Build from the trusted clean subset (table 8): auto does for classes that have such samples, "
        "always refuses to run without a subset, never uses observed labels alone.",
    )


class SinetWeighterConfig(ConsistencyConfig):
    """Noise weighting (section 3.3)."""

    alpha: float = Field(
        1.2, gt=0, le=2, description="Shift factor α: a unit-length feature farther from its prototype weighs 0."
    )
    beta: float = Field(1.5, gt=0, description="Contrast factor β, an exponent.")
    reduce: Literal["nearest", "mean"] = Field(
        "nearest",
        description="Several prototypes a class: distance to the nearest, or their weighted mean. "
        "SINet has one a class: ours.",
    )
    weights: Literal["soft", "keep"] = Field(
        "soft", description="soft: (6). keep: 1 for the high-confidence samples and 0 for the rest (Model-B)."
    )
    keep_share: float | None = Field(
        None, gt=0, le=1, description="keep: share of samples kept; by default all that are not judged wrong. Ours."
    )
    score: Literal["weight", "consistency"] = Field(
        "weight",
        description="What ranks the labels and decides which are wrong: nearness to the prototype, as in (6), or the "
        "consistency score (4), which needs a class relation.",
    )
    decision: Literal["otsu", "nearest", "shift"] = Field(
        "otsu",
        description="Which labels are called wrong. otsu: score in the lower of two groups (Otsu's method, without "
        "labels), and another class's prototype nearer than the label's own; nearest: the latter alone; shift: what "
        "(6) weighs 0. The paper weighs and does not decide: otsu ours.",
    )


class SinetCorrectorConfig(PluginConfig):
    """Top-k label smoothing (section 3.4)."""

    predictions: str = Field(
        "smoothing", min_length=1, description="Name under which the smoothing model's stage keeps its predictions."
    )
    k: int = Field(5, ge=1, description="Predictions that smooth a label. Paper gives no value: ours.")
    s: float = Field(
        0.2, ge=0, le=1, description="Share of the predictions in the target: (1 − s)·given + s·top-k. Ours."
    )
