"""A run shared by several processes comes to what one process comes to."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch._dynamo
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from noisyrun.api import BAGS, MIX, UNIFORM, Batches, OnlinePart, PluginConfig, SampleWeighter, Stage, UserError
from noisyrun.backbones.config import SmallCNNConfig
from noisyrun.backbones.small_cnn import SmallCNN
from noisyrun.engine import checkpoint, parallel, persist
from noisyrun.engine import trainer as trainers
from noisyrun.engine.device import device_of
from noisyrun.engine.evaluate import top_predictions
from noisyrun.engine.interrupt import Interrupted
from noisyrun.engine.parallel import Agreement
from noisyrun.engine.precision import seed_of_process
from noisyrun.engine.trainer import Trainer
from noisyrun.engine.world import World
from noisyrun.methods import Methods
from noisyrun.report.console import Console, Muted

CPU = torch.device("cpu")
#: What DistributedDataParallel imports takes seconds: here once, and not in every process.
assert torch._dynamo


class Contrast(SampleWeighter[PluginConfig], OnlinePart):
    """A loss of pairs within the batch, by bag where there are some: a mean of no samples, and of no process's rows."""

    key = "weighter.contrast"

    def __init__(self) -> None:
        super().__init__(PluginConfig())

    def weigh(self, block, labels, prototypes, side):
        return torch.ones(len(block))

    def part(self, dim, task):
        return nn.Linear(dim, 4)

    def loss(self, part, batch, features, logits):
        seen = part(features)
        together = batch.mask[:, None] & batch.mask
        if batch.bags is not None:
            together &= batch.bags[:, None] == batch.bags
        near = (seen[:, None] - seen).square().sum(2)
        clean = (logits.logsumexp(1) * (batch.clean & batch.mask)).sum() / (batch.clean & batch.mask).sum().clamp(min=1)
        return {"pairs": 0.01 * (near * together).sum() / together.sum(), "clean": 0.1 * clean}


def in_processes(work: Callable[..., None], size: int, folder: Path, *given: object) -> None:
    """Some work in several processes, each of which must come to its end."""
    mp.start_processes(_start, (size, folder, work, given), nprocs=size, start_method="fork")


def _start(rank: int, size: int, folder: Path, work: Callable[..., None], given: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)}
    if size > 1:
        store = dist.FileStore(str(folder / f"store-{size}"), size)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    work(World.of_environment(), folder, *given)


def group_cnn():
    made = SmallCNN(SmallCNNConfig(width=4, depth=2, norm="group"))
    made.key = "backbone.small-cnn"
    return made


def stripes(kit, judging=True, features=False, contrast=False):
    methods = kit.make_methods(judging, features)
    backbone = methods.backbone if features else group_cnn()
    weighters = (Contrast(),) if contrast else methods.weighters
    return Methods(backbone=backbone, weighters=weighters, correctors=methods.correctors)


def trainer(kit: SimpleNamespace, world: World, folder: Path | None = None, **how: object) -> Trainer:
    """Of 91 samples in batches of 16: the last has 11."""
    chosen = {"batches": UNIFORM, "stages": (), "methods": stripes(kit), "features": False, "epochs": 2, **how}
    settings = kit.make_settings(
        epochs=chosen["epochs"], stages=chosen["stages"], eval={"batch_size": 8}, train={"log_every": 3}
    )
    data = kit.with_clean(kit.make_data(91, features=chosen["features"]))
    batches = chosen["batches"]
    assert isinstance(batches, Batches)
    return Trainer(settings, chosen["methods"], data, device=CPU, batches=batches, folder=folder, world=world)


STAGES = [
    Stage(name="warmup", epochs=1, keep_predictions="base"),
    Stage(name="sure", epochs=1, samples="top:0.6", label_phase="once", batch_size=10),
    Stage(name="head", steps=5, trains="head", weights_from="stage:warmup"),
]
#: What is trained, by name: with and without images, label phases, batches of every kind, parts, stages of every kind.
CASES: dict[str, Callable[[SimpleNamespace], dict[str, object]]] = {
    "images": lambda kit: {},
    "features": lambda kit: {"methods": stripes(kit, features=True), "features": True},
    "part": lambda kit: {"methods": stripes(kit, contrast=True)},
    "bags": lambda kit: {"methods": stripes(kit, contrast=True), "batches": BAGS(3)},
    "mix": lambda kit: {"methods": stripes(kit, contrast=True), "batches": MIX(1, 5)},
    "stages": lambda kit: {"stages": STAGES},
}
SIZES = (2, 4)


