"""A run on features made elsewhere: a linear classifier or an MLP on them."""

from __future__ import annotations

from torch import Tensor, nn

from noisyrun.api import Backbone, FeatureExtractor, Task, UserError
from noisyrun.backbones.config import FeaturesConfig


class FeaturesBackbone(Backbone[FeaturesConfig]):
    """Takes the given features as they are, or through hidden layers."""

    def build(self, task: Task) -> FeatureExtractor:
        if task.feature_dim is None:
            raise UserError(
                f"{self.key} needs a data set of features, and this one has images; choose another backbone"
            )
        return FeatureMLP(task.feature_dim, self.config)


class FeatureMLP(FeatureExtractor):
    """Features [B, D0] → [B, D]: identity without hidden layers, else linear–ReLU layers."""

    def __init__(self, dim: int, config: FeaturesConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in config.hidden:
            layers += [nn.Linear(dim, width), nn.ReLU(inplace=True)]
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
            dim = width
        self.layers = nn.Sequential(*layers)
        self.dim = dim

    def features(self, images: Tensor) -> Tensor:
        out: Tensor = self.layers(images)
        return out
