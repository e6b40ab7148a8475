"""A small residual CNN for images of 8 to 64 pixels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from noisyrun.api import Backbone, FeatureExtractor, Task, UserError
from noisyrun.backbones.config import SmallCNNConfig


class SmallCNN(Backbone[SmallCNNConfig]):
    """Convolution stages that double in width and halve in size, residual blocks between, mean over the image.

    Width 64, depth 4 and one block is close to the ResNet-9 that is usual for 32-pixel images.
    """

    def build(self, task: Task) -> FeatureExtractor:
        if task.image_size is None or task.channels is None:
            raise UserError(f"{self.key} needs images, and the data has features alone; choose --backbone features")
        return SmallNetwork(self.config, task.channels, min(task.image_size))


class SmallNetwork(FeatureExtractor):
    """Images [B, channels, H, W] → features [B, D], not negative.

    Parameters
    ----------
    config
        Width, depth, blocks, normalisation.
    channels
        Channels of an image.
    side
        Shorter side in pixels, which says how often it can be halved. Other sizes work, since pooling is adaptive.
    """

    def __init__(self, config: SmallCNNConfig, channels: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(channels, config.width, config.norm)]
        width = config.width
        for _ in range(1, config.depth):
            layers.append(_convolution(width, 2 * width, config.norm))
            width *= 2
            if side > 4:
                layers.append(nn.MaxPool2d(2))
                side //= 2
            layers += [Residual(width, config.norm) for _ in range(config.blocks)]
        self.layers = nn.Sequential(*layers)
        self.dim = width

    def features(self, images: Tensor) -> Tensor:
        out: Tensor = self.layers(images)
        return out.mean(dim=(2, 3))


class Residual(nn.Module):
    """Two convolutions beside an identity."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.first = _convolution(width, width, norm)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), _norm(width, norm))

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] → the same shape."""
        return functional.relu(x + self.second(self.first(x)))


def _convolution(channels: int, width: int, norm: str) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False), _norm(width, norm), nn.ReLU(inplace=True)
    )


def _norm(width: int, norm: str) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(width)
    groups = next(g for g in (8, 4, 2, 1) if width % g == 0)
    return nn.GroupNorm(groups, width)
