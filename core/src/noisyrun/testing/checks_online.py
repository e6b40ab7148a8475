"""Checks of parts of the network that a weighter or corrector trains in the loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from noisyrun.api.labels import Labels
from noisyrun.api.online import Batch
from noisyrun.testing.fixtures import batch_rows, make_batch
from noisyrun.testing.subject import Subject
from noisyrun.testing.suite import conformance_check
from noisyrun.testing.trial import Trial, demand, quiet_rng

_SOCKETS = ("weighter", "corrector")


@dataclass
class _Step:
    """A part, and one step's samples: every third row but the first is padding."""

    method: Any
    part: nn.Module
    head: nn.Module
    batch: Batch
    features: Tensor

    def losses(self, features: Tensor | None = None, batch: Batch | None = None) -> dict[str, Tensor]:
        features = self.features if features is None else features
        with quiet_rng(4):
            losses: dict[str, Tensor] = self.method.loss(self.part, batch or self.batch, features, self.head(features))
        return losses


def _step(plugin: Subject) -> _Step | None:
    """None where the configuration asks for no part."""
    world = plugin.world()
    with Trial(plugin, world) as one, quiet_rng(2):
        method = one.method
        part = method.part(one.bank.dim, one.task)
        if part is None:
            return None
        demand(isinstance(part, nn.Module), f"part must give a module (got {type(part).__name__})")
        if method.head:
            demand(callable(getattr(part, "head", None)), "head = True, but the part has no head(features)")
        part.to(plugin.device)
        head = part.head if method.head else nn.Linear(one.bank.dim, world.num_classes).to(plugin.device)
        rows = batch_rows(world, one.needs)
        mask = torch.arange(len(rows)) % 3 != 2
        features = one.bank.take(rows).features.clone().requires_grad_()
        return _Step(method, part, head, make_batch(world, one.needs, rows, mask), features)


@conformance_check(_SOCKETS, online=True)
def losses_are_finite_scalars(plugin: Subject) -> None:
    """`loss` gives finite floating-point scalars by name, at least one where it replaces the loop's loss."""
    step = _step(plugin)
    if step is None:
        return
    losses = step.losses()
    demand(isinstance(losses, dict), f"loss must give a dictionary (got {type(losses).__name__})")
    demand(bool(losses) or not step.method.replaces_loss, "replaces_loss = True, but loss gives none")
    for name, value in losses.items():
        demand(isinstance(value, Tensor) and value.dim() == 0, f"loss {name!r} must be a scalar tensor")
        demand(value.is_floating_point() and bool(torch.isfinite(value)), f"loss {name!r} is {float(value.detach()):g}")


@conformance_check(_SOCKETS, online=True)
def gradient_reaches_the_part(plugin: Subject) -> None:
    """A step gives every parameter of the part a gradient."""
    step = _step(plugin)
    if step is None:
        return
    logits = step.head(step.features)
    loop = logits.sum() * 0 if step.method.replaces_loss else logits.logsumexp(1).sum()
    sum(step.losses().values(), start=loop).backward()
    parameters = list(step.part.named_parameters())
    without = [name for name, value in parameters if value.requires_grad and value.grad is None]
    demand(not without, f"no gradient reaches {', '.join(without[:3])}: several processes would wait for it for ever")
    moved = [name for name, value in parameters if value.grad is not None and bool(value.grad.any())]
    demand(bool(moved) or not parameters, "the gradient of every parameter is 0: the part would never learn")


