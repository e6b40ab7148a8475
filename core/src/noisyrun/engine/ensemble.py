"""Networks of finished runs, rebuilt from their folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import torch

from noisyrun.api.backbone import Backbone
from noisyrun.api.errors import UserError
from noisyrun.api.stage import Stage
from noisyrun.api.task import Task
from noisyrun.config.resolve import RunConfig
from noisyrun.config.settings import RunSettings
from noisyrun.data.digests import NONE
from noisyrun.data.samples import Data
from noisyrun.engine import checkpoint, stages
from noisyrun.engine.evaluate import Member, View
from noisyrun.engine.network import Network, build_network
from noisyrun.engine.persist import input_shape
from noisyrun.engine.precision import Precision, seed_build
from noisyrun.methods import Methods
from noisyrun.plan import make_methods
from noisyrun.registry import Registry
from noisyrun.run_folder import CHECKPOINT, RunFolder

#: Settings that say which samples are held out as noisy validation.
_SPLIT = ("dataset", "noise", "clean", "seed")


def load_members(folders: Sequence[Path], data: Data, settings: RunSettings, device: torch.device) -> list[Member]:
    """The networks in the folders of finished runs, ready to predict.

    Parameters
    ----------
    data
        What they are to predict on; its classes and the size of its images must be theirs.
    settings
        Those of the run that asks, for precision, batch size, and what it holds out.

    Raises
    ------
    UserError
        In one line, for a folder that holds no finished run, whose plugins are not installed, or that does not fit.
    """
    members = []
    for folder in folders:
        with _naming("--eval.ensemble"):
            members.append(load_member(folder, data, settings, device))
    return members


def load_member(folder: Path, data: Data, settings: RunSettings, device: torch.device) -> Member:
    """The network in the folder of one finished run; parameters and errors as for `load_members`."""
    opened, saved = read_finished(folder)
    inputs = saved.get("inputs") or {}
    _check_fits(folder, saved, inputs, data)
    task = replace(data.task, loss=inputs.get("loss", data.task.loss))
    found = rebuild(opened, saved, task)
    network = found.network.to(device).to(memory_format=torch.channels_last)
    view = View(
        device=device,
        precision=Precision(settings.train.amp, device),
        mean=tuple(inputs.get("mean", data.mean)),
        std=tuple(inputs.get("std", data.std)),
        batch_size=settings.eval.batch_size,
        resolution=found.last.resolution,
    )
    return Member(network, view, own_val=_same_split(saved, settings, data))


def read_finished(folder: Path) -> tuple[RunFolder, dict[str, Any]]:
    """The folder of a finished run, and of its checkpoint all but the tensors of anything but the network.

    Raises
    ------
    UserError
        In one line, when there is none, the run has not finished, or the checkpoint is damaged.
    """
    opened = RunFolder.open(folder)
    status = opened.status().get("status")
    if status != "finished":
        raise UserError(
            f"{folder}: its run has not finished ({status or 'never began'}); go on with: "
            f"noisyrun resume {quote(str(folder))}"
        )
    return opened, checkpoint.load(opened.file(CHECKPOINT), only=("network",))


@dataclass(frozen=True)
class Rebuilt:
    """The network of a finished run as it stood at its end, in evaluation mode.

    Attributes
    ----------
    last
        The stage that trained last, which says at which resolution, and with which head.
    """

    config: RunConfig
    methods: Methods
    network: Network
    last: Stage


def rebuild(folder: RunFolder, saved: Mapping[str, Any], task: Task, registry: Registry | None = None) -> Rebuilt:
    """Build the network of a finished run again, from no starting weights, and load what it learned.

    Parameters
    ----------
    saved
        Its checkpoint.
    task
        What it was to learn.

    Raises
    ------
    UserError
        In one line, when a plugin is not installed, or another network is built now.
    """
    with _naming(f"{folder.path}: its network cannot be built"):
        config, methods = _configured(folder, registry)
        plan = stages.resolve_stages(config.settings, judge_labels=methods.judge_labels, side=_side(task))
        network = _built(config, methods, task, plan)
    checkpoint.load_module(network, saved["network"], folder.file(CHECKPOINT))
    last = stages.last_trained(plan, saved["progress"]["lengths"])
    network.freeze(last.trains, online=last.online)
    network.eval()
    return Rebuilt(config, methods, network, last)


def blank(backbone: Backbone[Any]) -> Backbone[Any]:
    """A backbone that builds the same network from no starting weights."""
    config = backbone.blank()
    if config is backbone.config:
        return backbone
    made = type(backbone)(config)
    made.key = backbone.key
    return made


def _configured(folder: RunFolder, registry: Registry | None) -> tuple[RunConfig, Methods]:
    """The configuration of the run, and those of its methods that are part of the network."""
    values = folder.config()
    kept = {name: value for name, value in values.items() if name not in ("side_info", "prototypes", "lifecycle")}
    config = RunConfig.from_dict(kept, registry)
    methods = make_methods(config)
    backbone = methods.backbone
    return config, methods if backbone is None else replace(methods, backbone=blank(backbone))


def _built(config: RunConfig, methods: Methods, task: Task, plan: Sequence[stages.Stage]) -> Network:
    train = config.settings.train
    with torch.random.fork_rng():
        seed_build(config.settings.seed)
        return build_network(
            methods,
            task,
            dropout=train.dropout,
            label_smoothing=train.label_smoothing,
            own_head=not all(stage.online for stage in plan),
        )


def _check_fits(folder: Path, saved: Mapping[str, Any], inputs: Mapping[str, Any], data: Data) -> None:
    """Refuse a run of other classes, other labels or other images."""
    there, here = list(saved.get("classes", ())), list(data.task.classes)
    if len(there) != len(here):
        raise UserError(f"{folder}: is a run of {len(there)} classes, but the data has {len(here)}")
    if there != here:
        first = next(i for i, (a, b) in enumerate(zip(there, here)) if a != b)
        raise UserError(f"{folder}: class {first} is {there[first]!r} there, but {here[first]!r} in the data")
    labels = inputs.get("labels", data.task.labels)
    if labels != data.task.labels:
        raise UserError(f"{folder}: is a run of {labels}-label data, but this data is {data.task.labels}-label")
    shape = list(inputs.get("shape", input_shape(data.task)))
    if shape != input_shape(data.task):
        raise UserError(f"{folder}: is a run on {_size(shape)}, but this data has {_size(input_shape(data.task))}")


def _size(shape: Sequence[int]) -> str:
    return f"features {shape[0]} wide" if len(shape) == 1 else f"images of {' × '.join(map(str, shape))}"


def _side(task: Task) -> int | None:
    return None if task.image_size is None else min(task.image_size)


def _same_split(saved: Mapping[str, Any], settings: RunSettings, data: Data) -> bool:
    """Whether what the settings hold out as noisy validation was held out of the saved run's training, too."""
    digests = saved.get("digests") or {}
    if data.val is None or any(
        digests.get(part, NONE) != data.digests.get(part, NONE) for part in ("labels", "inputs", "noise")
    ):
        return False
    there, here = saved["config"], settings.model_dump(mode="json")
    return all(there.get(name) == here[name] for name in _SPLIT) and there["data"]["val"] == here["data"]["val"]


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """One line that says where, for whatever a user can mend within the block."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {'; '.join(str(error).splitlines())}") from None
