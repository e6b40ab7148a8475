"""A trained network and its card: from the folder of a run, and as one safetensors file, loaded without unpickling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import noisyrun
from noisyrun.api.errors import UserError
from noisyrun.api.online import OnlinePart
from noisyrun.api.task import Task
from noisyrun.config.resolve import RunConfig
from noisyrun.engine.ensemble import Rebuilt, blank, read_finished, rebuild
from noisyrun.engine.network import Network
from noisyrun.exports.card import KEY, Card, Plugin, Preprocessing
from noisyrun.exports.preprocess import Preprocess
from noisyrun.files import atomic
from noisyrun.methods import Methods
from noisyrun.plan import make_methods
from noisyrun.registry import Registry
from noisyrun.run_folder import STATUS, SUMMARY, RunFolder

#: Endings of files that may be pickles.
_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin")


class Model(nn.Module):
    """A trained classifier: what its network takes → logits [B, C].

    Attributes
    ----------
    card
        Everything about it but its weights.
    preprocess
        An image (a path, bytes, an open file or a PIL image) → float32 [channels, H, W], as in the evaluation of its
        run; None where it takes features.

    Examples
    --------
    >>> import noisyrun
    >>> model = noisyrun.load_model("model.safetensors")  # doctest: +SKIP
    >>> logits = model(model.preprocess("photo.jpg")[None])  # doctest: +SKIP
    >>> model.classes[int(logits.argmax())]  # doctest: +SKIP
    """

    def __init__(self, network: Network, card: Card) -> None:
        super().__init__()
        self.network = network
        self.card = card
        self.preprocess = None if card.preprocessing is None else Preprocess(card.preprocessing)
        self.eval()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the C classes, in the order of the outputs."""
        return self.card.classes

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised images float32 [B, channels, H, W], or features [B, D] → logits [B, C]."""
        return self.network.predict(inputs)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits [B, C] → float32 probabilities: softmax, or the sigmoid of a binary cross entropy."""
        return logits.float().sigmoid() if self.card.scores == "sigmoid" else logits.float().softmax(1)


def of_run(folder: Path, registry: Registry | None = None) -> Model:
    """The model of a finished run: its network as it stood after the last epoch.

    Raises
    ------
    UserError
        In one line, when the folder holds no finished run, or its network cannot be built.
    """
    if (folder / SUMMARY).is_file() and not (folder / STATUS).exists():
        raise UserError(f"{folder}: holds what noisyrun detect found, and no network: detect trains none")
    opened, saved = read_finished(folder)
    inputs = saved.get("inputs") or {}
    if "held" not in inputs:
        raise UserError(
            f"{folder}: its checkpoint is of an earlier noisyrun, which did not note what a network is shown"
        )
    found = rebuild(opened, saved, _task(saved["classes"], inputs), registry)
    return Model(found.network, _card(opened, saved, found))


def export_safetensors(run: Path, to: Path, options: Mapping[str, Any] | None = None) -> list[str]:
    """Write the model of a finished run as one safetensors file; returns lines that say what it is.

    Raises
    ------
    UserError
        As `of_run`.
    """
    for name in options or {}:
        raise UserError(f"--{name}: no option of an export to safetensors")
    new_file(to, ".safetensors")
    model = of_run(run)
    # Copies of their own: safetensors refuses tensors that share memory.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in used(model.network).items()}
    with atomic(to) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", KEY: model.card.as_json()})
    return [f"{to}: {describe(model.card)}; {sum(value.numel() for value in tensors.values()):,} values"]


def new_file(path: Path, suffix: str) -> None:
    """Refuse to write over a file, or under a name that does not say what it holds."""
    if path.suffix.lower() != suffix:
        raise UserError(f"--to: must end in {suffix} (got {path})")
    if path.exists():
        raise UserError(f"--to: {path} is there already; name another file")


