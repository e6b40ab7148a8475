"""A model that predicts, wherever it comes from: the folder of a run, safetensors, or an ONNX graph."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from noisyrun.api.errors import UserError
from noisyrun.engine.precision import Precision
from noisyrun.exports.card import Card
from noisyrun.exports.model import Model, load_model
from noisyrun.exports.preprocess import Normalise, Preprocess
from noisyrun.registry import Registry

EXTRA = "pip install 'noisyrun[onnx]'"


class Classifier(Protocol):
    """What predicts, and the card that says how it is shown images."""

    card: Card

    def __call__(self, inputs: Tensor) -> Tensor:
        """Images uint8 [B, channels, height, width] as the card decodes them, or features → probabilities [B, C].

        float32, on the CPU.
        """


class TorchClassifier:
    """A network in torch, evaluated as its run evaluated it: same normalisation, precision and memory format."""

    def __init__(self, model: Model, device: torch.device, amp: str | None = None) -> None:
        self.card = model.card
        self.device = device
        self.model = model.to(device).to(memory_format=torch.channels_last)
        mode = amp or model.card.precision
        # Half precision was the GPU's; a CPU computes the same in full.
        self.precision = Precision("off" if mode == "fp16" and device.type == "cpu" and amp is None else mode, device)
        self.preprocess = None if model.preprocess is None else Preprocess(model.preprocess.how)
        if self.preprocess is not None:
            self.preprocess.normalise.to(device)

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> Tensor:
        inputs = inputs.to(self.device)
        if self.preprocess is not None:
            inputs = self.preprocess.normalise(self.preprocess.sized(inputs))
        with self.precision.autocast():
            logits = self.model(inputs.float())
        return self.model.probabilities(logits).cpu()


class OnnxClassifier:
    """An ONNX graph that noisyrun wrote, through onnxruntime on the CPU."""

    def __init__(self, path: Path) -> None:
        if find_spec("onnxruntime") is None:
            raise UserError(f"{path}: an ONNX model is run by onnxruntime, which is not installed: {EXTRA}")
        self.session = session(path)
        self.card = Card.read(self.session.get_modelmeta().custom_metadata_map, path)
        self.input = _checked(self.session, self.card, path)
        how = self.card.preprocessing
        self.preprocess = None if how is None else Preprocess(how)
        self.normalise = None if how is None else Normalise(how)

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> Tensor:
        if self.preprocess is not None and self.normalise is not None:
            inputs = self.preprocess.sized(inputs)
            inputs = inputs.permute(0, 2, 3, 1) if self.card.form == "pixels" else self.normalise(inputs)
        fed = inputs if self.card.form == "pixels" else inputs.float()
        found = torch.from_numpy(self.session.run(None, {self.input: fed.contiguous().numpy()})[0])
        if self.card.form == "pixels":
            return found
        return found.sigmoid() if self.card.scores == "sigmoid" else found.softmax(1)


def session(path: Path) -> Any:
    """An ONNX graph in onnxruntime, on the CPU.

    Raises
    ------
    UserError
        In one line, when the file is none.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no base
        raise UserError(f"{path}: damaged, or no ONNX model ({_first_line(error)})") from None


def _checked(graph: Any, card: Card, path: Path) -> str:
    """Name of the graph's input, which must be what its card says: it may come from elsewhere."""
    inputs, outputs, how = graph.get_inputs(), graph.get_outputs(), card.preprocessing
    kind = "tensor(uint8)" if card.form == "pixels" else "tensor(float)"
    if how is None:
        shape = [card.features]
    else:
        shape = [*how.size, how.channels] if card.form == "pixels" else [how.channels, *how.size]
    there = [(one.type, list(one.shape)[1:]) for one in inputs], [list(one.shape)[1:] for one in outputs[:1]]
    if there != ([(kind, shape)], [[len(card.classes)]]):
        raise UserError(f"{path}: its input or output is not what it says of itself")
    name: str = inputs[0].name
    return name


def open_classifier(
    model: Any, device: torch.device, amp: str | None = None, registry: Registry | None = None
) -> Classifier:
    """A model by its path (the folder of a run, ``.safetensors``, ``.onnx``), or one that is loaded already.

    Raises
    ------
    UserError
        In one line, when it cannot be loaded.
    """
    if isinstance(model, Model):
        return TorchClassifier(model, device, amp)
    path = Path(model)
    if path.suffix.lower() == ".onnx" and path.is_file():
        if device.type != "cpu" or amp not in (None, "off"):
            raise UserError(f"{path}: an ONNX model predicts on the CPU, in full precision")
        return OnnxClassifier(path)
    return TorchClassifier(load_model(path, registry=registry), device, amp)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
