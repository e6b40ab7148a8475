"""Features of the training samples: a bank for a label phase, and those of a backbone that does not change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from noisyrun import bank as banks
from noisyrun.bank.sizes import budget
from noisyrun.config.settings import RunSettings
from noisyrun.data.loader import augmentation
from noisyrun.data.samples import Samples
from noisyrun.engine.evaluate import View, predictions
from noisyrun.engine.network import Network
from noisyrun.engine.world import ALONE, World


class FeatureSource:
    """Gives features of the training samples, and makes those of a frozen backbone only once.

    Parameters
    ----------
    folder
        Where a bank on disk goes; None: the system's folder for temporary files.
    world
        The processes that share the work: each makes the features of a part of the samples, and all get all of them.
    """

    def __init__(
        self, network: Network, train: Samples, settings: RunSettings, folder: Path | None, world: World = ALONE
    ) -> None:
        self.network = network
        self.train = train
        self.settings = settings
        self.folder = folder
        self.world = world
        self._held: Tensor | None = None

    @property
    def memory(self) -> int:
        """Bytes that a label phase may take in this process, features and temporary storage together."""
        return budget(self.settings.bank.memory, self.world)

    def forget(self) -> None:
        """The backbone may have changed, or how it is shown the images."""
        self._held = None

    def frozen(self, view: View) -> Tensor | None:
        """Features [N, D] of a backbone that does not change, on the device; None where they must be made anew.

        So it is when the backbone trains, when images are augmented, when there is nothing to compute, or when they
        would take more than a label phase may.
        """
        settings, network = self.settings, self.network
        if not network.frozen or next(network.extractor.parameters(), None) is None:
            return None
        if augmentation(self.train, settings.augment, settings.seed, view.resolution) is not None:
            return None
        if len(self.train) * network.dim * 4 > self.memory // 2:
            return None
        if self._held is None:
            self._held = self._all(view)
        return self._held

    def bank(self, view: View, kept: Mapping[str, tuple[Tensor, Tensor]]) -> banks.StoredBank:
        """The bank of a label phase, from the network as it stands.

        Parameters
        ----------
        kept
            Predictions that earlier stages kept, by name.
        """
        held = self._given() if self.frozen(view) is None else self.frozen(view)
        if held is None:
            return banks.extract(
                self.network,
                self.train,
                settings=self.settings.bank,
                device=view.device,
                folder=self.folder,
                mean=view.mean,
                std=view.std,
                resolution=view.resolution,
                batch_size=view.batch_size,
                predictions=kept,
                amp=view.precision.dtype,
                watch=view.watch,
                world=self.world,
            )

        def head(features: Tensor) -> Tensor:
            with banks.evaluating(self.network), view.precision.autocast():
                return self.network.head(features)

        made = banks.build(
            self.train,
            held,
            head,
            settings=self.settings.bank,
            device=view.device,
            folder=self.folder,
            predictions=kept,
            world=self.world,
        )
        made.ask()  # pictures and the harm check look at what the head says, whether or not a method does
        return made

    def _given(self) -> Tensor | None:
        """The data's own features, where they are what the network makes of them."""
        features = self.train.features
        if features is None or not len(features):
            return None
        probe = features[:1].to(next(self.network.parameters()).device, torch.float32)
        with torch.no_grad(), banks.evaluating(self.network):
            return features if self.network.features(probe) is probe else None

    def _all(self, view: View) -> Tensor:
        """Features float32 [N, D] of all samples, on the device; each process makes a part of them."""
        made = torch.empty(len(self.train), self.network.dim, device=view.device)
        rows = self.world.share(len(self.train))
        own = predictions(self.network, self.train, view, part="features", rows=torch.arange(rows.start, rows.stop))
        blocks = ((int(positions[0]), (features,)) for positions, features in own)
        for start, (features,) in self.world.in_step(blocks):
            made[start : start + len(features)] = features
        return made
