"""What core itself brings, registered like everyone's plugins."""

from __future__ import annotations

from collections.abc import Iterator

from noisyrun.api.plugin import API_VERSION, Plugin, hookimpl

#: The tracker of a run that names none, and the package without which it cannot work.
DEFAULT_TRACKER = ("mlflow", "mlflow")

#: The backbone of a run that names none: for images, and for features made elsewhere.
DEFAULT_BACKBONE = {"images": "small-cnn", "features": "features"}


@hookimpl
def noisyrun_plugins() -> Iterator[Plugin]:
    yield Plugin(
        kind="backbone",
        name="small-cnn",
        api=API_VERSION,
        summary="A small convolutional network for small images, trained from scratch.",
        factory="noisyrun.backbones.small_cnn:SmallCNN",
        config="noisyrun.backbones.config:SmallCNNConfig",
    )
    yield Plugin(
        kind="backbone",
        name="features",
        api=API_VERSION,
        summary="Features made elsewhere: as they are, or through an MLP.",
        factory="noisyrun.backbones.features:FeaturesBackbone",
        config="noisyrun.backbones.config:FeaturesConfig",
    )
    yield Plugin(
        kind="lifecycle",
        name="mlflow",
        api=API_VERSION,
        summary="Tracks the run with MLflow.",
        factory="noisyrun.tracking.mlflow:MlflowTracker",
        config="noisyrun.tracking.config:MLflowConfig",
    )
