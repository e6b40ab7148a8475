"""Reweighting instance: how alike an image and the text of its label are (section 4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from noisyrun.api import (
    PAD,
    Block,
    FeatureBank,
    Judgement,
    MethodError,
    Needs,
    Phase,
    Prototypes,
    SampleWeighter,
    SideInfo,
    State,
    UserError,
)
from noisyrun_urnet import equations
from noisyrun_urnet.config import InstanceConfig
from noisyrun_urnet.image_text import ImageText, train

#: Samples that are compared with their texts at a time: on a GPU, and on a CPU, whose cache they stay in.
_PIECE = (1 << 15, 1 << 10)


class Instance(SampleWeighter[InstanceConfig]):
    """Weight max(0, cosine) between an image and the text of its observed label, by a model of both sides.

    The model learns from the top-ranked samples of each class, whose labels are likeliest right. The weight belongs to
    the sample, by its observed label; a sample without one is judged by the label in question. Where a class has no
    text, or there is but one class, there is nothing to judge by: weight 1.

    Source: equations 8 and 9.
    """

    def __init__(self, config: InstanceConfig) -> None:
        super().__init__(config)
        self.model: ImageText | None = None
        #: float32 [C, width]: the text side of each class; and bool [C]: which classes have a text.
        self.texts: Tensor | None = None
        self.known: Tensor | None = None

    @property
    def needs(self) -> Needs:
        return Needs(class_embeddings=True, rank=self.config.rank == "search", labels=frozenset({"single"}))

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        """Train the model on the top-ranked samples, and embed the text of every class."""
        texts = _class_embeddings(side, self.key).to(phase.device)
        known = (texts != 0).any(1)
        rows = self._surest(bank)
        rows = rows[known.cpu()[bank.labels.single[rows]]]
        self.known = known if len(rows) and int(known.sum()) > 1 else torch.zeros_like(known)
        if not bool(self.known.any()):
            self.model, self.texts = None, texts.new_zeros(len(texts), self.config.width)
            return
        self.model = ImageText(bank.dim, texts.shape[1], self.config.hidden, self.config.width)
        loss = train(self.model, bank, rows, texts, known, self.config, phase)
        self.texts = self.model.embed_texts(texts)
        phase.log("loss", loss)

    def _surest(self, bank: FeatureBank) -> Tensor:
        """Rows of the top-ranked samples of each class, int64, by class."""
        labelled = (bank.labels.single != PAD).nonzero()[:, 0]
        if bank.rank is not None and self.config.rank != "confidence":
            keys = torch.where(bank.rank < 0, torch.iinfo(torch.int64).max, bank.rank)
        else:
            keys = -bank.label_probs[:, 0]
        best = equations.top_of_group(bank.labels.single[labelled], keys[labelled], self.config.top)
        return labelled[best]

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        if self.texts is None or self.known is None:
            raise MethodError(self.key, "must be fitted before it weighs")
        device = block.bank.device
        named = torch.where(block.observed == PAD, labels, block.observed)
        if self.model is None:
            return Judgement(torch.ones(len(block), device=device))
        model, texts = self.model.to(device), self.texts.to(device)
        size = _PIECE[device.type == "cpu"]
        cosine = torch.cat(
            [
                equations.correlation(model.embed_images(part), texts[which])
                for part, which in zip(block.features.split(size), named.split(size))
            ]
        )
        known = self.known.to(device)[named]
        score = torch.where(known, cosine, 1.0)
        return Judgement(score.clamp(min=0), score, known & (cosine <= 0))

    def state_dict(self) -> State:
        if self.texts is None or self.known is None:
            return {}
        learned = {} if self.model is None else self.model.state_dict()
        return {"texts": self.texts, "known": self.known} | {f"model.{name}": value for name, value in learned.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.texts, self.known = state.get("texts"), state.get("known")
        learned = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
        self.model = ImageText.restored(learned) if learned else None


def _class_embeddings(side: SideInfo, key: str) -> Tensor:
    if side.class_embeddings is None:
        raise UserError(f"{key} needs embeddings of the class names; add --side-info text, fasttext or tfidf")
    return side.class_embeddings.float()
