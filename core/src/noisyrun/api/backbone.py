"""The socket of the network that sees the images."""

from __future__ import annotations

from torch import Tensor, nn

from noisyrun.api.errors import MethodError
from noisyrun.api.method import C, Method
from noisyrun.api.task import Task


class FeatureExtractor(nn.Module):
    """A network up to its pooled features, and the head that goes on it.

    Attributes
    ----------
    dim
        D, the width of the features.
    mean, std
        What the network expects its input to be normalised by, one value a channel; None leaves that to the data.
    """

    dim: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def features(self, images: Tensor) -> Tensor:
        """Images float [B, channels, H, W] → features [B, D]."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """The same as `features`, so that the module can be compiled and wrapped."""
        return self.features(images)

    def make_head(self, dim: int, num_classes: int) -> nn.Module:
        """The classifier, features [B, D] → logits [B, C]; one linear layer unless a network brings its own."""
        return nn.Linear(dim, num_classes)


class Backbone(Method[C]):
    """Builds the network of a run."""

    def __call__(self, task: Task) -> FeatureExtractor:
        """Build, and hold the answer against the contract. The host calls this."""
        made = self.build(task)
        if not isinstance(made, FeatureExtractor):
            raise MethodError(self.key, f"must return a FeatureExtractor (got {type(made).__name__})")
        if not isinstance(getattr(made, "dim", None), int) or made.dim < 1:
            raise MethodError(self.key, "the FeatureExtractor must say its feature width `dim`")
        return made

    def blank(self) -> C:
        """The configuration that builds the same network, under the same names, from no starting weights.

        A trained network is rebuilt by it: its own weights are loaded next, and a file or a download that it once
        started from may be gone. To be written by backbones that can start from weights; by default the configuration.
        """
        return self.config

    def build(self, task: Task) -> FeatureExtractor:
        """Build the network for a task; weights drawn from torch's global generator, which the host has seeded."""
        raise MethodError(self.key, "must define build")
