"""Driving a method through its socket, as the host does, and comparing what it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from noisyrun.api.backbone import FeatureExtractor
from noisyrun.api.errors import UserError
from noisyrun.api.labels import Targets
from noisyrun.api.needs import Needs
from noisyrun.api.prototypes import Prototypes
from noisyrun.api.side_info import SideInfo
from noisyrun.api.task import Task
from noisyrun.testing.banks import make_phase
from noisyrun.testing.fixtures import World, asked, class_means, dense
from noisyrun.testing.subject import Subject

#: What a method says, by name: tensors by sample, in order of index, or by class.
Answer = dict[str, Tensor]

#: What is drawn at random is compared over so many seeds, and may differ by so many times what seeds differ by.
_SEEDS, _RANDOM = 3, 1.5

#: Side of the images that a backbone is tried on, in pixels, and how many there are.
_SIDE, _IMAGES = 32, 12


class CheckFailed(AssertionError):
    """A plugin does not hold what the contract asks."""


def demand(holds: bool, what: str) -> None:
    """Fail a check, saying what is wrong and how to mend it."""
    if not holds:
        raise CheckFailed(what)


class Trial:
    """A method with everything that a label phase would give it.

    Parameters
    ----------
    subject, world
        What is tried, on what.
    everything
        Names of what data and side information offer; by default no more than `needs` names.
    prototypes
        What another builder made; by default the mean of each class where `needs` asks for prototypes.
    seed
        Seed of the phase.
    block
        Rows in a block as the host hands them out; all at once by default.
    """

    def __init__(
        self,
        subject: Subject,
        world: World,
        *,
        everything: frozenset[str] = frozenset(),
        prototypes: Prototypes | None = None,
        seed: int = 0,
        block: int | None = None,
    ) -> None:
        self.subject = subject
        self.world = world
        self.block = block or max(1, len(world))
        self.method: Any = subject.make()
        self.needs: Needs = self.method.needs
        gives = asked(self.needs) | everything
        self.side: SideInfo = world.side(gives)
        self.text = world.text(gives)
        self.phase = make_phase(seed, subject.key, memory=world.memory, device=world.device)
        self.seed = seed
        self.made: Prototypes | None = None
        self.bank = world.bank(gives, self.needs.predictions)
        self.task = self.bank.task
        wants = subject.kind in ("weighter", "corrector") and (self.needs.prototypes or prototypes is not None)
        self.prototypes = (prototypes or class_means(self.bank)) if wants else None

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self.bank.close()

    def learn(self) -> Trial:
        """What comes before answers: `fit`; building, for prototypes and networks."""
        kind = self.subject.kind
        if kind in ("weighter", "corrector"):
            self.method.fit(self.bank, self.prototypes, self.side, self.phase)
        elif kind == "prototypes":
            self.made = self.method(self.bank, self.side, self.phase)
        return self

    def answer(self) -> Answer:
        """All that the method says, through its public call, which holds every answer against the contract."""
        said: Answer = getattr(self, f"_{self.subject.kind}")()
        return {name: value.detach().cpu() for name, value in said.items()}

    def restored(self) -> Trial:
        """A fresh method that knows what this one's state says, as it comes back from a checkpoint."""
        other = Trial(self.subject, self.world, seed=self.seed, block=self.block)
        other.method.load_state_dict(through_checkpoint(self.method.state_dict(), self.subject.key))
        other.prototypes = self.prototypes
        if self.made is not None and self.made.project is not None:
            project = other.method.projection()
            demand(project is not None, "prototypes carry a projection, but projection() gives none after a resume")
            assert project is not None
            other.made = replace(self.made, project=project.to(self.bank.device))
        else:
            other.made = self.made
        return other

    def _in_order(self, values: Tensor) -> Tensor:
        """Values [N, …] by row, in order of index."""
        return values.cpu()[torch.argsort(self.bank.index)]

    def _weighter(self) -> Answer:
        said: Answer = {}
        for name, shift in (("observed", 0), ("other", 1)):
            parts = []
            for block in self.bank.blocks(size=self.block):
                first = block.labels.classes[:, 0].clamp(min=0)
                parts.append(self.method(block, (first + shift) % self.bank.num_classes, self.prototypes, self.side))
            said[f"weights of {name} labels"] = self._in_order(torch.cat([part.weights for part in parts]))
            said[f"scores of {name} labels"] = self._in_order(torch.cat([part.score for part in parts]))
            if all(part.wrong is not None for part in parts):
                said[f"decisions on {name} labels"] = self._in_order(torch.cat([part.wrong for part in parts]))
        return said

    def _corrector(self) -> Answer:
        values, shares, sure = [], [], []
        given = Targets.of(self.bank.labels)
        for block in self.bank.blocks(size=self.block):
            made = self.method(block, given.take(block.rows).to(self.bank.device), self.prototypes, self.side)
            values.append(dense(made, self.bank.num_classes))
            shares.append(made.alpha.cpu())
            sure.append(torch.zeros(len(block)) if made.confidence is None else made.confidence.cpu())
        parts = {"targets": values, "alpha": shares, "confidence": sure}
        return {name: self._in_order(torch.cat(some)) for name, some in parts.items()}

    def _prototypes(self) -> Answer:
        made = self.made
        assert made is not None
        said = {"vectors": made.vectors, "mask": made.mask, "weights": made.weights}
        if made.rows is not None:
            rows = made.rows.cpu()
            said["index of prototypes"] = torch.where(rows < 0, -1, self.bank.index[rows.clamp(min=0)])
        if made.project is not None:
            said["projected features"] = self._in_order(
                made.embed(self.bank.take(torch.arange(len(self.bank))).features)
            )
        return said

    def _side_info(self) -> Answer:
        before = self.world.side(asked(self.needs))
        made = self.method(self.task, self.text, before, self.phase)
        said: Answer = {}
        for name in ("class_embeddings", "class_tokens", "class_tokens_mask"):
            value = getattr(made, name)
            if value is not None and value is not getattr(before, name):
                said[name] = value
        if made.class_similarity is not None and made.class_similarity is not before.class_similarity:
            said["class_similarity"] = made.class_similarity.dense()
        if made.sample_embeddings is not None and made.sample_embeddings is not before.sample_embeddings:
            said["sample_embeddings"] = self._in_order(made.sample_embeddings.take(torch.arange(len(self.world))))
        if made.text_encoder is not None and made.text_encoder is not before.text_encoder:
            said["encoded texts"] = made.text_encoder.vectors(self.world.names)
        return said

    def _backbone(self) -> Answer:
        network, head, inputs = build_network(self)
        network.eval()
        head.eval()
        with torch.no_grad():
            features = torch.cat([network(part) for part in inputs.split(self.block)])
            return {"features": features, "logits": head(features)}


