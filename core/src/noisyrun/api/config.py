"""Configuration of a plugin: a frozen pydantic model that rejects unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class PluginConfig(BaseModel):
    """Base of every plugin's configuration.

    Every field carries a default and a `description` that gives its unit and, where a paper is silent, says so:
    ``noisyrun --weighter NAME --help`` prints them, and they become flags: ``--weighter.field value``.
    Keep the module free of torch so that help stays quick.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