def train_all(world: World, folder: Path, kit: SimpleNamespace) -> None:
    for name, how in CASES.items():
        made = trainer(kit, world, **how(kit))
        outcome = made.run()
        if world.rank == world.size - 1:
            checkpoint.save(
                folder / f"{name}-{world.size}",
                {
                    "losses": [record["loss"] for record in outcome.history],
                    "numbers": [
                        {k: v for k, v in record.items() if k.startswith(("test", "val"))} for record in outcome.history
                    ],
                    "by_class": list(outcome.by_class),
                    "network": dict(outcome.network.state_dict()),
                    "labels": persist.state_tree(outcome.state),
                    "kept": {key: list(pair) for key, pair in made.kept.items()},
                    "seen": outcome.seen,
                },
            )


@pytest.fixture(scope="module")
def found(kit, tmp_path_factory):
    """What each case came to, by number of processes."""
    folder = tmp_path_factory.mktemp("several")
    train_all(World(), folder, kit)
    for size in SIZES:
        in_processes(train_all, size, folder, kit)
    return lambda case, size: checkpoint.load(folder / f"{case}-{size}")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", CASES)
def test_several_processes_come_to_the_losses_weights_and_targets_of_one(found, case, size):
    one, several = found(case, 1), found(case, size)
    assert several["losses"][0] == pytest.approx(one["losses"][0], abs=1e-5)
    assert several["losses"] == pytest.approx(one["losses"], abs=1e-3)
    assert several["seen"] == one["seen"]
    for name, value in one["network"].items():
        torch.testing.assert_close(several["network"][name], value, atol=2e-3, rtol=1e-2)
    for name in ("weights", "target_weights", "score"):
        torch.testing.assert_close(several["labels"][name], one["labels"][name], atol=5e-3, rtol=1e-2)
    same = several["labels"]["targets"]["classes"] == one["labels"]["targets"]["classes"]
    assert float(same.float().mean()) > 0.97


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", CASES)
def test_evaluation_is_shared_out_and_told_whole(found, case, size):
    one, several = found(case, 1), found(case, size)
    for ours, theirs in zip(several["numbers"], one["numbers"], strict=True):
        assert ours.keys() == theirs.keys()
        # An image on the border between two classes may fall to the other side.
        assert all(ours[name] == pytest.approx(theirs[name], abs=0.04) for name in ours)
    assert [value is None for value in several["by_class"]] == [value is None for value in one["by_class"]]
    for key, (classes, probs) in one["kept"].items():
        assert several["kept"][key][0].shape == classes.shape
        torch.testing.assert_close(several["kept"][key][1], probs, atol=2e-3, rtol=1e-2)


def _told_of_bad_loss(world: World, folder: Path, kit: SimpleNamespace) -> None:
    made = trainer(kit, world, methods=Methods(backbone=group_cnn()))
    steps = made._step

    def broken(tables, batch):
        if world.rank == 1 and made.progress.steps == 1:
            batch.inputs.fill_(float("nan"))
        return steps(tables, batch)

    made._step = broken
    try:
        made.run()
    except UserError as error:
        (folder / f"told-{world.rank}").write_text(str(error))
    except RuntimeError:
        (folder / f"gone-{world.rank}").write_text("the process that knew why has gone")


def test_a_loss_that_breaks_is_told_by_the_process_that_knows_why(kit, tmp_path):
    in_processes(_told_of_bad_loss, 2, tmp_path, kit)
    assert "at step 1:" in (tmp_path / "told-1").read_text()
    assert (tmp_path / "gone-0").exists()


def _stopped(world: World, folder: Path, kit: SimpleNamespace, steps: int) -> None:
    made = trainer(kit, world, folder)
    seed = trainers.seed_step

    def seed_step(number, step):
        if step == steps and world.rank == 1:
            made.stop.requested = True  # this process alone is asked
        seed(number, step)

    trainers.seed_step = seed_step
    try:
        made.run()
    except Interrupted:
        (folder / f"stopped-{world.rank}").write_text(str(made.progress.steps))


