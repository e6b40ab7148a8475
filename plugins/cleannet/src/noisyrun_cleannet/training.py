"""Training of both encoders, to convergence on held-out verification labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from noisyrun.api import FeatureBank, Phase, ops
from noisyrun_cleannet import equations
from noisyrun_cleannet.config import CleanNetPrototypesConfig
from noisyrun_cleannet.encoders import CleanNet
from noisyrun_cleannet.references import References
from noisyrun_cleannet.verification import Pairs

#: Steps whose queries are drawn at once.
_DRAWN = 256


class Queries:
    """Pairs with the features of their samples as the encoders see them: in memory where they fit, else read anew.

    Parameters
    ----------
    memory
        Bytes they may take.
    """

    def __init__(self, bank: FeatureBank, pairs: Pairs, net: CleanNet, memory: int) -> None:
        self.bank = bank
        self.pairs = pairs
        self.net = net
        self.kept: Tensor | None = None
        if 4 * len(pairs) * bank.dim <= memory:
            self.kept = torch.empty(len(pairs), bank.dim, device=bank.device)
            start = 0
            for block in bank.blocks(pairs.rows):
                self.kept[start : start + len(block)] = net.see(block.features)
                start += len(block)

    def __len__(self) -> int:
        return len(self.pairs)

    def features(self, positions: Tensor) -> Tensor:
        """float32 [B, D] of some pairs, int64 [B] on the CPU."""
        if self.kept is not None:
            return self.kept[positions.to(self.kept.device)]
        return self.net.see(self.bank.take(self.pairs.rows[positions]).features)


@dataclass
class Best:
    """The best network so far, by the error on held-out pairs and, where that ties, by their loss."""

    by: tuple[float, float] = (math.inf, math.inf)
    step: int = 0
    looks_since: int = 0
    state: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, by: tuple[float, float], step: int, net: CleanNet) -> None:
        """Take this network when it is better."""
        self.looks_since += 1
        if by < self.by:
            self.by, self.step, self.looks_since = by, step, 0
            self.state = {name: value.detach().clone() for name, value in net.state_dict().items()}


def train(
    net: CleanNet,
    references: References,
    known: Queries,
    unknown: Queries,
    held: Queries,
    config: CleanNetPrototypesConfig,
    steps: int,
    phase: Phase,
) -> None:
    """Train both encoders in place, and leave the network that was best on the held-out pairs.

    Parameters
    ----------
    references
        As the encoders see them, of all classes; queries are of classes that have some.
    known, unknown, held
        Queries that are verified, that are not, and that are verified and held out: these are only looked at.
    steps
        At most.

    Notes
    -----
    The learning rate falls to a tenth after half of the steps, or as soon as so many looks brought no gain; from there
    on as many again end the training. Without held-out pairs, all steps are taken.
    """
    parameters = [one for one in net.parameters() if one.requires_grad]
    fused = references.vectors.device.type in ("cpu", "cuda")
    optimizer = torch.optim.SGD(parameters, config.lr, config.momentum, weight_decay=config.l2, fused=fused)
    best, lowered, since, total = Best(), False, 0, torch.zeros((), device=references.vectors.device)
    watch = config.patience > 0 and len(held) > 0
    batches = _batches(len(known), len(unknown), config, phase.generator("queries"))
    net.train()
    for step in phase.progress(range(1, steps + 1), steps, "cleannet"):
        optimizer.zero_grad(set_to_none=True)
        loss = _loss(net, references, known, unknown, next(batches), config)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.detach()
        since += 1
        if not lowered and 2 * step >= steps:
            # Looks at the higher rate do not count against the lower one.
            lowered, best.looks_since = _lower(optimizer), 0
        if step % config.check_every and step < steps:
            continue
        phase.log("loss", float(total) / since)
        total.zero_()
        since = 0
        if not watch:
            continue
        best.offer(held_out(net, references, held, config, phase), step, net)
        if best.looks_since < config.patience:
            continue
        if lowered:
            break
        net.load_state_dict(best.state)
        optimizer.state.clear()
        lowered, best.looks_since = _lower(optimizer), 0
    if watch:
        net.load_state_dict(best.state)
        phase.log("held_error", best.by[0])
        phase.log("held_loss", best.by[1])
        phase.log("best_step", best.step)
    phase.log("steps", step)
    net.eval()


def _lower(optimizer: torch.optim.Optimizer) -> bool:
    for group in optimizer.param_groups:
        group["lr"] /= 10
    return True


def _batches(
    known: int, unknown: int, config: CleanNetPrototypesConfig, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions of the verified and of the other queries of each step, drawn with replacement."""
    if unknown == 0:
        sizes = (config.verified_batch + config.unverified_batch, 0)
    else:
        sizes = (config.verified_batch, config.unverified_batch)
    while True:
        drawn = [
            torch.randint(max(1, count), (_DRAWN, size), generator=generator)
            for count, size in zip((known, unknown), sizes)
        ]
        yield from zip(*drawn)


