"""What a method asks of the data and of the batches; checked before training. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Batches:
    """How the batches of a stage are drawn.

    Attributes
    ----------
    kind
        ``uniform``: every sample once an epoch; ``bags``: groups of `size` samples that share a class;
        ``mix``: `clean` trusted samples to every `noisy` others.
    size
        Samples in a bag.
    clean, noisy
        The ratio of a mix.
    """

    kind: Literal["uniform", "bags", "mix"] = "uniform"
    size: int = 1
    clean: int = 1
    noisy: int = 1

    def __str__(self) -> str:
        if self.kind == "bags":
            return f"bags of {self.size} of one class"
        if self.kind == "mix":
            return f"clean {self.clean} : noisy {self.noisy}"
        return "uniform"

    @classmethod
    def parse(cls, text: str) -> Batches:
        """Read ``uniform``, ``bags:N`` or ``mix:CLEAN:NOISY``.

        Raises
        ------
        ValueError
            When it is none of these, or a number is below 1.
        """
        kind, *words = text.split(":")
        counts = [int(word) for word in words if word.isdecimal() and int(word) >= 1]
        if len(counts) == len(words) == {"uniform": 0, "bags": 1, "mix": 2}.get(kind, -1):
            if kind == "bags":
                return BAGS(counts[0])
            return MIX(*counts) if kind == "mix" else UNIFORM
        raise ValueError("must be uniform, bags:N or mix:CLEAN:NOISY, as in mix:1:9")


UNIFORM = Batches()


def BAGS(size: int) -> Batches:
    """Bags of `size` samples of one class."""
    return Batches("bags", size=size)


def MIX(clean: int, noisy: int) -> Batches:
    """`clean` samples of the trusted subset to every `noisy` others."""
    return Batches("mix", clean=clean, noisy=noisy)


@dataclass(frozen=True)
class Needs:
    """What the data and the run must offer before a method can work.

    Every field but the last three is a plain yes or no. A need that is not met stops the run before training
    with one line that says how to meet it.

    Attributes
    ----------
    prototypes
        A PrototypeBuilder must be chosen.
    class_embeddings, class_tokens, class_similarity, sample_embeddings, text_encoder
        Fields of SideInfo that must be present.
    verification
        Some samples must carry verification labels (1: the observed label is right, 0: wrong).
    clean
        Some samples must carry a trusted label.
    text
        The data must have texts of samples (titles, descriptions, tags).
    source
        The data must say where each sample came from.
    rank
        The data must say at which rank of its search each sample was found.
    predictions
        Name of a stage's kept predictions (``keep_predictions``) that must exist, or None.
    images
        Features alone are not enough.
    trainable_backbone
        A frozen backbone would leave the method without effect.
    labels
        Kinds of labels the method can work with.
    batches
        How it wants batches drawn; None when it does not care.
    """

    prototypes: bool = False
    class_embeddings: bool = False
    class_tokens: bool = False
    class_similarity: bool = False
    sample_embeddings: bool = False
    text_encoder: bool = False
    verification: bool = False
    clean: bool = False
    text: bool = False
    source: bool = False
    rank: bool = False
    predictions: str | None = None
    images: bool = False
    trainable_backbone: bool = False
    labels: frozenset[str] = frozenset({"single", "multi"})
    batches: Batches | None = None
