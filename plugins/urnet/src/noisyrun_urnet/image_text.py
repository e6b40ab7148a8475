"""The image-text model: two fully connected layers on each side, and how it is trained (section 4.3, figure 5)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from noisyrun.api import FeatureBank, Phase
from noisyrun_urnet import equations
from noisyrun_urnet.config import InstanceConfig


class Side(nn.Module):
    """Inputs [B, D], standardised, → [B, width].

    The paper says nothing of the scale of the inputs: each column is brought to mean 0 and variance 1 over what the
    model learns from.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, hidden: int, width: int) -> None:
        super().__init__()
        # torch draws weights of its own, which must not move the global generator; `reset` draws those that count.
        with torch.random.fork_rng(devices=[]):
            self.layers = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def reset(self, generator: torch.Generator) -> None:
        """Draw the weights from a generator, as torch draws those of a linear layer."""
        with torch.no_grad():
            for layer in self.layers:
                if isinstance(layer, nn.Linear):
                    bound = layer.in_features**-0.5
                    for weights in (layer.weight, layer.bias):
                        weights.copy_(torch.rand(weights.shape, generator=generator) * 2 * bound - bound)

    def standardise(self, mean: Tensor, variance: Tensor) -> None:
        """Take over the mean and variance [D] of each column; a column that never varies counts nothing."""
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(variance > 1e-12, variance.clamp(min=1e-12).rsqrt(), 0.0))

    def forward(self, inputs: Tensor) -> Tensor:
        made: Tensor = self.layers((inputs - self.mean) * self.scale)
        return made


class ImageText(nn.Module):
    """V_I and V_T: image features and text embeddings in one space.

    Parameters
    ----------
    image_dim, text_dim
        Widths of the inputs.
    hidden, width
        Units of the first and of the second layer on each side.
    """

    def __init__(self, image_dim: int, text_dim: int, hidden: int, width: int) -> None:
        super().__init__()
        self.image = Side(image_dim, hidden, width)
        self.text = Side(text_dim, hidden, width)

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> ImageText:
        """The model of a state dictionary, which gives its sizes too."""
        width, hidden = state["image.layers.2.weight"].shape
        model = cls(len(state["image.mean"]), len(state["text.mean"]), hidden, width)
        model.load_state_dict(dict(state))
        return model

    def embed_images(self, features: Tensor) -> Tensor:
        """[R, D] → [R, width], without gradient."""
        with torch.no_grad():
            made: Tensor = self.image(features)
        return made

    def embed_texts(self, texts: Tensor) -> Tensor:
        """[C, d] → [C, width], without gradient."""
        with torch.no_grad():
            made: Tensor = self.text(texts)
        return made


def train(
    model: ImageText,
    bank: FeatureBank,
    rows: Tensor,
    texts: Tensor,
    known: Tensor,
    config: InstanceConfig,
    phase: Phase,
) -> float:
    """Train by equation 8: images towards the text of their label, away from that of a random other one.

    Parameters
    ----------
    rows
        int64 [n], n ≥ 1: what the model learns from.
    texts, known
        float32 [C, d] and bool [C]: class embeddings, and which classes have one; two at least.

    Returns
    -------
    float
        Mean loss of the last epoch.
    """
    generator = phase.generator("image-text")
    model.image.reset(generator)
    model.text.reset(generator)
    model.to(phase.device).train()
    model.image.standardise(*_column_moments(bank, rows))
    model.text.standardise(texts[known].mean(0), texts[known].var(0, unbiased=False))
    labels = bank.labels.single[rows]
    choices = known.nonzero()[:, 0].cpu()
    place = torch.searchsorted(choices, labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    total = 0.0
    for _ in phase.progress(range(config.epochs), config.epochs, "image-text model"):
        order = torch.randperm(len(rows), generator=generator)
        # Any class with a text but its own: skip as many places as it takes to pass it by.
        away = torch.randint(1, len(choices), (len(rows),), generator=generator)
        wrong = choices[(place + away) % len(choices)]
        losses = []
        for batch in order.split(config.batch_size):
            features = bank.take(rows[batch]).features
            with torch.enable_grad():
                images = model.image(features)
                right, other = (model.text(texts[which[batch].to(texts.device)]) for which in (labels, wrong))
                loss = equations.correlation_loss(images, right, other)
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
            losses.append(loss.detach() * len(batch))
        total = float(torch.stack(losses).sum()) / len(rows)
    model.eval()
    return total


def _column_moments(bank: FeatureBank, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance [D] of the features of some rows, read in blocks."""
    total = torch.zeros(bank.dim, dtype=torch.float64, device=bank.device)
    squares = torch.zeros_like(total)
    for block in bank.blocks(rows):
        values = block.features.double()
        total += values.sum(0)
        squares += values.square().sum(0)
    mean = total / len(rows)
    return mean.float(), (squares / len(rows) - mean.square()).clamp(min=0).float()