def _loss(
    net: CleanNet,
    references: References,
    known: Queries,
    unknown: Queries,
    batch: tuple[Tensor, Tensor],
    config: CleanNetPrototypesConfig,
) -> Tensor:
    """Mean total loss of a batch. Only the reference sets of its classes are encoded."""
    device = references.vectors.device
    features = torch.cat([known.features(batch[0]), unknown.features(batch[1])])
    # On the CPU, where the pairs live: no step waits for the GPU to say which classes it needs.
    classes = torch.cat([known.pairs.classes[batch[0]], unknown.pairs.classes[batch[1]]])
    relevance = torch.cat([known.pairs.relevance[batch[0]], unknown.pairs.relevance[batch[1]]]).to(device)
    named, which = classes.unique(return_inverse=True)
    sets = references.of(named.to(device))
    class_embeddings = net.reference(sets.vectors, sets.mask)
    embedded, rebuilt = net.query(features)
    cosines = functional.cosine_similarity(embedded, class_embeddings[which.to(device)], dim=1)
    errors = equations.reconstruction_error(features, rebuilt)
    return equations.total_loss(
        cosines, relevance, errors, omega=config.omega, rho=config.rho, beta=config.beta, gamma=config.gamma
    ).mean()


@torch.no_grad()
def held_out(
    net: CleanNet, references: References, held: Queries, config: CleanNetPrototypesConfig, phase: Phase
) -> tuple[float, float]:
    """Average error over classes at the best threshold, and mean matching loss, of held-out pairs; no dropout."""
    net.eval()
    # Only the classes that are asked for.
    named, which = held.pairs.classes.unique(return_inverse=True)
    vectors = ops.unit(class_embeddings(net, references.of(named.to(references.mask.device)), phase))
    cosines = []
    for span in ops.spans(len(held), 4 * (held.bank.dim + 2 * config.query_hidden), phase.memory // 4):
        embedded = net.query.encode(held.features(torch.arange(span.start, span.stop)))
        cosines.append((ops.unit(embedded) * vectors[which[span].to(vectors.device)]).sum(1).cpu())
    net.train()
    found, relevance = torch.cat(cosines), held.pairs.relevance
    _, error = equations.best_threshold(found, relevance, held.pairs.classes)
    return error, float(equations.matching_loss(found, relevance, config.omega, config.rho).mean())


@torch.no_grad()
def class_embeddings(net: CleanNet, references: References, phase: Phase) -> Tensor:
    """φ_s of reference sets as the encoders see them, float32 [C, E]; 0 where a class has none."""
    count, size = references.mask.shape
    parts = []
    for span in ops.spans(count, 4 * size * net.width, phase.memory // 4):
        sets = References(references.vectors[span], references.mask[span], references.rows[span])
        # A softmax over nothing has no value: a class without references pretends to have one.
        mask = sets.mask | ~sets.present.unsqueeze(1)
        parts.append(net.reference(sets.vectors, mask))
    return torch.cat(parts) * references.present.unsqueeze(1)
