"""Work of a label phase shared out over processes: fitted on the first, and shared by class or by row."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from noisyrun.api.bank import FeatureBank
from noisyrun.api.corrector import LabelCorrector
from noisyrun.api.errors import MethodError
from noisyrun.api.method import Method
from noisyrun.api.phase import Exhibit, Phase
from noisyrun.api.prototypes import PrototypeBuilder, Prototypes
from noisyrun.api.side_info import DenseRows, Rows, SideInfo, SideInfoEncoder, Text
from noisyrun.api.task import Task
from noisyrun.api.weighter import SampleWeighter
from noisyrun.engine.clock import Stopwatch
from noisyrun.engine.persist import exhibit_from, exhibit_tree, prototype_tree, prototypes_from
from noisyrun.engine.world import ALONE, World

T = TypeVar("T")


def on_first(world: World, method: Method[Any], learn: Callable[[], T]) -> T | None:
    """Let a method learn in the first process, and give what it learned to the others.

    Returns
    -------
    What `learn` gave, in the first process; None in the others.
    """
    made = learn() if world.first else None
    if world.size > 1:
        state = world.broadcast(dict(method.state_dict()) if world.first else None)
        if not world.first:
            method.load_state_dict(state)
    return made


def fit(
    method: SampleWeighter[Any] | LabelCorrector[Any],
    bank: FeatureBank,
    prototypes: Prototypes | None,
    side: SideInfo,
    phase: Phase,
    world: World = ALONE,
) -> None:
    """Fit a weighter or corrector, on one process; one that has no `fit` of its own waits for nobody."""
    base = SampleWeighter if isinstance(method, SampleWeighter) else LabelCorrector
    if type(method).fit is not base.fit:
        on_first(world, method, lambda: method.fit(bank, prototypes, side, phase.of(method.key)))


def encode_side_info(
    encoders: Sequence[SideInfoEncoder[Any]],
    task: Task,
    text: Text,
    phase: Phase,
    world: World = ALONE,
    clock: Stopwatch | None = None,
) -> SideInfo:
    """What the side-info encoders of a run give, each laid over what the one before it gave.

    The first process encodes, and sends what it made. What cannot be sent (an encoder of further texts, rows that are
    too many to be formed whole) the others make themselves, from the state of what was trained, as a resumed run does.

    Parameters
    ----------
    phase
        Where the run stands; each encoder gets it under its own name.
    clock
        Takes the seconds of each.
    """
    side, clock = SideInfo(), clock or Stopwatch()
    for encoder in encoders:
        encode = functools.partial(encoder, task, text, side, phase.of(encoder.key))
        with clock(encoder.key):
            made = on_first(world, encoder, encode)
            if world.size > 1:
                sent = world.broadcast(None if made is None else _sent(made, side, phase.memory // 8))
                if made is None:
                    made = encode() if sent["more"] else side
                    made = made.updated(_arrived(sent["fields"], phase))
        assert made is not None
        side = made
    return side


def _sent(made: SideInfo, before: SideInfo, most: int) -> dict[str, Any]:
    """What an encoder added: its tensors and relations of at most so many bytes; and whether there is more."""
    new = {name: one for name, one in vars(made).items() if one is not None and one is not getattr(before, name)}
    relation = new.get("class_similarity")
    if isinstance(relation, Rows) and 4 * relation.shape[0] * relation.shape[1] <= most:
        new["class_similarity"] = relation.dense()
    fields = {name: [one, one.device.type != "cpu"] for name, one in new.items() if isinstance(one, Tensor)}
    return {"fields": fields, "more": len(fields) < len(new)}


def _arrived(fields: Mapping[str, Any], phase: Phase) -> SideInfo:
    values = {name: one.to(phase.device) if on_device else one for name, (one, on_device) in fields.items()}
    if "class_similarity" in values:
        values["class_similarity"] = DenseRows(values["class_similarity"])
    return SideInfo(**values)


def even_shares(sizes: Sequence[int], parts: int) -> list[list[int]]:
    """Things of given sizes in `parts` groups of about one size: the largest first, each to what is smallest by then.

    Returns
    -------
    list
        Positions, ascending, of each group; the same whoever asks.

    Examples
    --------
    >>> even_shares([5, 1, 1, 3, 0], 2)
    [[0, 4], [1, 2, 3]]
    """
    shares: list[list[int]] = [[] for _ in range(parts)]
    held = [(0, part) for part in range(parts)]
    for at in sorted(range(len(sizes)), key=lambda at: (-sizes[at], at)):
        total, part = heapq.heappop(held)
        shares[part].append(at)
        heapq.heappush(held, (total + sizes[at], part))
    return [sorted(share) for share in shares]


def build_prototypes(
    builder: PrototypeBuilder[Any], bank: FeatureBank, side: SideInfo, phase: Phase, world: World = ALONE
) -> Prototypes:
    """The prototypes of a label phase, the same in all processes: built by class where the builder can, else on one.

    Classes are shared so that each process has about as many samples. What is logged and shown in one process is in
    all of them.

    Raises
    ------
    MethodError
        When the answer breaks the contract, or prototypes carry a projection that processes which did not build them
        cannot have.
    """
    if builder.by_class:
        return builder.checked(_by_class(builder, bank, side, phase, world), bank)
    made = on_first(world, builder, lambda: builder(bank, side, phase))
    if world.size == 1 and made is not None:
        return made
    tree = world.broadcast(None if made is None else prototype_tree(made))
    return _restored(builder, tree, bank) if made is None else made


def _by_class(
    builder: PrototypeBuilder[Any], bank: FeatureBank, side: SideInfo, phase: Phase, world: World
) -> Prototypes:
    own: Sequence[int] = range(bank.num_classes)
    told = phase
    logged: dict[str, float] = {}
    exhibits: list[Exhibit] = []
    if world.size > 1:
        own = even_shares(bank.class_counts().tolist(), world.size)[world.rank]
        phase = replace(phase, log=lambda name, value: logged.update({name: float(value)}), show=exhibits.append)
    parts: list[Prototypes] = []
    for c in cast("Iterator[int]", phase.progress(own, len(own), builder.key)):
        parts += builder.build_classes([c], bank, side, phase)
    if world.size == 1:
        return Prototypes.stack(parts)
    mine = prototype_tree(Prototypes.stack(parts)) if parts else None
    shown = [exhibit_tree(one) for one in exhibits]
    found = world.collect({"classes": list(own), "made": mine, "numbers": logged, "exhibits": shown})
    for one in found:
        for name, value in one["numbers"].items():
            told.log(name, value)
        for exhibit in one["exhibits"]:
            told.show(exhibit_from(exhibit))
    some = [one for one in found if one["made"] is not None]
    stacked = Prototypes.stack([_restored(builder, one["made"], bank) for one in some])
    order = torch.tensor([c for one in some for c in one["classes"]], device=stacked.mask.device).argsort()
    return replace(
        stacked,
        vectors=stacked.vectors[order],
        mask=stacked.mask[order],
        weights=stacked.weights[order],
        rows=None if stacked.rows is None else stacked.rows[order],
    )


def _restored(builder: PrototypeBuilder[Any], tree: Mapping[str, Any], bank: FeatureBank) -> Prototypes:
    made = prototypes_from(tree, builder, bank.device)
    if made is None:
        raise MethodError(builder.key, "prototypes carry a projection, but projection() gives none to other processes")
    return made
