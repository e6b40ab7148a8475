"""What several processes share: extraction into one bank, prototypes by class, answers of any shape."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from phase_fakes import NO_SIDE, Means
from torch import Tensor, nn

from noisyrun import bank as banks
from noisyrun.api import (
    PAD,
    Exhibit,
    FeatureBank,
    Labels,
    Phase,
    PluginConfig,
    Prototypes,
    SideInfo,
    Targets,
    Task,
    Text,
    UserError,
)
from noisyrun.bank.sizes import budget, choose_residence
from noisyrun.config.settings import BankSettings, RunSettings
from noisyrun.data.loader import eval_batches
from noisyrun.data.samples import Samples, no_labels
from noisyrun.engine.label_phase import run_label_phase
from noisyrun.engine.outputs import JudgementRows, TargetRows
from noisyrun.engine.sharing import build_prototypes, even_shares
from noisyrun.engine.world import World
from noisyrun.methods import Methods
from noisyrun.testing import make_bank, make_phase

CPU = torch.device("cpu")
#: Imported by the bank when it is first needed: here once, and not in every process.
assert eval_batches


def _start(rank: int, size: int, folder: Path, work: Callable[[World, Path], None]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)}
    store = dist.FileStore(str(folder / "store"), size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    work(World.of_environment(), folder)
    dist.destroy_process_group()


def together(work: Callable[[World, Path], None], folder: Path, size: int = 3) -> None:
    """Some work in several processes, each of which must come to its end."""
    (folder / "banks").mkdir()
    mp.start_processes(_start, (size, folder, work), nprocs=size, start_method="fork")


def samples(n: int, classes: int = 4, features: Tensor | None = None) -> Samples:
    draw = torch.Generator().manual_seed(n)
    names = tuple("abcdefgh"[:classes])
    return Samples(
        task=Task(names),
        index=torch.arange(n) * 3 + 5,
        labels=Labels.of(torch.randint(0, classes, (n,), generator=draw)),
        verified=torch.full((n,), -1, dtype=torch.int8),
        verified_held=torch.zeros(n, dtype=torch.bool),
        trusted=no_labels(n),
        clean=torch.zeros(n, dtype=torch.bool),
        text=Text(names),
        features=torch.randn(n, 6, generator=draw) if features is None else features,
    )


class Net(nn.Module):
    """Twice its inputs as features; counts what passed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def features(self, inputs: Tensor) -> Tensor:
        self.seen += len(inputs)
        return 2 * inputs

    def head(self, features: Tensor) -> Tensor:
        return features[:, :4]


def extracted(data: Samples, world: World, folder: Path, net: Net | None = None, **settings: Any) -> banks.StoredBank:
    chosen = BankSettings(**settings)
    return banks.extract(
        net or Net(), data, settings=chosen, device=CPU, folder=folder / "banks", batch_size=4, world=world
    )


def _extract(world: World, folder: Path) -> None:
    for n in (1, 2, 50):  # fewer samples than processes, too
        data, net = samples(n), Net()
        want = extracted(data, World(), folder, space="centred")
        got = extracted(data, world, folder, net, space="centred")
        assert net.seen == len(world.share(n))
        assert torch.allclose(next(got.blocks()).features, next(want.blocks()).features, atol=1e-6)
        for name in ("label_probs", "top_classes", "top_probs"):
            assert torch.equal(getattr(got, name), getattr(want, name))


def test_each_process_extracts_a_part_and_all_hold_the_whole(tmp_path: Path) -> None:
    together(_extract, tmp_path)


def _on_disk(world: World, folder: Path) -> None:
    data = samples(50)
    assert data.features is not None
    one, two = (extracted(data, world, folder, residence="disk") for _ in range(2))
    world.wait()
    assert list((folder / "banks").iterdir()) == []
    mapped = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if "/banks/features-" in line]
    inodes = torch.tensor([int(line[4]) for line in mapped])
    assert len(inodes) == 2
    theirs = world.gather(inodes.unsqueeze(0))
    assert len(theirs.unique()) == 2, "processes of a machine share one file a bank"
    for bank in (one, two):
        assert torch.allclose(bank.take(torch.arange(50)).features, 2 * data.features, rtol=1e-3, atol=1e-3)
        bank.close()


def test_processes_of_a_machine_share_the_file_of_a_bank_on_disk_and_leave_none(tmp_path: Path) -> None:
    together(_on_disk, tmp_path)
    assert list((tmp_path / "banks").iterdir()) == []


def _odd_features(world: World, folder: Path) -> None:
    features = samples(50).features
    assert features is not None
    features[49, 2] = torch.nan  # of the last process's part
    for residence in ("memory", "disk"):
        with pytest.raises(UserError, match="sample 152 has a value that is not finite"):
            extracted(samples(50, features=features), world, folder, residence=residence)
    world.wait()
    assert list((folder / "banks").iterdir()) == []


def test_an_odd_feature_ends_all_processes_with_the_same_line(tmp_path: Path) -> None:
    together(_odd_features, tmp_path)


def _lazily(world: World, folder: Path) -> None:
    asked = []

    def head(features: Tensor) -> Tensor:
        asked.append(len(features))
        return features[:, :4]

    data = samples(50)
    assert data.features is not None
    got = banks.build(data, data.features, head, settings=BankSettings(), device=CPU, world=world)
    assert sum(asked) == len(world.share(50))
    want = banks.build(data, data.features, data.features[:, :4], settings=BankSettings(), device=CPU)
    assert torch.equal(got.top_classes, want.top_classes)
    assert torch.equal(got.label_probs, want.label_probs)


