"""The label embedding: frozen token embeddings of a class's text, a bidirectional LSTM, one vector (section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from noisyrun.api import Phase, TextEncoder, ops

#: Texts the encoder sees at once.
_TEXTS = 64
#: Scale of the cosines before the softmax of the training objective.
_SCALE = 10.0


class LabelEmbedding(nn.Module):
    """A bidirectional LSTM whose last states, joined, are the label embedding.

    Parameters
    ----------
    width
        d, width of a token embedding.
    hidden
        Units in each direction; an embedding has twice as many.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        self.hidden = hidden
        # torch draws weights of its own, which must not move the global generator; `reset` draws those that count.
        with torch.random.fork_rng(devices=[]):
            self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)

    def reset(self, generator: torch.Generator) -> None:
        """Draw the weights from a generator."""
        bound = self.hidden**-0.5
        with torch.no_grad():
            for weights in self.parameters():
                drawn = torch.rand(weights.shape, generator=generator) * 2 * bound - bound
                weights.copy_(drawn)

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """Token embeddings [T_b, d] of B texts, T_b ≥ 1 → label embeddings [B, 2·hidden]."""
        lengths = torch.tensor([len(one) for one in tokens])
        packed = pack_padded_sequence(
            pad_sequence(list(tokens), batch_first=True), lengths, batch_first=True, enforce_sorted=False
        )
        last: Tensor = self.lstm(packed)[1][0]
        return torch.cat([last[0], last[1]], dim=1)


class Tokens:
    """Token embeddings of texts: kept in half precision where they fit the budget, encoded again where not.

    Parameters
    ----------
    memory
        Bytes they may take.
    """

    def __init__(self, encoder: TextEncoder, texts: Sequence[str], device: torch.device, memory: int) -> None:
        self.encoder = encoder
        self.texts = texts
        self.device = device
        self._kept: list[Tensor] | None = None
        kept: list[Tensor] = []
        room = memory
        for start in range(0, len(texts), _TEXTS):
            found = [one.half() for one in self._encode(texts[start : start + _TEXTS])]
            room -= sum(2 * one.numel() for one in found)
            if room < 0:
                return
            kept += found
        self._kept = kept

    def take(self, which: Sequence[int]) -> list[Tensor]:
        """float32 [T, d] of some texts, T ≥ 1."""
        if self._kept is not None:
            return [self._kept[i].to(self.device, torch.float32) for i in which]
        # Rounded all the same, so that the budget does not change what is learned.
        return [one.half().to(self.device, torch.float32) for one in self._encode([self.texts[i] for i in which])]

    def _encode(self, texts: Sequence[str]) -> list[Tensor]:
        with torch.no_grad():
            tokens, mask = self.encoder.tokens(texts)
        # A text of which the encoder knows no word is one token of zeros: an LSTM needs a step.
        return [
            one[keep] if bool(keep.any()) else one.new_zeros(1, self.encoder.dim) for one, keep in zip(tokens, mask)
        ]


def train(
    model: LabelEmbedding,
    tokens: Tokens,
    classes: Tensor,
    num_classes: int,
    phase: Phase,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    word_dropout: float,
) -> float:
    """Train the LSTM to tell the classes apart from their texts. The text encoder stays frozen.

    The paper gives no objective. Ours: cross entropy of the cosines between the embedding of a text and one learned
    vector a class, with tokens dropped at random so that no single word carries a class.

    Parameters
    ----------
    classes
        int64 [n]: the class of each text.

    Returns
    -------
    float
        Mean loss of the last tenth of the steps.
    """
    generator = phase.generator("lstm")
    device = tokens.device
    model.reset(generator)
    model.to(device).train()
    anchors = torch.randn(num_classes, 2 * model.hidden, generator=generator).to(device).requires_grad_()
    optimizer = torch.optim.Adam([*model.parameters(), anchors], lr=lr)
    losses: list[Tensor] = []
    order = torch.zeros(0, dtype=torch.int64)
    for _ in phase.progress(range(steps), steps, "label embedding"):
        if len(order) == 0:
            order = torch.randperm(len(classes), generator=generator)
        batch, order = order[:batch_size], order[batch_size:]
        texts = [_drop(one, word_dropout, generator) for one in tokens.take(batch.tolist())]
        logits = _SCALE * ops.unit(model(texts)) @ ops.unit(anchors).T
        loss = functional.cross_entropy(logits, classes[batch].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    model.eval()
    return float(torch.stack(losses[-max(1, steps // 10) :]).mean())


def embed(model: LabelEmbedding, tokens: Tokens, which: Sequence[int]) -> Tensor:
    """Label embeddings float32 [n, 2·hidden] of some texts, on the CPU."""
    model.to(tokens.device).eval()
    made = []
    with torch.no_grad():
        for start in range(0, len(which), _TEXTS):
            made.append(model(tokens.take(which[start : start + _TEXTS])).cpu())
    return torch.cat(made)


def _drop(tokens: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A text with some tokens left out, never all."""
    if share == 0 or len(tokens) == 1:
        return tokens
    keep = torch.rand(len(tokens), generator=generator) >= share
    if not bool(keep.any()):
        keep[int(torch.randint(len(tokens), (1,), generator=generator))] = True
    return tokens[keep.to(tokens.device)]
