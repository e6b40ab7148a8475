"""The class relation graph: how alike the classes are, from their texts and from a hierarchy (section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from noisyrun.api import (
    PAD,
    MethodError,
    Needs,
    Phase,
    Rows,
    SideInfo,
    SideInfoEncoder,
    State,
    Task,
    Text,
    TextEncoder,
    UserError,
)
from noisyrun_sinet import wordnet
from noisyrun_sinet.config import SinetSideInfoConfig
from noisyrun_sinet.equations import class_relation, label_similarity
from noisyrun_sinet.hierarchy import Hierarchy, HierarchyRows
from noisyrun_sinet.label_embedding import LabelEmbedding, Tokens, embed, train


class LabelRows(Rows):
    """S_l by rows (2), from label embeddings [C, d]."""

    def __init__(self, embeddings: Tensor) -> None:
        self.embeddings = embeddings
        self.shape = (len(embeddings), len(embeddings))

    def take(self, rows: Tensor) -> Tensor:
        own = self.embeddings[rows.to(self.embeddings.device)]
        return label_similarity(own, self.embeddings).to(rows.device)


class RelationRows(Rows):
    """S_t by rows (3)."""

    def __init__(self, labels: Rows, tree: Rows) -> None:
        self.labels = labels
        self.tree = tree
        self.shape = labels.shape

    def take(self, rows: Tensor) -> Tensor:
        return class_relation(self.labels.take(rows), self.tree.take(rows))


class SinetSideInfo(SideInfoEncoder[SinetSideInfoConfig]):
    """Class similarity from label embeddings, from a hierarchy, or from both.

    Source: section 3.1, equations 2 and 3; the parts of table 2 are the setting `relation`.
    """

    def __init__(self, config: SinetSideInfoConfig) -> None:
        super().__init__(config)
        parts = config.relation.split("+")
        self.texts = next((part for part in parts if part != "HW"), None)
        self.tree = "HW" in parts
        self._learned: tuple[LabelEmbedding, tuple[str, ...]] | None = None
        self._restored = False

    @property
    def needs(self) -> Needs:
        return Needs(text_encoder=self.texts is not None)

    @property
    def gives(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"class_similarity", "class_embeddings"} if self.texts else {"class_similarity"})

    def preflight_text(self, text: Text) -> None:
        self._words(text)  # reads WordNet where it is needed, and finds every class in it

    def encode(self, task: Task, text: Text, before: SideInfo, phase: Phase) -> SideInfo:
        words = self._words(text)
        tree = self._tree(text, words) if self.tree else None
        if self.texts is None:
            return SideInfo(class_similarity=tree)
        encoder = before.text_encoder
        if encoder is None:
            raise UserError(
                f"{self.key}: relation {self.config.relation} reads the classes' texts and needs a text encoder before "
                "it: --side-info text,sinet; or take --side-info.sinet.relation HW"
            )
        if self.texts == "CN":
            embeddings = encoder.vectors(text.names).float()
        else:
            embeddings = self._label_embeddings(text, words, encoder, phase)
        labels = LabelRows(embeddings.to(phase.device))
        return SideInfo(
            class_embeddings=embeddings, class_similarity=labels if tree is None else RelationRows(labels, tree)
        )

    def state_dict(self) -> State:
        if self._learned is None:
            return {}
        model, classes = self._learned
        weights = {f"lstm.{name}": value.cpu() for name, value in model.lstm.state_dict().items()}
        return {"classes": list(classes), "width": model.width, "hidden": model.hidden, **weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if not state:
            return
        if self.texts != "CD":
            raise MethodError(self.key, f"holds no LSTM under relation {self.config.relation}, but the checkpoint does")
        model = LabelEmbedding(int(state["width"]), int(state["hidden"]))
        weights = {name.removeprefix("lstm."): value for name, value in state.items() if name.startswith("lstm.")}
        model.lstm.load_state_dict(weights)
        self._learned = model, tuple(state["classes"])
        self._restored = True

    def _words(self, text: Text) -> list[wordnet.Words] | None:
        """What WordNet says of each class; None where neither the hierarchy nor a missing description asks for it."""
        by_wordnet = self.tree and not self._by_tree(text)
        if (by_wordnet or self.texts) and _unnamed(text):
            raise UserError(
                f"{self.key}: the classes have numbers in place of names, which mean nothing to WordNet or a text "
                "encoder; give names or wnids: --data.classes FILE"
            )
        if by_wordnet or (self.texts == "CD" and not _described(text)):
            return wordnet.find(text.names, text.wnids, self.config.senses, self.config.ambiguous)
        return None

    def _by_tree(self, text: Text) -> bool:
        wanted = self.config.hierarchy
        if wanted == "tree" and text.parents is None:
            raise UserError(f"{self.key}: hierarchy tree, but the data has none: --data.tree FILE (child, parent)")
        return wanted == "tree" or (wanted == "auto" and text.parents is not None)

    def _tree(self, text: Text, words: Sequence[wordnet.Words] | None) -> Rows:
        """S_w."""
        if words is not None and not self._by_tree(text):
            hierarchy = Hierarchy([one.synset for one in words], wordnet.parents)
            return HierarchyRows(hierarchy, self.config.similarity, wordnet.NOUN_DEPTH)
        assert text.parents is not None
        known = set(text.parents) | set(text.parents.values())
        nodes = [
            text.wnids[c] if text.wnids is not None and name not in known else name for c, name in enumerate(text.names)
        ]
        return HierarchyRows(Hierarchy.of_tree(nodes, text.parents), self.config.similarity)

    def _label_embeddings(
        self, text: Text, words: Sequence[wordnet.Words] | None, encoder: TextEncoder, phase: Phase
    ) -> Tensor:
        """Embeddings of the classes' descriptions; trains the LSTM unless it was restored."""
        texts, classes = class_texts(text, words, self.config.sample_texts)
        count = len(text.names)
        if self._learned is not None and self._restored:
            model, known = self._learned
            if known != text.names:
                raise UserError(f"{self.key}: the checkpoint is of other classes ({len(known)}, the data has {count})")
            if model.width != encoder.dim:
                raise UserError(
                    f"{self.key}: the checkpoint's LSTM reads tokens of width {model.width}, the text encoder gives "
                    f"{encoder.dim}: choose the text encoder of that run"
                )
            return embed(model, Tokens(encoder, texts[:count], phase.device, phase.memory // 2), range(count))
        tokens = Tokens(encoder, texts, phase.device, phase.memory // 2)
        model = LabelEmbedding(encoder.dim, self.config.hidden)
        steps = self.config.steps or max(30, 2 * -(-len(texts) // self.config.batch_size))
        loss = train(
            model,
            tokens,
            classes,
            count,
            phase,
            steps=steps,
            batch_size=self.config.batch_size,
            lr=self.config.lr,
            word_dropout=self.config.word_dropout,
        )
        phase.log("label_embedding_loss", loss)
        self._learned = model, text.names
        return embed(model, tokens, range(count))


def class_texts(text: Text, words: Sequence[wordnet.Words] | None, samples: int) -> tuple[list[str], Tensor]:
    """Texts from which the LSTM learns to tell the classes apart, and the class of each, int64 [n].

    The first C are the descriptions that become the label embeddings: ``name: gloss``, or the user's own description.
    Then, class by class: its name, its words, its gloss, the glosses right above it, and texts of its samples.
    """
    own = text.descriptions or ("",) * len(text.names)
    glosses = [said if said.strip() else (words[c].gloss if words is not None else "") for c, said in enumerate(own)]
    lost = [name for name, gloss in zip(text.names, glosses) if not gloss.strip()]
    if lost:
        raise UserError(f"classes without a description: {', '.join(map(repr, lost[:5]))}; give one in --data.classes")
    texts = [f"{name}: {gloss}" for name, gloss in zip(text.names, glosses)]
    classes = list(range(len(texts)))
    by_class = _sample_texts(text, samples)
    for c, name in enumerate(text.names):
        views = [name, glosses[c]]
        if words is not None:
            views += [*words[c].lemmas, *words[c].above]
        views += by_class.get(c, [])
        kept = list(dict.fromkeys(view for view in views if view.strip()))
        texts += kept
        classes += [c] * len(kept)
    return texts, torch.tensor(classes)


def _sample_texts(text: Text, most: int) -> dict[int, list[str]]:
    """Titles and tags of the first samples of each class that have any."""
    found: dict[int, list[str]] = {}
    if most == 0 or text.labels is None or (text.titles is None and text.tags is None):
        return found
    for row, classes in enumerate(text.labels.classes.tolist()):
        title = text.titles[row].strip() if text.titles is not None else ""
        tags = " ".join(text.tags[row]).strip() if text.tags is not None else ""
        said = " ".join(part for part in (title, tags) if part)
        for c in classes:
            if said and c != PAD and len(found.setdefault(c, [])) < most:
                found[c].append(said)
    return found


def _unnamed(text: Text) -> bool:
    """Whether the names merely count the classes. Handwritten digits are called so, too, but are described."""
    counted = text.names == tuple(str(c) for c in range(len(text.names)))
    return counted and text.wnids is None and not _described(text)


def _described(text: Text) -> bool:
    """Whether the data itself describes every class."""
    return text.descriptions is not None and all(said.strip() for said in text.descriptions)