def load_model(path: Path | str, *, registry: Registry | None = None) -> Model:
    """The model in a safetensors file that ``noisyrun export`` wrote, or in the folder of a finished run.

    The network is built by the plugins that trained it; nothing is unpickled, downloaded, or read but this file.

    Parameters
    ----------
    registry
        The plugins; discovered by default.

    Raises
    ------
    UserError
        In one line, when the file is damaged or no model, or a plugin is missing.

    Examples
    --------
    >>> import noisyrun
    >>> model = noisyrun.load_model("model.safetensors")  # doctest: +SKIP
    >>> model(model.preprocess("photo.jpg")[None])  # doctest: +SKIP
    """
    path = Path(path)
    if path.is_dir():
        return of_run(path, registry)
    card, tensors = _read(path)
    try:
        methods = _methods(card, registry)
        _refuse_larger(card, methods, tensors)
        network = _build(card, methods)
        _check_fits(used(network), tensors)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: its network cannot be built ({reason})") from error
    network.load_state_dict(tensors, strict=False)
    return Model(network, card)


def used(network: Network) -> dict[str, Tensor]:
    """The tensors that inference reads, by name: extractor, and the head or the part that predicts.

    Of a part those parameters count that its prediction depends on: what only a loss reads stays behind.
    """
    key = network.predictor()
    prefix = "classifier." if key is None else f"parts.{key.replace('.', '/')}."
    unread = set() if key is None else {prefix + name for name in _unread(network, network.parts[prefix[6:-1]])}
    state = network.state_dict()
    return {n: value for n, value in state.items() if n.startswith(("extractor.", prefix)) and n not in unread}


def _unread(network: Network, part: nn.Module) -> set[str]:
    """Parameters of a part that the prediction does not depend on, whatever they hold."""
    named = dict(part.named_parameters())
    before = {name: value.requires_grad for name, value in named.items()}
    try:
        part.requires_grad_(True)
        with torch.enable_grad():
            features = next(network.parameters()).new_zeros(1, network.dim)
            logits = network.predict(features, given_features=True)
            if not logits.requires_grad:
                return set()
            found = torch.autograd.grad(logits.sum(), list(named.values()), allow_unused=True)
    finally:
        for name, value in named.items():
            value.requires_grad_(before[name])
    return {name for name, gradient in zip(named, found, strict=True) if gradient is None}


def describe(card: Card) -> str:
    """What a model is, in a few words."""
    how = card.preprocessing
    takes = f"{card.features} features" if how is None else f"{how.channels} × {how.size[0]} × {how.size[1]} images"
    head = "" if card.head is None else f" with the head of {card.head.name}"
    return f"{card.backbone.name}{head}, {takes}, {len(card.classes)} classes, weights after the last epoch"


