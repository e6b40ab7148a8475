"""Configuration of the MLflow tracker. Imports no mlflow."""

from __future__ import annotations

from pydantic import Field

from noisyrun.api.config import PluginConfig


class MLflowConfig(PluginConfig):
    """Where and under which names MLflow records a run."""

    uri: str | None = Field(
        None,
        description="Tracking URI; by default MLFLOW_TRACKING_URI where it is set, else SQLite in runs/mlflow.db.",
    )
    experiment: str = Field("noisyrun", min_length=1, max_length=500, description="Experiment the run belongs to.")
    run_name: str | None = Field(None, max_length=250, description="Name of the run; that of its folder by default.")
    patience: float = Field(60.0, gt=0, description="Seconds to wait at the end of a run for MLflow to finish writing.")
