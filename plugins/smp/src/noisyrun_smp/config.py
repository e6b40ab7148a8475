"""Settings of SMP. Defaults are the paper's; where it is silent or ambiguous, the description says so."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisyrun.api import PluginConfig


class SmpPrototypesConfig(PluginConfig):
    """How prototypes are chosen."""

    p: int = Field(8, ge=1, description="Prototypes a class.")
    m: int = Field(
        1280, ge=2, description="Samples of a class, drawn at random, to choose among; all where it has fewer."
    )
    eta: float = Field(
        0.95,
        gt=-1,
        le=1,
        description="A prototype's cosine to any denser sample stays below this, while enough qualify.",
    )
    density_share: float = Field(
        0.40,
        gt=0,
        lt=1,
        description="Share of a class's similarities that lies beyond S_c (equation 6).",
    )
    density_side: Literal["top", "bottom"] = Field(
        "top",
        description="top: that share of the similarities exceeds S_c; bottom: that share falls below it. "
        "The paper's 'ranked top 40 % in ascending order' reads both ways; top is ours.",
    )
    density_floor: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of a class's samples, those of lowest density, that are never chosen while others are left. "
        "0 is the paper's: but where a class's features are nearly all alike, only outliers have an η below the limit, "
        "and those are often wrong labels.",
    )
    selection: Literal["density-eta", "density", "k-means", "density-peaks"] = Field(
        "density-eta",
        description="density-eta: the densest with a cosine to denser samples below eta (the paper's); density: the "
        "densest; k-means: centroids from k-means++ seeds; density-peaks: Rodriguez and Laio's, by Euclidean "
        "distance: highest density × distance to a denser sample.",
    )


class SmpCorrectorConfig(PluginConfig):
    """How labels are corrected."""

    alpha: float = Field(0.5, ge=0, le=1, description="Share of the corrected label in the loss; 0 to 1.")
    similarity: Literal["mean", "max"] = Field(
        "mean", description="Similarity to a class: the mean cosine over its prototypes (the paper's), or the highest."
    )
    min_margin: float = Field(
        0.0,
        ge=0,
        le=2,
        description="Change a label only where the best class's similarity exceeds that of the observed one by this "
        "much (cosine); the paper changes all, 0.",
    )
