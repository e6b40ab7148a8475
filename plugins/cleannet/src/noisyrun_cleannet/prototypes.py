"""CleanNet as a builder of prototypes: one learned embedding a class, and the encoder that queries go through.

Lee, He, Zhang, Yang: CleanNet: Transfer Learning for Scalable Image Classifier Training with Label Noise, CVPR 2018,
section 3.1. https://arxiv.org/abs/1711.07131
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from noisyrun.api import (
    PAD,
    Exhibit,
    FeatureBank,
    Needs,
    Phase,
    PrototypeBuilder,
    Prototypes,
    SideInfo,
    State,
    UserError,
)
from noisyrun_cleannet.config import CleanNetPrototypesConfig
from noisyrun_cleannet.encoders import CleanNet, Projection
from noisyrun_cleannet.references import References, choose_references
from noisyrun_cleannet.training import Queries, class_embeddings, train
from noisyrun_cleannet.verification import Pairs, pairs_of

#: References shown of each class: so many of the most attention, and so many of the least.
_SHOWN = 8


class CleanNetPrototypes(PrototypeBuilder[CleanNetPrototypesConfig]):
    """Trains the encoders on verification labels of some classes or of all, and encodes every class.

    What is learned of one class serves all: the encoders are shared. A class without samples has no references and no
    prototype. Later rounds go on from the encoders of the round before.
    """

    def __init__(self, config: CleanNetPrototypesConfig) -> None:
        super().__init__(config)
        self.net: CleanNet | None = None

    @property
    def needs(self) -> Needs:
        if self.config.verification == "given":
            return Needs(verification=True)
        return Needs(predictions=self.config.predictions)

    def build(self, bank: FeatureBank, side: SideInfo, phase: Phase) -> Prototypes:
        references = choose_references(bank, self.config, phase)
        net, steps = self._start(bank, phase)
        references = replace(references, vectors=net.see(references.vectors))
        if steps:
            self._train(net, references, bank, steps, phase)
        self.net = net.eval().requires_grad_(False)
        vectors = class_embeddings(net, references, phase)
        self._show(net, references, bank, phase)
        return Prototypes.of(vectors, references.present, project=self.projection())

    def _start(self, bank: FeatureBank, phase: Phase) -> tuple[CleanNet, int]:
        """The network to go on from, and steps at most: that of the round before where it fits these features."""
        kind = input_of(bank, self.config)
        if self.net is not None and (self.net.dim, self.net.input) == (bank.dim, kind):
            net = deepcopy(self.net).to(bank.device).requires_grad_(True)
            return net, self.config.refresh_steps
        with _seeded(phase.generator("encoders"), torch.device("cpu")):
            net = CleanNet(bank.dim, kind, self.config)
        return net.to(bank.device), self.config.steps

    def _train(self, net: CleanNet, seen: References, bank: FeatureBank, steps: int, phase: Phase) -> None:
        pairs = pairs_of(bank, "train", self.config, phase)
        known, unknown = pairs.verified, pairs.unverified
        if len(known) == 0:
            raise UserError(f"{self.key}: none of the samples is verified for training; give more, e.g. --verify 0.05")
        held = pairs_of(bank, "held", self.config, phase).verified
        budget = phase.memory // 4

        def queries(some: Pairs) -> Queries:
            nonlocal budget
            made = Queries(bank, some, net, budget)
            budget -= 0 if made.kept is None else made.kept.nbytes
            return made

        with torch.enable_grad(), _seeded(phase.generator("dropout"), bank.device):
            # The few first: what is read in every look, and in every step.
            parts = {"held": queries(held), "known": queries(known), "unknown": queries(unknown)}
            train(net, seen, parts["known"], parts["unknown"], parts["held"], self.config, steps, phase)

    @torch.no_grad()
    def _show(self, net: CleanNet, seen: References, bank: FeatureBank, phase: Phase) -> None:
        """The references of a few classes that got the most attention, and those that got the least."""
        classes = seen.present.cpu().nonzero()[:, 0]
        count = min(len(classes), self.config.show_classes)
        if count == 0:
            return
        classes = classes[torch.arange(count) * len(classes) // count]
        sets = seen.of(classes.to(seen.mask.device))
        _, weights = net.reference.attend(sets.vectors, sets.mask)
        phase.show(attention_exhibit(classes, weights.cpu(), sets.rows.cpu(), bank.task.classes))

    def projection(self) -> nn.Module | None:
        return None if self.net is None else Projection(deepcopy(self.net))

    def state_dict(self) -> State:
        if self.net is None:
            return {}
        tensors = {f"net.{name}": value.detach().cpu() for name, value in self.net.state_dict().items()}
        return {"dim": self.net.dim, "input": self.net.input, **tensors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.net = None
        if state:
            with torch.random.fork_rng(devices=[]):
                net = CleanNet(state["dim"], state["input"], self.config)
            net.load_state_dict(
                {name.removeprefix("net."): value for name, value in state.items() if name.startswith("net.")}
            )
            self.net = net.eval().requires_grad_(False)


def input_of(bank: FeatureBank, config: CleanNetPrototypesConfig) -> str:
    """What the encoders see of a bank's features: the setting, with ``auto`` decided.

    Raises
    ------
    UserError
        When the logarithm is asked for and there are negative features.
    """
    if config.input not in ("auto", "log"):
        return config.input
    negative = any(bool((block.features < 0).any()) for block in bank.blocks())
    if negative and config.input == "log":
        raise UserError(
            "--prototypes.input: log needs features of 0 and above, and some are negative; set unit or auto"
        )
    return "unit" if negative else "log"


def attention_exhibit(classes: Tensor, weights: Tensor, rows: Tensor, names: tuple[str, ...]) -> Exhibit:
    """Two rows of images a class: references of the most attention, best first, and of the least, least first.

    Parameters
    ----------
    classes
        int64 [G].
    weights
        α, [G, P]; 0 where masked.
    rows
        int64 [G, P]; `PAD` where masked.

    Returns
    -------
    Exhibit
        Values are α times the number of references: 1 is the attention each would get if all were alike.
    """
    share = weights * (rows != PAD).sum(1, keepdim=True)
    titles, shown, values = [], [], []
    for c, own, where in zip(classes.tolist(), share, rows):
        real = (where != PAD).nonzero()[:, 0]
        order = real[own[real].argsort(descending=True, stable=True)]
        # A small set is not shown twice over.
        half = min(_SHOWN, len(order) - len(order) // 2)
        for what, picks in (("most", order[:half]), ("least", order.flip(0)[: min(_SHOWN, len(order) // 2)])):
            gap = _SHOWN - len(picks)
            titles.append(f"{names[c]}: {what}")
            shown.append(nn.functional.pad(where[picks], (0, gap), value=PAD))
            values.append(nn.functional.pad(own[picks], (0, gap)))
    return Exhibit(
        "attention",
        "References of each class that CleanNet attends to most and least; 1 is an equal share. For centroids, the "
        "sample nearest to each.",
        tuple(titles),
        torch.stack(shown),
        torch.stack(values),
    )


@contextmanager
def _seeded(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Within it, the global generators of the CPU and of one device start from a seed; after it they are as before."""
    seed = generator.initial_seed()
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
