"""Detection baselines that learn from verification labels, class by class.

Source: section 4.2, "Supervised": k-NN, SVM, label propagation, label spreading and a perceptron of two layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from noisyrun.api import (
    Block,
    FeatureBank,
    Judgement,
    Needs,
    Phase,
    Prototypes,
    SampleWeighter,
    SideInfo,
    State,
    UserError,
)
from noisyrun_cleannet.baselines import needs_of
from noisyrun_cleannet.baselines_config import VerifiedConfig
from noisyrun_cleannet.baselines_machines import GRIDS, Lesson, Machine, fit, input_space, inputs
from noisyrun_cleannet.verification import Pairs, pairs_of


class VerifiedWeighter(SampleWeighter[VerifiedConfig]):
    """A binary classifier for each class says which of its labels are right.

    A class without verified labels of both kinds has no classifier: its labels weigh 1 and count as right. The score is
    above 0 where a label is held right, and 0 in such a class; between classes it is no more than roughly alike.
    """

    def __init__(self, config: VerifiedConfig) -> None:
        super().__init__(config)
        self.machines: dict[int, Machine] = {}

    @property
    def needs(self) -> Needs:
        return needs_of(self.config)

    def fit(self, bank: FeatureBank, prototypes: Prototypes | None, side: SideInfo, phase: Phase) -> None:
        """Fit every class at every value of the grid; keep the value of least average error on the held-out labels."""
        grid = self._grid()
        train = pairs_of(bank, "train", self.config, phase)
        held = pairs_of(bank, "held", self.config, phase).verified
        made: list[dict[int, Machine]] = [{} for _ in grid]
        errors = torch.zeros(len(grid), dtype=torch.float64)
        judged = 0
        for c in phase.progress(range(bank.num_classes), bank.num_classes, self.config.method):
            pairs = train.take(train.classes == c)
            right = pairs.verified.relevance == 1
            if bool(right.all()) or not bool(right.any()):
                continue
            asked = held.take(held.classes == c)
            lesson, space = self._lesson(bank, pairs, asked.rows, phase.generator(c))
            features = bank.take(asked.rows).features
            for at, (kind, tensors) in enumerate(fit(self.config.method, lesson, grid)):
                tensors = {name: tensor.to(bank.device) for name, tensor in {**space, **tensors}.items()}
                made[at][c] = Machine(kind, tensors)
                if len(asked):
                    mistaken = (made[at][c].scores(features).cpu() > 0) != (asked.relevance == 1)
                    errors[at] += mistaken.double().mean()
            judged += int(len(asked) > 0)
        best = int(errors.argmin())
        self.machines = made[best]
        phase.log("setting", float(grid[best]))
        phase.log("classes", len(self.machines))
        if judged:
            phase.log("held_error", float(errors[best]) / judged)

    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Judgement:
        score = torch.zeros(len(block), device=block.bank.device)
        wrong = torch.zeros_like(score, dtype=torch.bool)
        for c in torch.unique(labels).tolist():
            if c in self.machines:
                of = (labels == c).nonzero()[:, 0]
                score[of] = self.machines[c].scores(block.features[of])
                wrong[of] = score[of] <= 0
        return Judgement((~wrong).float(), score, wrong)

    def state_dict(self) -> State:
        if not self.machines:
            return {}
        kind = next(iter(self.machines.values())).kind
        tensors = {
            f"{c}.{name}": t.cpu() for c, machine in self.machines.items() for name, t in machine.tensors.items()
        }
        return {"kind": kind, **tensors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        by_class: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            c, dot, name = key.partition(".")
            if dot:
                by_class.setdefault(int(c), {})[name] = value
        self.machines = {c: Machine(state["kind"], tensors) for c, tensors in by_class.items()}

    def _grid(self) -> tuple[float, ...]:
        grid = GRIDS[self.config.method] if self.config.grid is None else self.config.grid
        if self.config.method == "knn" and any(value < 1 or value != int(value) for value in grid):
            raise UserError(f"--{self.key}.grid: neighbours must be whole numbers from 1 (got {list(grid)})")
        if any(value < 0 or (value == 0 and self.config.method != "mlp") for value in grid):
            raise UserError(f"--{self.key}.grid: must be greater than 0 (got {list(grid)})")
        return grid

    def _lesson(
        self, bank: FeatureBank, pairs: Pairs, held: Tensor, generator: torch.Generator
    ) -> tuple[Lesson, dict[str, Tensor]]:
        """What one class learns from, on the CPU where scikit-learn works; and the space of its inputs."""
        verified = pairs.verified
        verified = verified.take(draw_both(verified.relevance == 1, self.config.most, generator))
        features = bank.take(verified.rows).features.cpu()
        centre, scale = input_space(features)
        others = pairs.unverified.rows[:0]
        if self.config.method.startswith("label-"):
            # Nodes of the graph are judged better than samples that are none: held-out ones must not be.
            others = pairs.unverified.rows
            others = others[~torch.isin(others, held)]
            others = others[draw(len(others), self.config.unverified, generator)]
        lesson = Lesson(
            inputs(features, centre, scale),
            verified.relevance == 1,
            inputs(bank.take(others).features.cpu(), centre, scale),
            self.config.hidden,
            seed=int(torch.randint(1 << 31, (1,), generator=generator)),
        )
        return lesson, {"centre": centre, "scale": scale}


def draw(n: int, most: int, generator: torch.Generator) -> Tensor:
    """int64: `most` of n positions, ascending; all where there are no more."""
    if n <= most:
        return torch.arange(n)
    return torch.randperm(n, generator=generator)[:most].sort().values


def draw_both(right: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """int64, ascending: `most` positions of bool [n], both kinds in proportion and at least one of each."""
    kinds = [right.nonzero()[:, 0], (~right).nonzero()[:, 0]]
    if len(right) <= most:
        return torch.arange(len(right))
    first = min(max(1, round(most * len(kinds[0]) / len(right))), most - 1)
    return torch.cat([of[draw(len(of), n, generator)] for of, n in zip(kinds, (first, most - first))]).sort().values