def _read(path: Path) -> tuple[Card, dict[str, Tensor]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder")
    if path.suffix.lower() in _PICKLES:
        raise UserError(f"{path}: may be a pickle, which could run code when read; refused unopened")
    if path.suffix.lower() == ".onnx":
        raise UserError(f"{path}: an ONNX graph runs in onnxruntime, not in torch; noisyrun predict takes it")
    try:
        with safe_open(path, framework="pt") as file:
            card = Card.read(file.metadata() or {}, path)
            return card, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: damaged, or no safetensors file ({' '.join(str(error).split())})") from None


def _task(classes: Any, inputs: Mapping[str, Any]) -> Task:
    shape = list(inputs["shape"])
    kind: dict[str, Any] = {"labels": inputs["labels"], "loss": inputs["loss"]}
    if len(shape) == 1:
        return Task(tuple(classes), **kind, feature_dim=shape[0])
    return Task(tuple(classes), **kind, image_size=(shape[1], shape[2]), channels=shape[0])


def _check_fits(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors of another network than the one that the card names."""
    odd = sorted(expected.keys() ^ tensors.keys())
    if odd:
        raise UserError(f"is of another network than it says ({len(odd)} tensors do not agree; one: {odd[0]})")
    for name, value in expected.items():
        if value.shape != tensors[name].shape or value.dtype != tensors[name].dtype:
            there, here = (f"{list(one.shape)} of {one.dtype}" for one in (tensors[name], value))
            raise UserError(f"{name} is {there}, but {here} in the network it names")


def _refuse_larger(card: Card, methods: Methods, tensors: Mapping[str, Tensor]) -> None:
    """Hold a network without memory against the tensors: a card from elsewhere could name one that fills this machine.

    A plugin whose network cannot be built so is not checked before it is built.
    """
    try:
        with torch.device("meta"):
            expected = used(_build(card, methods))
    except UserError:
        raise
    except Exception:  # whatever a plugin makes of tensors that hold nothing
        return
    _check_fits(expected, tensors)


def _methods(card: Card, registry: Registry | None) -> Methods:
    """The methods that a card names, which are part of the network."""
    values: dict[str, Any] = {}
    for plugin in (card.backbone, card.head):
        if plugin is not None:
            values[plugin.socket] = {plugin.name: plugin.settings}
    try:
        return make_methods(RunConfig.from_dict(values, registry))
    except UserError as error:
        raise UserError(f"its network cannot be built: {'; '.join(str(error).splitlines())}") from None


def _build(card: Card, methods: Methods) -> Network:
    """The network that a card names, its weights drawn."""
    if methods.backbone is None:
        raise UserError("it names no backbone")
    heads = {method.key: method for method in (*methods.correctors, *methods.weighters)}
    parts = {key: method for key, method in heads.items() if isinstance(method, OnlinePart)}
    if len(parts) != len(heads):
        raise UserError(f"{next(iter(heads))} brings no part of a network")
    how = card.preprocessing
    inputs = {"labels": card.labels, "loss": card.loss}
    shape = [card.features] if how is None else [how.channels, *(card.image_size or ())]
    task = _task(card.classes, inputs | {"shape": shape})
    with torch.random.fork_rng():
        # A card from elsewhere must not make this process download weights, or read files.
        network = Network(blank(methods.backbone), task, parts)
    network.requires_grad_(False)
    return network.eval()


def _card(folder: RunFolder, saved: Mapping[str, Any], found: Rebuilt) -> Card:
    """The card of a finished run's network."""
    inputs, config, methods = saved["inputs"], found.config, found.methods
    assert methods.backbone is not None
    key = found.network.predictor()
    brought = {method.key: method for method in (*methods.correctors, *methods.weighters)}
    summary = _summary(folder)
    features, how = None, None
    if len(inputs["shape"]) == 1:
        (features,) = inputs["shape"]
    else:
        how = _preprocessing(inputs, found.last.resolution)
    return Card(
        noisyrun=noisyrun.__version__,
        classes=tuple(saved["classes"]),
        wnids=inputs["wnids"],
        labels=inputs["labels"],
        loss=inputs["loss"],
        scores="sigmoid" if inputs["loss"] == "binary-cross-entropy" else "softmax",
        features=features,
        image_size=None if how is None else tuple(inputs["shape"][1:]),
        preprocessing=how,
        backbone=_plugin(methods.backbone, config),
        head=None if key is None else _plugin(brought[key], config),
        precision=config.settings.train.amp,
        run={
            "id": folder.status().get("run_id"),
            "data": (summary.get("data") or {}).get("name"),
            "epochs": saved["progress"]["epochs"],
            "finished": summary.get("finished"),
        },
        measured={
            name: value
            for name, value in (summary.get("accuracy") or {}).items()
            if value is None or isinstance(value, float | int)
        },
    )


def _plugin(method: Any, config: RunConfig) -> Plugin:
    socket, _, name = method.key.partition(".")
    package = str(config.registry.get(socket, name).source)
    return Plugin(socket=socket, name=name, package=package, settings=method.config.model_dump(mode="json"))


def _preprocessing(inputs: Mapping[str, Any], resolution: int | None) -> Preprocessing:
    channels, height, width = inputs["shape"]
    side = resolution
    if resolution is not None and not inputs["held"]:
        # Files that are decoded as they are needed are decoded to squares of the resolution.
        height = width = resolution
    if side == min(height, width):
        side = None
    made = Preprocessing(
        channels=channels,
        height=height,
        width=width,
        side=side,
        mean=tuple(inputs["mean"]) or (0.0,) * channels,
        std=tuple(inputs["std"]) or (1.0,) * channels,
    )
    return made.model_copy(update={"steps": made.in_words()})


def _summary(folder: RunFolder) -> dict[str, Any]:
    try:
        content = json.loads(folder.file(SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
