"""The two encoders of CleanNet: reference sets to class embeddings, and queries to query embeddings (section 3.1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from noisyrun_cleannet import equations
from noisyrun_cleannet.config import CleanNetPrototypesConfig

#: What features become before an encoder sees them. Those of new samples may fall below 0 where none of training did.
INPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "log": lambda features: equations.log_input(features.clamp(min=0)),
    "unit": equations.unit_input,
    "raw": lambda features: features,
}


class Dropout(nn.Module):
    """Dropout of a share p of the values while training. On the CPU, half the time of PyTorch's own."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return values
        return values * torch.rand_like(values).ge_(self.p).div_(1 - self.p)


class ReferenceEncoder(nn.Module):
    """Sets of references [U, P, D] → class embeddings [U, E]: two layers, attention, one layer."""

    def __init__(self, dim: int, config: CleanNetPrototypesConfig) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, config.hidden),
            nn.Tanh(),
            Dropout(config.dropout),
            nn.Linear(config.hidden, config.attended),
            nn.Tanh(),
            Dropout(config.dropout),
        )
        self.attention = nn.Linear(config.attended, config.attention)
        self.context = nn.Parameter(torch.randn(config.attention) / config.attention**0.5)
        self.out = nn.Sequential(nn.Linear(config.attended, config.embedding), nn.Tanh())

    def forward(self, references: Tensor, mask: Tensor) -> Tensor:
        hidden, weights = self.attend(references, mask)
        embedded: Tensor = self.out(equations.attended(weights, hidden))
        return embedded

    def attend(self, references: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """h_i [U, P, H] and α_i [U, P] of references whose mask is bool [U, P]."""
        hidden: Tensor = self.mlp(references)
        seen = equations.attention_hidden(hidden, self.attention.weight, self.attention.bias)
        return hidden, equations.attention(seen, self.context, mask)


class QueryEncoder(nn.Module):
    """An autoencoder of five layers of units (four of weights): features as the encoders see them [B, D] → [B, E]."""

    def __init__(self, dim: int, config: CleanNetPrototypesConfig) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.Linear(dim, config.query_hidden),
            nn.Tanh(),
            Dropout(config.dropout),
            nn.Linear(config.query_hidden, config.embedding),
            nn.Tanh(),
        )
        self.decode = nn.Sequential(
            nn.Linear(config.embedding, config.query_hidden),
            nn.Tanh(),
            Dropout(config.dropout),
            nn.Linear(config.query_hidden, dim),  # linear: tanh could not reach values above 1
        )

    def forward(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Query embeddings [B, E] and rebuilt queries [B, D]."""
        embedded = self.encode(queries)
        return embedded, self.decode(embedded)


class CleanNet(nn.Module):
    """Both encoders, shared by all classes, and what they see of the features.

    Parameters
    ----------
    dim
        D, the width of the features.
    input
        A key of `INPUTS`.
    """

    def __init__(self, dim: int, input: str, config: CleanNetPrototypesConfig) -> None:
        super().__init__()
        self.dim = dim
        self.input = input
        #: Float32 numbers that the reference encoder holds for each reference it encodes.
        self.width = dim + config.hidden + 2 * config.attended + config.attention
        self.reference = ReferenceEncoder(dim, config)
        self.query = QueryEncoder(dim, config)

    def see(self, features: Tensor) -> Tensor:
        """Features [..., D] as the encoders take them."""
        return INPUTS[self.input](features)


class Projection(nn.Module):
    """Features [B, D] as a bank gives them → query embeddings [B, E]: what prototypes carry as `project`."""

    def __init__(self, net: CleanNet) -> None:
        super().__init__()
        self.input = net.input
        self.encode = net.query.encode
        self.requires_grad_(False).eval()

    def forward(self, features: Tensor) -> Tensor:
        embedded: Tensor = self.encode(INPUTS[self.input](features))
        return embedded
