"""A trained network as an ONNX graph, with its card in the graph's metadata."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from noisyrun.api.errors import NoisyrunError, UserError
from noisyrun.exports.card import KEY, Card
from noisyrun.exports.model import Model, describe, new_file, of_run
from noisyrun.exports.preprocess import Normalise
from noisyrun.files import atomic, sync, writing

#: The lowest operator set that torch's exporter writes without converting, and so what most runtimes read.
OPSET = 18
#: Bytes of weights up to which they stand in the graph's own file; a protobuf holds 2 GB.
INSIDE = 1536 << 20
#: Largest difference from torch, relative to 1 + |logit|, that passes.
_TOLERANCE = 1e-3
OPTIONS = ("raw", "opset")


class _Logits(nn.Module):
    """Normalised images, or features → logits."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs)
        return logits


class _Raw(nn.Module):
    """Pixels uint8 [N, H, W, channels], of the size that enters the network → probabilities."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        assert model.card.preprocessing is not None
        self.model = model
        self.normalise = Normalise(model.card.preprocessing)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.probabilities(self.model(self.normalise(pixels.permute(0, 3, 1, 2))))


def export_onnx(run: Path, to: Path, options: Mapping[str, Any] | None = None) -> list[str]:
    """Write the model of a finished run as an ONNX graph with any batch size; returns lines that say what it is.

    Parameters
    ----------
    options
        ``raw``: normalise in the graph, and give probabilities; ``opset``: operator set of the graph.

    Raises
    ------
    UserError
        In one line, when a package is missing, the run's network cannot be built or exported, or a file is in the way.
    """
    raw, opset = _asked(options or {})
    lacking = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if lacking:
        raise UserError(f"export: ONNX needs {' and '.join(lacking)}, not installed here: pip install 'noisyrun[onnx]'")
    new_file(to, ".onnx")
    model = of_run(run)
    if raw and model.card.preprocessing is None:
        raise UserError(f"--raw: {run} takes features, which nothing normalises")
    graph: nn.Module = _Raw(model) if raw else _Logits(model)
    card = model.card.model_copy(update={"form": "pixels"}) if raw else model.card
    program = _exported(graph.eval(), _example(card, 2), card, opset)
    with _writing(program, to) as path:
        difference = _difference(path, graph, card)
        if difference is not None and difference > _TOLERANCE:
            raise NoisyrunError(
                f"{to}: the graph gives other numbers than torch (by {difference:.2g}); nothing written"
            )
    lines = [f"{to}: {describe(card)}; opset {opset}, {_shape(card)}"]
    if difference is None:
        return [*lines, "not checked against torch: onnxruntime is not installed"]
    return [*lines, f"checked against torch with onnxruntime: largest difference {difference:.1e}"]


def _asked(options: Mapping[str, Any]) -> tuple[bool, int]:
    for name in options:
        if name not in OPTIONS:
            from noisyrun.suggest import did_you_mean

            raise UserError(f"--{name}: no option of an export to ONNX{did_you_mean(name, OPTIONS, '--')}")
    if options.get("raw", False) not in (True, False):
        raise UserError(f"--raw: takes no value (got {options['raw']!r})")
    given = options.get("opset", OPSET)
    if not str(given).isdigit() or int(given) < OPSET:
        raise UserError(f"--opset: must be a whole number of at least {OPSET} (got {given})")
    return bool(options.get("raw", False)), int(given)


def _example(card: Card, count: int) -> Tensor:
    """Inputs of the graph, drawn anew each time the same."""
    draw = torch.Generator().manual_seed(0)
    how = card.preprocessing
    if how is None:
        return torch.randn(count, card.features or 1, generator=draw)
    if card.form == "pixels":
        return torch.randint(0, 256, (count, *how.size, how.channels), generator=draw, dtype=torch.uint8)
    return torch.randn(count, how.channels, *how.size, generator=draw)


def _names(card: Card) -> tuple[str, str]:
    """Of the graph's input and output."""
    if card.preprocessing is None:
        return "features", "logits"
    return ("pixels", "probabilities") if card.form == "pixels" else ("images", "logits")


def _shape(card: Card) -> str:
    """The graph's input and output in words."""
    given, found = _names(card)
    how = card.preprocessing
    if how is None:
        return f"{given} float32 [N, {card.features}] → {found} [N, {len(card.classes)}]"
    height, width = how.size
    if card.form == "pixels":
        return f"{given} uint8 [N, {height}, {width}, {how.channels}] → {found} [N, {len(card.classes)}]"
    return f"{given} float32 [N, {how.channels}, {height}, {width}], normalised → {found} [N, {len(card.classes)}]"


def _exported(graph: nn.Module, example: Tensor, card: Card, opset: int) -> torch.onnx.ONNXProgram:
    given, found = _names(card)
    try:
        with torch.no_grad(), warnings.catch_warnings(), _silent():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=[given],
                output_names=[found],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    except Exception as error:  # the exporter raises whatever an operator leads it to
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"export: {describe(card)}: torch cannot write it as an ONNX graph ({reason[:300]})") from error
    assert program is not None
    if program.model.opset_imports.get("") != opset:
        raise UserError(f"--opset: the installed onnxscript cannot write operator set {opset}; leave it out")
    for node in program.model.graph:
        # Lines of source and paths of this machine.
        node.metadata_props.clear()
    program.model.metadata_props[KEY] = card.as_json()
    program.model.doc_string = describe(card)
    return program


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The exporter prints its steps and logs what it tries."""
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _writing(program: torch.onnx.ONNXProgram, to: Path) -> Iterator[Path]:
    """The graph in a file that takes its name when the block ends; large weights in a second one beside it."""
    size = sum(value.const_value.nbytes for value in program.model.graph.initializers.values() if value.const_value)
    if size <= INSIDE:
        with atomic(to) as temporary:
            program.save(temporary, external_data=False)
            yield temporary
        return
    data = to.with_name(f"{to.name}.data")
    new_file(data, ".data")
    with writing(to), tempfile.TemporaryDirectory(prefix=f".{to.name}.", suffix=".tmp", dir=to.parent) as folder:
        made = Path(folder) / to.name
        program.save(made, external_data=True)
        yield made
        for part, place in ((made.with_name(data.name), data), (made, to)):
            # The weights first: a graph without them would be of no use.
            sync(part)
            os.replace(part, place)
        sync(to.parent)


def _difference(path: Path, graph: nn.Module, card: Card) -> float | None:
    """The largest difference between the graph and torch on a batch of another size than it was traced with.

    None without onnxruntime.
    """
    if find_spec("onnxruntime") is None:
        return None
    from noisyrun.prediction.classifiers import session

    example = _example(card, 3)
    with torch.no_grad():
        expected = graph(example)
    found = torch.from_numpy(session(path).run(None, {_names(card)[0]: example.numpy()})[0])
    return float(((found - expected).abs() / (1 + expected.abs())).max())