def trial(subject: Subject, world: World | None = None, **options: Any) -> Answer:
    """What a fresh method says of a world, having learned from it."""
    with Trial(subject, world or subject.world(), **options) as one:
        return one.learn().answer()


def judge(one: Trial, block: Any) -> dict[str, Tensor]:
    """What a weighter or corrector says of a block, by row."""
    if one.subject.kind == "weighter":
        made = one.method(block, block.labels.classes[:, 0].clamp(min=0), one.prototypes, one.side)
        return {"weights": made.weights.cpu(), "scores": made.score.cpu()}
    made = one.method(block, Targets.of(block.labels), one.prototypes, one.side)
    return {"targets": dense(made, one.bank.num_classes), "alpha": made.alpha.cpu()}


def build_network(one: Trial) -> tuple[FeatureExtractor, nn.Module, Tensor]:
    """A backbone's network for images, or for features where it refuses images; its head; and inputs for it."""
    world = one.world
    rows = torch.arange(min(_IMAGES, len(world)))
    pixels = torch.rand(len(rows), 3, _SIDE, _SIDE, generator=torch.Generator().manual_seed(3)) * 2 - 1
    labels = one.task.labels
    with quiet_rng(one.seed):
        try:
            task = Task(world.names, labels, one.task.loss, (_SIDE, _SIDE), 3)
            network, inputs = one.method(task), pixels
        except UserError:
            torch.manual_seed(one.seed)
            task = Task(world.names, labels, one.task.loss, feature_dim=world.features.shape[1])
            network, inputs = one.method(task), world.features[rows]
        head = network.make_head(network.dim, world.num_classes)
    return network.to(world.device), head.to(world.device), inputs.to(world.device)


