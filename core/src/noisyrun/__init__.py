"""Train image classifiers from noisy labels: one loop, five sockets, each paper a plugin."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisyrun.detection import detect
    from noisyrun.evaluation import evaluate
    from noisyrun.exports import export
    from noisyrun.exports.model import load_model
    from noisyrun.prediction import predict
    from noisyrun.runner import resume, run

__all__ = ["__version__", "detect", "evaluate", "export", "load_model", "predict", "resume", "run"]

try:
    __version__ = version("noisyrun")
except PackageNotFoundError:  # the source tree, not installed
    __version__ = "0"

#: Resolved on first use, so that importing the package, as every plugin does, costs no torch.
_HOME = {"run": "noisyrun.runner", "resume": "noisyrun.runner", "detect": "noisyrun.detection"}
_HOME |= {"evaluate": "noisyrun.evaluation", "load_model": "noisyrun.exports.model", "predict": "noisyrun.prediction"}
_HOME["export"] = "noisyrun.exports"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'noisyrun' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
