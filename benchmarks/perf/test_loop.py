"""What the loop adds to training: an epoch of it beside an epoch of a hand-written plain PyTorch loop.

Same network, same 32-pixel images in memory, same batches, optimiser and schedule; no augmentation in either, since
that would only dilute the difference. Pairs are interleaved, and their order turned from pair to pair, so that whatever
else the machine does falls on both.

    python benchmarks/perf/test_loop.py [PAIRS]
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import torch
from torch.nn import functional

from noisyrun.api import PAD, Labels, Task, Text
from noisyrun.backbones.config import SmallCNNConfig
from noisyrun.backbones.small_cnn import SmallCNN
from noisyrun.config.settings import RunSettings
from noisyrun.data.images import ResidentImages
from noisyrun.data.samples import Data, Samples
from noisyrun.engine.energy import EnergyMeter
from noisyrun.engine.optim import rate_factor
from noisyrun.engine.tables import LabelTables
from noisyrun.engine.trainer import Trainer
from noisyrun.engine.work import prepare
from noisyrun.methods import Methods

N, BATCH, CLASSES, SIDE = 512, 64, 10, 32
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


def make_samples() -> Samples:
    """Random images and labels; what they show costs nothing."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (N, 3, SIDE, SIDE), generator=draw, dtype=torch.uint8)
    return Samples(
        task=Task(tuple("abcdefghij"), image_size=(SIDE, SIDE), channels=3),
        index=torch.arange(N),
        labels=Labels.of(torch.randint(0, CLASSES, (N,), generator=draw)),
        verified=torch.full((N,), -1, dtype=torch.int8),
        verified_held=torch.zeros(N, dtype=torch.bool),
        trusted=Labels.of(torch.full((N,), PAD)),
        clean=torch.zeros(N, dtype=torch.bool),
        text=Text(tuple("abcdefghij")),
        images=ResidentImages(pixels),
    )


class Loop:
    """Noisyrun's loop, one epoch at a time."""

    def __init__(self, samples: Samples, device: torch.device) -> None:
        settings = RunSettings(epochs=1000, batch_size=BATCH, augment={"crop": 0, "flip": False}, train={"amp": "off"})
        backbone = SmallCNN(SmallCNNConfig())
        backbone.key = "backbone.small-cnn"
        data = Data("random", samples, None, None, {}, mean=MEAN, std=STD)
        self.trainer = Trainer(settings, Methods(backbone=backbone), data, device=device)
        self.trainer.build()
        self.trainer.energy = EnergyMeter(device, {})
        stage = self.trainer.stages[0]
        self.trainer._enter(stage)
        self.trainer._select(stage)
        self.work = prepare(self.trainer, 0)
        self.tables = LabelTables(samples, self.trainer.state, stage, device)

    def epoch(self) -> None:
        """One epoch of training, without evaluation and checkpoint."""
        at = self.trainer.progress
        self.trainer._train_epoch(self.work, self.tables)
        at.epoch, at.epochs, at.step, at.loss = at.epoch + 1, at.epochs + 1, 0, 0.0


class Plain:
    """The same in plain PyTorch, as one would write it by hand."""

    def __init__(self, samples: Samples, device: torch.device) -> None:
        assert samples.images is not None
        assert samples.images.resident is not None
        torch.manual_seed(0)
        extractor = SmallCNN(SmallCNNConfig())(samples.task)
        self.network = torch.nn.Sequential(extractor, torch.nn.Linear(extractor.dim, CLASSES))
        self.network.to(device, memory_format=torch.channels_last)
        self.images = samples.images.resident.to(device)
        self.labels = samples.labels.single.to(device)
        self.mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1)
        self.std = torch.tensor(STD, device=device).view(1, 3, 1, 1)
        settings = RunSettings()
        self.optimizer = torch.optim.SGD(self.network.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
        self.schedule, self.total, self.step = settings.train.schedule, 1000 * (N // BATCH), 0

    def epoch(self) -> None:
        """One epoch of training."""
        self.network.train()
        losses = []
        for rows in torch.randperm(N, device=self.images.device).split(BATCH):
            for group in self.optimizer.param_groups:
                group["lr"] = 0.05 * rate_factor(self.schedule, self.step, self.total)
            inputs = (self.images[rows].float() / 255 - self.mean) / self.std
            loss = functional.cross_entropy(self.network(inputs), self.labels[rows])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
            self.step += 1
        float(torch.stack(losses).mean())


def measure(pairs: int = 7) -> tuple[float, float, float]:
    """Median ratio of the pairs, and the median seconds of an epoch of the loop and of the plain one."""
    samples, device = make_samples(), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loop, plain = Loop(samples, device), Plain(samples, device)
    loop.epoch()
    plain.epoch()
    times: dict[str, list[float]] = {"loop": [], "plain": []}
    for pair in range(pairs):
        order = (("loop", loop), ("plain", plain))
        for name, one in order if pair % 2 == 0 else order[::-1]:
            start = time.process_time() if device.type == "cpu" else time.perf_counter()
            one.epoch()
            end = time.process_time() if device.type == "cpu" else time.perf_counter()
            times[name].append(end - start)
    ratio = statistics.median(a / b for a, b in zip(times["loop"], times["plain"]))
    return ratio, statistics.median(times["loop"]), statistics.median(times["plain"])


def test_epoch(measured: Any, device: torch.device) -> None:
    samples = make_samples()
    loop, plain = Loop(samples, device), Plain(samples, device)
    measured("an epoch of training, 32 × 32", loop.epoch, bare=plain.epoch, items=N, rounds=3)
    assert loop.trainer.progress.epochs > 0


if __name__ == "__main__":
    found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
    print(f"loop / plain: {found[0]:.3f} (median of pairs); epochs take {found[1]:.3f} s and {found[2]:.3f} s")