def through_checkpoint(state: Mapping[str, Any], key: str) -> dict[str, Any]:
    """State as it comes back from a checkpoint: tensors as copies on the CPU, all else through JSON."""
    back: dict[str, Any] = {}
    for name, value in state.items():
        demand(isinstance(name, str), f"state_dict: names must be strings (got {name!r})")
        if isinstance(value, Tensor):
            back[name] = value.detach().cpu().clone()
            continue
        try:
            back[name] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise CheckFailed(f"state_dict[{name!r}] is neither a tensor nor a JSON value: {error}") from error
    return back


def same(one: Answer, other: Answer, what: str, tolerance: float = 0.0) -> None:
    """Demand that two answers agree.

    Parameters
    ----------
    tolerance
        Largest difference allowed, as a share of the largest value; exact by default.
    """
    demand(one.keys() == other.keys(), f"{what}: {sorted(one)} on one side, {sorted(other)} on the other")
    for name, value in one.items():
        gap = difference(value, other[name])
        most = float(gap.max()) if gap.numel() else 0.0
        allowed = tolerance * max(1.0, float(value.double().abs().max()) if value.numel() else 1.0)
        demand(most <= allowed, f"{what}: {name} differ by up to {most:.3g}")


def alike(one: Callable[[int], Answer], other: Callable[[int], Answer], what: str, tolerance: float) -> None:
    """Demand that two ways to an answer agree, seed by seed: as `same`; what changes with the seed, on average.

    Parameters
    ----------
    one, other
        Give the answer of a seed.
    """
    said = [one(seed) for seed in range(_SEEDS)]
    spread = {name: _mean([(a, b) for i, a in enumerate(said) for b in said[:i]], name) for name in said[0]}
    fixed = {name for name, far in spread.items() if far == 0}
    first = other(0)
    demand(said[0].keys() == first.keys(), f"{what}: {sorted(said[0])} on one side, {sorted(first)} on the other")
    same({n: v for n, v in said[0].items() if n in fixed}, {n: first[n] for n in fixed}, what, tolerance)
    if len(fixed) == len(spread):
        return
    moved = [first, *(other(seed) for seed in range(1, _SEEDS))]
    for name in spread.keys() - fixed:
        far = _mean(list(zip(said, moved)), name)
        wide = f"{far:.3g} on average, and by {spread[name]:.3g} from seed to seed"
        demand(far <= _RANDOM * spread[name], f"{what}: {name} differ by {wide}")


def _mean(pairs: Sequence[tuple[Answer, Answer]], name: str) -> float:
    gaps = [difference(a[name], b[name]) for a, b in pairs if name in a and name in b]
    return sum(float(gap.mean()) if gap.numel() else 0.0 for gap in gaps) / max(1, len(gaps))


def difference(one: Tensor, other: Tensor) -> Tensor:
    """float64, the absolute differences; infinite where shapes differ."""
    if one.shape != other.shape:
        return torch.full((1,), torch.inf, dtype=torch.float64)
    return (one.double() - other.double()).abs()


@contextmanager
def quiet_rng(seed: int = 0) -> Iterator[None]:
    """Torch's global generators seeded, and as they were afterwards."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        yield