def test_a_head_is_asked_at_once_and_in_parts(tmp_path: Path) -> None:
    together(_lazily, tmp_path)


def _residence(world: World, folder: Path) -> None:
    little = 1_000 if world.rank == 1 else 1 << 30
    assert choose_residence("auto", 600_000, CPU, little, world) == "disk"
    assert choose_residence("auto", 600_000, CPU, 1 << 30, world) == "memory"
    assert budget("3MB", world) == 1_000_000


def test_features_live_where_all_processes_have_room(tmp_path: Path) -> None:
    together(_residence, tmp_path)


class Telling(Means):
    """Says which classes it built."""

    def build_class(self, c: int, bank: FeatureBank, rows: Tensor, side: SideInfo, phase: Phase) -> Prototypes:
        phase.log(f"class{c}", float(len(rows)))
        phase.show(Exhibit(f"class-{c}", "A class.", ("it",), rows[:1].unsqueeze(0), torch.ones(1, 1)))
        made = super().build_class(c, bank, rows, side, phase)
        more = torch.cat([made.vectors] * (1 + c), dim=1)  # another number of prototypes for each
        return Prototypes.of(more, rows=rows[:1].repeat(1, 1 + c))


class Projected(Means):
    """Prototypes in half the space, through a projection that is the configuration's alone."""

    def build_class(self, c: int, bank: FeatureBank, rows: Tensor, side: SideInfo, phase: Phase) -> Prototypes:
        made = super().build_class(c, bank, rows, side, phase)
        return replace(made, vectors=made.vectors[..., :3], project=self.projection())

    def projection(self) -> nn.Module | None:
        half = nn.Linear(6, 3, bias=False)
        half.weight.data = torch.eye(6)[:3]
        return half


def _by_class(world: World, folder: Path) -> None:
    for classes, labels in ((2, [0, 1, 1, 0, 1]), (5, [0, 0, 4, 4, 4, 1, 1, 1, 1, 0, 3])):  # class 2 has no sample
        bank = make_bank(torch.eye(len(labels), 6), labels, classes)
        for kind in (Telling, Projected):
            logged: dict[str, float] = {}
            shown: list[str] = []
            phase = make_phase(log=logged.__setitem__, show=lambda one, to=shown: to.append(one.name))
            want = build_prototypes(kind(PluginConfig()), bank, NO_SIDE, make_phase())
            got = build_prototypes(kind(PluginConfig()), bank, NO_SIDE, phase, world)
            for name in ("vectors", "mask", "weights"):
                assert torch.equal(getattr(got, name), getattr(want, name))
            assert (got.rows is None) == (want.rows is None)
            assert got.rows is None or want.rows is None or torch.equal(got.rows, want.rows)
            assert (got.project is None) == (want.project is None)
            assert torch.equal(got.embed(torch.eye(6)), want.embed(torch.eye(6)))
            held = [c for c in range(classes) if kind is Telling and c in labels]
            assert sorted(logged) == [f"class{c}" for c in held]
            assert sorted(shown) == [f"class-{c}" for c in held]


def test_prototypes_built_by_class_are_stacked_in_order_with_what_their_builders_said(tmp_path: Path) -> None:
    together(_by_class, tmp_path)


def test_classes_are_shared_so_that_each_process_has_about_as_many_samples() -> None:
    sizes = [900, 10, 20, 30, 400, 500, 0]
    shares = even_shares(sizes, 3)
    assert sorted(c for share in shares for c in share) == list(range(7))
    assert max(sum(sizes[c] for c in share) for share in shares) == 900
    assert even_shares([3], 3) == [[0], [], []]


def _answers(world: World, folder: Path) -> None:
    own = world.share(5)  # the first has one row, in two wide blocks the others four
    room = TargetRows(len(own))
    for row in own:
        width = 1 + row
        room.add(
            Targets(
                torch.full((1, width), row),
                torch.full((1, width), 0.1),
                torch.tensor([0.5]),
                torch.tensor([1.0]) if row != 3 else None,
                torch.full((1, 2), row),
            )
        )
    made = room.gathered(world)
    assert made is not None
    assert made.classes.tolist() == [[row] * (1 + row) + [PAD] * (4 - row) for row in range(5)]
    assert made.confidence is None
    assert made.known is not None
    assert made.known[:, 1].tolist() == list(range(5))
    assert TargetRows(0).gathered(world) is None
    judged = JudgementRows(0).gathered(world)
    assert (len(judged.weights), judged.wrong) == (0, None)


def test_answers_of_several_widths_are_gathered_as_wide_as_the_widest(tmp_path: Path) -> None:
    together(_answers, tmp_path)


def _few(world: World, folder: Path) -> None:
    bank = make_bank(torch.eye(2), [0, 1], 2)
    logged: dict[str, float] = {}
    methods, phase = Methods(prototypes=Means(PluginConfig())), make_phase(log=logged.__setitem__)
    state = run_label_phase(bank, methods, NO_SIDE, phase, RunSettings(), world=world)
    assert state.weights.tolist() == [[1.0], [1.0]]
    seconds = torch.tensor([[logged["seconds"]]], dtype=torch.float64)
    assert len(world.gather(seconds).unique()) == 1


def test_fewer_samples_than_processes(tmp_path: Path) -> None:
    together(_few, tmp_path)
