"""A feature bank from a network, beside the same network's bare pass over batches that are there already."""

from __future__ import annotations

from typing import Any

import torch
from perf.test_loader import MEAN, STD, samples

from noisyrun import bank as banks
from noisyrun.backbones.config import SmallCNNConfig
from noisyrun.backbones.small_cnn import SmallCNN
from noisyrun.config.settings import BankSettings
from noisyrun.data.images import ResidentImages

N, BATCH, CLASSES = 256, 128, 10


class Network(torch.nn.Module):
    """A backbone with its classifier, as the bank uses it."""

    def __init__(self, task: Any) -> None:
        super().__init__()
        self.extractor = SmallCNN(SmallCNNConfig())(task)
        self.classifier = torch.nn.Linear(self.extractor.dim, CLASSES)

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.extractor(inputs)
        return made

    def head(self, features: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.classifier(features)
        return made


def test_feature_extraction(measured: Any, device: torch.device) -> None:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (N, 3, 32, 32), generator=draw, dtype=torch.uint8)
    split = samples(ResidentImages(pixels.to(device)))
    network = Network(split.task).to(device, memory_format=torch.channels_last).eval()
    batches = list(
        pixels.to(device).float().div(255).sub(0.5).contiguous(memory_format=torch.channels_last).split(BATCH)
    )

    @torch.no_grad()
    def bare() -> list[torch.Tensor]:
        return [network.head(network.features(batch)) for batch in batches]

    def extract() -> tuple[int, ...]:
        bank = banks.extract(
            network, split, settings=BankSettings(), device=device, mean=MEAN, std=STD, batch_size=BATCH
        )
        shape = bank.store.shape
        bank.close()
        return shape

    found = measured("feature extraction, small network, 32 × 32", extract, bare=bare, items=N)
    assert found == (N, network.extractor.dim)
