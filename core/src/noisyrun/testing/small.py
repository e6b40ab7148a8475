"""Settings under which a method that trains is quick to try."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from noisyrun.api.config import PluginConfig

#: What training takes, by the words that its settings are usually named with: no more than so many in a trial.
_MOST = {
    "steps": 12,
    "epochs": 2,
    "iterations": 20,
    "patience": 1,
    "every": 6,
    "batch": 16,
    "size": 8,
    "hidden": 16,
    "width": 8,
    "attention": 8,
    "attended": 8,
    "embedding": 8,
    "dim": 16,
}


def small_settings(config_class: type[PluginConfig]) -> dict[str, Any]:
    """Settings in place of defaults that make a trial quick: few steps, few epochs, narrow layers.

    A whole number whose name ends in one of the usual words (``steps``, ``epochs``, ``hidden``, …), or is just that
    word, is lowered where it is higher; a setting that cannot be so low keeps its default.

    Examples
    --------
    >>> from noisyrun.backbones.config import SmallCNNConfig
    >>> small_settings(SmallCNNConfig)
    {'width': 8}
    """
    found: dict[str, Any] = {}
    for name, field in config_class.model_fields.items():
        most = next((most for word, most in _MOST.items() if name.split("_")[-1] == word), None)
        default = field.default
        if most is None or isinstance(default, bool) or not isinstance(default, int) or default <= most:
            continue
        try:
            config_class.model_validate({**found, name: most})
        except ValidationError:
            continue
        found[name] = most
    return found