def _resumed(world: World, folder: Path, kit: SimpleNamespace) -> None:
    outcome = trainer(kit, world, folder).run(resume=True)
    if world.first:
        checkpoint.save(folder / "end", {"losses": [record["loss"] for record in outcome.history]})


@pytest.mark.parametrize("again", [1, 2])
def test_asked_to_stop_in_one_process_all_stop_together_and_any_number_goes_on(kit, found, tmp_path, again):
    in_processes(_stopped, 2, tmp_path, kit, 4)
    at = [int((tmp_path / f"stopped-{rank}").read_text()) for rank in range(2)]
    assert at[0] == at[1]
    assert at[0] == 6  # asked in step 4: the next time they ask each other is the end of the epoch
    assert checkpoint.load(tmp_path / checkpoint.NAME)["progress"]["steps"] == at[0]
    (tmp_path / "store-2").unlink()
    in_processes(_resumed, again, tmp_path, kit)
    ended = checkpoint.load(tmp_path / "end")["losses"]
    assert ended == pytest.approx(found("images", 1)["losses"], abs=1e-3)


def _warnings(world: World, folder: Path) -> None:
    console = Console(quiet=True, err=(folder / "said").open("w")) if world.first else Muted()
    console.warn("all say this")
    if not world.first:
        console.warn(f"process {world.rank} says this")
    parallel.share_warnings(console, world)
    parallel.share_warnings(console, world)


def test_warnings_of_all_processes_are_said_once(tmp_path):
    in_processes(_warnings, 3, tmp_path)
    said = (tmp_path / "said").read_text().splitlines()
    assert said == [f"warning: {line}" for line in ("all say this", "process 1 says this", "process 2 says this")]


def _statistics(world: World, folder: Path, kit: SimpleNamespace) -> None:
    console = Console(quiet=True, err=(folder / f"said-{world.rank}").open("w")) if world.first else Muted()
    made = trainer(kit, world, methods=Methods(backbone=kit.backbone()), epochs=1)
    made.console = console
    network = made.run().network
    norms = {name: buffer for name, buffer in network.named_buffers() if "running" in name}
    gathered = world.collect(norms)
    assert norms
    assert all(torch.equal(theirs[name], norms[name]) for theirs in gathered for name in norms)
    (folder / f"warned-{world.rank}").write_text("\n".join(console.warnings))


def test_batch_statistics_on_the_cpu_are_warned_of_and_the_first_ones_are_used(kit, tmp_path):
    in_processes(_statistics, 2, tmp_path, kit)
    assert "--backbone.norm group" in (tmp_path / "warned-0").read_text()


def _gradients(world: World, folder: Path) -> None:
    values = (torch.arange(6.0).view(3, 2) + 10 * world.rank).requires_grad_()
    whole = world.rows(values)
    assert whole[:, 0].tolist() == [0, 2, 4, 10, 12, 14]
    (whole.square().sum() * (world.rank + 1)).backward()
    # Of both processes' sums: once, and twice.
    assert torch.equal(values.grad, 6 * values.detach())


def test_rows_of_all_processes_give_their_gradients_back(tmp_path):
    in_processes(_gradients, 2, tmp_path)


def _shares_of_few(world: World, folder: Path, kit: SimpleNamespace) -> None:
    made = trainer(kit, world)
    made.build()
    few = kit.make_data(2).train
    view = made.view(made.stages[0])
    classes, probs = top_predictions(made.network, few, view, 2, world)
    assert classes.shape == probs.shape == (2, 2)


def test_a_process_may_have_nothing_to_predict(kit, tmp_path):
    in_processes(_shares_of_few, 4, tmp_path, kit)


def test_one_process_is_never_asked_for_agreement():
    asked = Agreement(World(), 1000)
    assert [asked(flag) for flag in (False, True, False)] == [False, True, False]


def test_processes_draw_apart_and_the_first_as_a_run_of_one():
    assert seed_of_process(7, 0) == 7
    assert len({seed_of_process(7, rank) for rank in range(8)} | {seed_of_process(8, rank) for rank in range(8)}) == 16


@pytest.mark.parametrize(
    ("device", "message"), [("cuda:1", "cuda:1 is one GPU"), ("cuda", "4 processes on this machine, but 2 GPUs")]
)
def test_a_gpu_for_each_process_or_none(device, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=message):
        device_of(device, World(0, 4, 0, 4))
