"""A trainer and what it holds as trees of tensors and JSON values, for checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from noisyrun.api.backbone import FeatureExtractor
from noisyrun.api.errors import NoisyrunError, UserError
from noisyrun.api.labels import Targets
from noisyrun.api.phase import Exhibit
from noisyrun.api.prototypes import PrototypeBuilder, Prototypes
from noisyrun.api.task import Task
from noisyrun.data import digests
from noisyrun.data.samples import Data
from noisyrun.engine import checkpoint, stages
from noisyrun.engine.clock import Stopwatch
from noisyrun.engine.label_state import LabelState
from noisyrun.engine.optim import make_optimizer
from noisyrun.engine.progress import Progress
from noisyrun.methods import Methods

if TYPE_CHECKING:
    from noisyrun.engine.trainer import Trainer


def trainer_tree(trainer: Trainer) -> dict[str, Any]:
    """All that a trainer needs to go on. Seeds stand for generators, so there is no state of any."""
    return {
        "classes": list(trainer.data.task.classes),
        "inputs": task_inputs(trainer.data, trainer.network.extractor),
        "digests": digests.kept(trainer.data.digests),
        "config": trainer.config,
        "progress": trainer.progress.as_dict(),
        "network": dict(trainer.network.state_dict()),
        # The first weights come from the seed again.
        "snapshots": {name: state for name, state in trainer.snapshots.items() if name != "initial"},
        "optimizer": None if trainer.optimizer is None else optimizer_tree(trainer.optimizer),
        "optimizer_stage": trainer.optimizer_stage,
        "precision": trainer.precision.state_dict(),
        "labels": state_tree(trainer.state),
        "methods": methods_tree(trainer.methods) if trainer.methods_before is None else trainer.methods_before,
        "kept": {name: list(pair) for name, pair in trainer.kept.items()},
        "selected": trainer.selected,
    }


def task_inputs(data: Data, extractor: FeatureExtractor) -> dict[str, Any]:
    """What a network is shown, so that it can be built again from its checkpoint and be shown the same.

    ``held`` says that images were held decoded: another resolution was made from those, not from the files.
    """
    task, split = data.task, data.train if data.test is None else data.test
    return {
        "labels": task.labels,
        "loss": task.loss,
        "shape": input_shape(task),
        "mean": list(data.mean if extractor.mean is None else extractor.mean),
        "std": list(data.std if extractor.std is None else extractor.std),
        "wnids": None if split.text.wnids is None else list(split.text.wnids),
        "held": split.images is None or split.images.resident is not None,
    }


def input_shape(task: Task) -> list[int]:
    """Channels, height and width of the images; or the width of the features."""
    return [task.feature_dim or 0] if task.image_size is None else [task.channels or 0, *task.image_size]


def restore_trainer(trainer: Trainer, saved: Mapping[str, Any], path: Path) -> None:
    """Bring a freshly built trainer to where another one stood.

    Raises
    ------
    UserError
        When the checkpoint is of another task, data set, configuration or network.
    """
    checkpoint.check_fits(
        saved, path, classes=trainer.data.task.classes, digests=trainer.data.digests, config=trainer.config
    )
    with _fitting(path):
        _restore(trainer, saved, path)


@contextmanager
def _fitting(path: Path, what: str = "what it holds") -> Iterator[None]:
    """One line in place of whatever is raised by state that makes no sense here.

    Raises
    ------
    UserError
    """
    try:
        yield
    except NoisyrunError:
        raise
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UserError(
            f"{path}: {what} does not fit this version of noisyrun, its plugins and libraries ({why}); resume with "
            "those it was written with, or start a new run"
        ) from error


def _restore(trainer: Trainer, saved: Mapping[str, Any], path: Path) -> None:
    trainer.progress = Progress.from_dict(saved["progress"])
    trainer.clock = Stopwatch(trainer.progress.seconds)
    checkpoint.load_module(trainer.network, saved["network"], path)
    trainer.snapshots |= saved["snapshots"]
    load_methods(trainer.methods, saved["methods"], path)
    trainer.state = state_from(saved["labels"], trainer.methods, trainer.device)
    trainer.precision.load_state_dict(saved["precision"])
    trainer.kept = {name: (classes, probs) for name, (classes, probs) in saved["kept"].items()}
    trainer.selected = saved["selected"]
    if saved["optimizer"] is not None:
        trainer.optimizer_stage = saved["optimizer_stage"]
        stage = trainer.stages[trainer.optimizer_stage]
        trainer.network.freeze(stage.trains, online=stage.online)
        config = stages.optimizer_of(stage, trainer.settings)
        trainer.optimizer = make_optimizer(trainer.network.parameters(), config)
        load_optimizer(trainer.optimizer, saved["optimizer"])


def state_tree(state: LabelState) -> dict[str, Any]:
    """A label state as a tree. A projection is its builder's to keep, in the builder's own state."""
    prototypes = state.prototypes
    return {
        "targets": _present(vars(state.targets)),
        "weights": state.weights,
        "target_weights": state.target_weights,
        "score": state.score,
        "wrong": state.wrong,
        "pair_score": state.pair_score,
        "pair_wrong": state.pair_wrong,
        "predicted": state.predicted,
        "metrics": {name: float(value) for name, value in state.metrics.items()},
        "prototypes": None if prototypes is None else prototype_tree(prototypes),
        "exhibits": {name: exhibit_tree(shown) for name, shown in state.exhibits.items()},
    }


def state_from(tree: Mapping[str, Any], methods: Methods, device: torch.device) -> LabelState:
    """What `state_tree` gave; prototypes arrive on `device`, with the projection of the restored builder."""
    return LabelState(
        targets=Targets(**tree["targets"]),
        weights=tree["weights"],
        target_weights=tree["target_weights"],
        score=tree["score"],
        wrong=tree["wrong"],
        pair_score=tree.get("pair_score"),
        pair_wrong=tree.get("pair_wrong"),
        predicted=tree.get("predicted"),
        metrics=tree["metrics"],
        prototypes=prototypes_from(tree["prototypes"], methods.prototypes, device),
        exhibits={name: exhibit_from(shown) for name, shown in tree.get("exhibits", {}).items()},
    )


def exhibit_tree(shown: Exhibit) -> dict[str, Any]:
    """An exhibit as a tree."""
    return {**vars(shown), "titles": list(shown.titles)}


def exhibit_from(tree: Mapping[str, Any]) -> Exhibit:
    """What `exhibit_tree` gave."""
    return Exhibit(**{**tree, "titles": tuple(tree["titles"])})


def prototype_tree(prototypes: Prototypes) -> dict[str, Any]:
    """Prototypes as a tree; whether they carry a projection, but not which."""
    tensors = {name: getattr(prototypes, name) for name in ("vectors", "mask", "weights", "rows")}
    return {**_present(tensors), "projected": prototypes.project is not None}


def prototypes_from(
    tree: Mapping[str, Any] | None, builder: PrototypeBuilder[Any] | None, device: torch.device
) -> Prototypes | None:
    """What `prototype_tree` gave, with the projection of the restored builder; None where that has none to give."""
    if tree is None:
        return None
    project = builder.projection() if tree["projected"] and builder is not None else None
    if tree["projected"] and project is None:
        # Vectors of a learned space are of no use without the way into it.
        return None
    tensors = {name: value for name, value in tree.items() if name != "projected"}
    return Prototypes(**tensors, project=project).to(device)


def methods_tree(methods: Methods) -> dict[str, Any]:
    """State of every method that has some, by key."""
    states = {method.key: method.state_dict() for method in methods}
    return {key: dict(state) for key, state in states.items() if state}


def copied(tree: Any) -> Any:
    """A tree of mappings, lists, JSON values and tensors with tensors of its own."""
    if isinstance(tree, torch.Tensor):
        return tree.detach().clone()
    if isinstance(tree, Mapping):
        return {key: copied(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [copied(value) for value in tree]
    return tree


def load_methods(methods: Methods, tree: Mapping[str, Any], path: Path) -> None:
    """Restore every method's state, without training.

    Raises
    ------
    UserError
        Naming the method whose state does not fit.
    """
    for method in methods:
        if method.key in tree:
            with _fitting(path, f"the state of {method.key}"):
                method.load_state_dict(tree[method.key])


def optimizer_tree(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """State of an optimiser; parameters by their number."""
    state = optimizer.state_dict()
    return {
        "state": {str(number): dict(values) for number, values in state["state"].items()},
        "rate": [group["lr"] for group in optimizer.param_groups],
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tree: Mapping[str, Any]) -> None:
    """Restore what `optimizer_tree` gave, into an optimiser of the same configuration."""
    groups = optimizer.state_dict()["param_groups"]
    state = {int(number): dict(values) for number, values in tree["state"].items()}
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for group, rate in zip(optimizer.param_groups, tree["rate"]):
        group["lr"] = rate


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
