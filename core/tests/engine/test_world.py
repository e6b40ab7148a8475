"""Several processes: what each is told of the others."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from noisyrun.api import UserError
from noisyrun.engine.world import World


def test_one_process_gets_back_what_it_gives_and_makes_no_group() -> None:
    world, values = World(), torch.arange(3)
    with world.joined():
        assert not dist.is_initialized()
        assert world.gather(values).tolist() == [0, 1, 2]
        assert world.broadcast({"a": values})["a"] is values
        assert world.total(values) is values
        assert world.any(True)
        assert not world.any(False)
        world.wait()
    assert world.first
    assert world.first_here
    assert world.share(5) == range(5)


def test_shares_are_neighbours_and_leave_nothing_out() -> None:
    shares = [World(rank, 4).share(10) for rank in range(4)]
    assert [i for share in shares for i in share] == list(range(10))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("wrong", [{"RANK": "3"}, {"RANK": "x"}, {"LOCAL_WORLD_SIZE": "3"}, {"WORLD_SIZE": "0"}])
def test_an_environment_that_torchrun_did_not_set_is_named(wrong: dict[str, str], monkeypatch) -> None:
    right = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    for name, value in (right | wrong).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="torchrun"):
        World.of_environment()


def test_no_world_in_the_environment_is_one_process(monkeypatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert World.of_environment() == World()


def _work(rank: int, size: int, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)}
    store = dist.FileStore(str(folder / "store"), size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    world = World.of_environment()
    assert world == World(rank, size, rank, size)
    rows = world.gather(torch.full((rank, 2), rank, dtype=torch.bfloat16))  # the first has none
    assert rows.dtype == torch.bfloat16
    assert rows[:, 0].tolist() == [1, 2, 2]
    assert world.gather(torch.tensor([rank == 1])).tolist() == [False, True, False]
    mine = {"n": rank, "t": [torch.tensor(rank + 7.5), torch.zeros(0, 3)], "none": None}
    got = world.broadcast(mine if world.first else None)
    assert got["n"] == 0
    assert float(got["t"][0]) == 7.5
    assert got["t"][1].shape == (0, 3)
    assert got["none"] is None
    values = torch.tensor(rank)
    assert int(world.total(values)) == 3
    assert int(values) == rank
    assert world.any(rank == 2)
    assert not world.any(False)
    world.wait()
    dist.destroy_process_group()


def test_three_processes_gather_rows_and_share_a_tree(tmp_path: Path) -> None:
    mp.start_processes(_work, (3, tmp_path), nprocs=3, start_method="fork")
