"""The network of a run as one module: backbone, dropout, head, and the parts that methods bring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from noisyrun.api.backbone import Backbone
from noisyrun.api.errors import MethodError, UserError
from noisyrun.api.labels import Labels, Targets
from noisyrun.api.online import Batch, OnlinePart
from noisyrun.api.task import Task
from noisyrun.engine.loss import step_loss
from noisyrun.engine.world import World
from noisyrun.methods import Methods


@dataclass(frozen=True)
class Step:
    """All that the loss of one step needs beside the inputs; see `step_loss`.

    Attributes
    ----------
    batch
        What online parts see; None when the network has none. On several processes the whole batch, of all of them.
    count
        What the loop's loss is divided by, where other processes have samples of the batch, too; see `LabelTables`.
    """

    labels: Labels
    mask: Tensor | None = None
    targets: Targets | None = None
    weights: Tensor | None = None
    target_weights: Tensor | None = None
    batch: Batch | None = None
    count: Tensor | None = None


class Network(nn.Module):
    """Inputs → loss of a step, in one forward, so that a wrapper for several processes sees every parameter.

    Parameters
    ----------
    backbone
        Builds the feature extractor.
    task
        What is to be learned.
    online
        Methods that bring a part, by key (``corrector.clean-net``).
    dropout
        Before the head.
    label_smoothing
        Of the loop's own loss.
    own_head
        Keep the backbone's own head beside one that a part brings, for stages in which parts take no part.
    """

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        online: Mapping[str, OnlinePart] | None = None,
        *,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        own_head: bool = False,
    ) -> None:
        super().__init__()
        self.task = task
        self.label_smoothing = label_smoothing
        self.extractor = backbone(task)
        self.dim = self.extractor.dim
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.parts = nn.ModuleDict()
        self._online: dict[str, OnlinePart] = {}
        for key, method in (online or {}).items():
            part = method.part(self.dim, task)
            if part is not None:
                if method.head and not callable(getattr(part, "head", None)):
                    raise MethodError(key, "says that its part brings a head, but the part has no head(features)")
                self.parts[_module_name(key)] = part
                self._online[key] = method
        heads = [key for key, method in self._online.items() if method.head]
        if len(heads) > 1:
            raise UserError(f"{' and '.join(heads)} both bring a head; a run has one: leave one of them out")
        self._head_part = heads[0] if heads else None
        # A head that nobody ever uses would be dead weight.
        unused = bool(heads) and not own_head
        self.classifier = None if unused else self.extractor.make_head(self.dim, task.num_classes)
        #: The parts that take part in the stage.
        self._active = self._online
        #: The extractor neither learns nor updates its statistics.
        self.frozen = False
        #: The processes that share each batch.
        self.world = World()

    @property
    def replaces_loss(self) -> bool:
        """Whether a part's loss takes the place of the loop's own in this stage."""
        return any(method.replaces_loss for method in self._active.values())

    @property
    def has_parts(self) -> bool:
        """Whether any method brings a part that takes part in this stage."""
        return bool(self._active)

    def freeze(self, trains: str, *, online: bool = True) -> None:
        """Choose what trains: ``all``, ``head`` (and parts), or ``parts`` (alone); and which head is in use.

        Parameters
        ----------
        online
            Whether parts take part: train, give losses, bring their head, predict.

        Raises
        ------
        UserError
            When that is nothing.
        """
        self._active = self._online if online else {}
        self.frozen = trains != "all"
        self.extractor.requires_grad_(not self.frozen)
        self.parts.requires_grad_(online)
        if self.classifier is not None:
            self.classifier.requires_grad_(trains != "parts" and self._head_in_use is None)
        if not any(parameter.requires_grad for parameter in self.parameters()):
            raise UserError(f"trains = {trains!r} leaves nothing to train: no method here brings a part of the network")
        self.train(self.training)

    @property
    def _head_in_use(self) -> str | None:
        """The part whose head predicts; None: the backbone's own does."""
        return self._head_part if self._active else None

    def train(self, mode: bool = True) -> Network:
        super().train(mode)
        if self.frozen:
            self.extractor.eval()
        return self

    def features(self, inputs: Tensor) -> Tensor:
        """Inputs → features [B, D], as the label phase sees them."""
        features: Tensor = self.extractor(inputs)
        return features

    def head(self, features: Tensor) -> Tensor:
        """Features [B, D] → logits [B, C] of the head in use, without dropout."""
        if self._head_in_use is not None:
            logits: Tensor = self.parts[_module_name(self._head_in_use)].head(features)  # type: ignore[operator]
        else:
            assert self.classifier is not None
            logits = self.classifier(features)
        return logits

    def predict(self, inputs: Tensor, *, given_features: bool = False) -> Tensor:
        """Inputs (or features) → logits [B, C], by the head alone unless a part predicts for an ablation."""
        features = inputs if given_features else self.features(inputs)
        for key, method in self._active.items():
            logits = method.predict(self.parts[_module_name(key)], features)
            if logits is not None:
                return logits
        return self.head(features)

    @torch.no_grad()
    def predictor(self) -> str | None:
        """The method whose part `predict` asks in this stage; None: the backbone's own head alone predicts."""
        features = next(self.parameters()).new_zeros(1, self.dim)
        for key, method in self._active.items():
            if method.predict(self.parts[_module_name(key)], features) is not None:
                return key
        return self._head_in_use

    def forward(self, inputs: Tensor, step: Step, given_features: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a step, and its terms by name (``loop``, ``KEY.NAME``).

        On several processes the mean over them is the loss of the whole batch, of which each has a part of the samples.
        Online parts see all of it in every process, so that whatever they make of a batch stays what it is; the
        gradient of each sample's features finds its way back.

        Parameters
        ----------
        inputs
            What the extractor takes; its features [B, D] when `given_features`.
        """
        features = inputs if given_features else self.features(inputs)
        logits = self.head(self.dropout(features))
        terms: dict[str, Tensor] = {}
        if not self.replaces_loss:
            terms["loop"] = step_loss(
                logits,
                step.labels,
                step.targets,
                step.weights,
                step.target_weights,
                step.mask,
                loss=self.task.loss,
                multi=self.task.multi,
                smoothing=self.label_smoothing,
                count=step.count,
            )
        if self._active:
            features, logits = self.world.rows(features), self.world.rows(logits)
        for key, method in self._active.items():
            assert step.batch is not None
            for name, term in method.loss(self.parts[_module_name(key)], step.batch, features, logits).items():
                terms[f"{key}.{name}"] = _scalar(key, name, term)
        if not terms:
            raise MethodError(next(iter(self._active)), "replaces the loop's loss but gave no loss of its own")
        losses = list(terms.values())
        return sum(losses[1:], start=losses[0]), terms


def online_methods(methods: Methods) -> dict[str, OnlinePart]:
    """The weighters and correctors that may bring a part, by key."""
    return {m.key: m for m in (*methods.correctors, *methods.weighters) if isinstance(m, OnlinePart)}


def build_network(
    methods: Methods, task: Task, *, dropout: float = 0.0, label_smoothing: float = 0.0, own_head: bool = False
) -> Network:
    """The network of a run; weights drawn from torch's global generator, which the caller has seeded."""
    if methods.backbone is None:
        raise UserError("no backbone was chosen; name one with --backbone")
    return Network(
        methods.backbone,
        task,
        online_methods(methods),
        dropout=dropout,
        label_smoothing=label_smoothing,
        own_head=own_head,
    )


def _module_name(key: str) -> str:
    # A module's name may hold no dot.
    return key.replace(".", "/")


def _scalar(key: str, name: str, term: object) -> Tensor:
    if not isinstance(term, Tensor) or term.dim() != 0 or not term.is_floating_point():
        got = list(term.shape) if isinstance(term, Tensor) else type(term).__name__
        raise MethodError(key, f"loss {name!r} must be a floating-point scalar (got {got})")
    return term