@conformance_check(_SOCKETS, online=True)
def finite_under_bf16_autocast(plugin: Subject) -> None:
    """Under bf16 autocast losses and gradients are finite, for features of float32 and of bfloat16."""
    for dtype in (torch.float32, torch.bfloat16):
        step = _step(plugin)
        if step is None:
            return
        features = step.features.detach().to(dtype).requires_grad_()
        with torch.autocast(plugin.device, dtype=torch.bfloat16):
            losses = step.losses(features)
        for name, value in losses.items():
            demand(bool(torch.isfinite(value)), f"loss {name!r} of {dtype} features is {float(value.detach()):g}")
        if not losses:
            return
        sum(losses.values(), start=torch.zeros((), device=plugin.device)).backward()
        grown = {"features": features, **dict(step.part.named_parameters())}
        for name, value in grown.items():
            finite = value.grad is None or bool(torch.isfinite(value.grad).all())
            demand(finite, f"the gradient of {name} is not finite, for {dtype} features")


@conformance_check(_SOCKETS, online=True)
def padding_counts_nothing(plugin: Subject) -> None:
    """What padding rows hold changes no loss, and no gradient reaches their features."""
    step = _step(plugin)
    if step is None:
        return
    step.part.eval()
    before = step.losses()
    padding = ~step.batch.mask
    strange = torch.where(padding.unsqueeze(1), step.features.detach() + 3, step.features.detach())
    # A bag is filled up with a sample of its own class, so that there labels stay.
    labels = step.batch.labels if step.batch.bags is not None else _moved(step.batch.labels, padding)
    other = replace(step.batch, labels=labels, weights=step.batch.weights + padding.float().unsqueeze(1))
    after = step.losses(strange, other)
    for name, value in before.items():
        gap = abs(float(value.detach() - after[name].detach()))
        demand(
            gap <= 1e-5 * max(1.0, abs(float(value.detach()))),
            f"loss {name!r} changes with padding rows: mind batch.mask",
        )
    if before:
        total = sum(before.values(), start=torch.zeros((), device=plugin.device))
        grown = torch.autograd.grad(total, step.features, allow_unused=True)[0]
        demand(grown is None or not bool(grown[padding].any()), "padding rows have a gradient: mind batch.mask")


def _moved(labels: Labels, padding: Tensor) -> Labels:
    """Padding rows with the labels of the first row."""
    return Labels(torch.where(padding.unsqueeze(1), labels.classes[:1], labels.classes), labels.known)


@conformance_check(_SOCKETS, online=True)
def a_batch_of_padding_is_finite(plugin: Subject) -> None:
    """Losses are finite where all rows are padding, and where no sample is clean."""
    step = _step(plugin)
    if step is None:
        return
    everywhere = torch.ones_like(step.batch.mask)
    odd = {
        "all rows padding": replace(step.batch, mask=~everywhere),
        "no sample clean": replace(
            step.batch, clean=~everywhere, trusted=Labels(torch.full_like(step.batch.trusted.classes, -1))
        ),
    }
    for what, batch in odd.items():
        for name, value in step.losses(batch=batch).items():
            demand(bool(torch.isfinite(value)), f"{what}: loss {name!r} is {float(value.detach()):g}")


@conformance_check(_SOCKETS, online=True)
def predictions_have_a_logit_for_each_class(plugin: Subject) -> None:
    """The part's head, and `predict` where it predicts, give finite logits [B, C]."""
    step = _step(plugin)
    if step is None:
        return
    step.part.eval()
    features = step.features.detach()
    classes = plugin.world().num_classes
    said = {"predict": step.method.predict(step.part, features)}
    if step.method.head:
        said["head"] = step.part.head(features)  # type: ignore[operator]
    for name, logits in said.items():
        if logits is not None:
            demand(logits.shape == (len(features), classes), f"{name} gives {list(logits.shape)}")
            demand(bool(torch.isfinite(logits).all()), f"{name} gives logits that are not finite")


@conformance_check(_SOCKETS, online=True)
def the_part_is_not_kept(plugin: Subject) -> None:
    """The method keeps no reference to its part, which the loop moves, wraps and restores."""
    step = _step(plugin)
    if step is None:
        return
    kept = [name for name, value in vars(step.method).items() if value is step.part]
    demand(not kept, f"keeps its part as {', '.join(kept)}; use the one that is passed in")
