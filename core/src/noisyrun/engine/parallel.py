"""One network in several processes: gradients averaged, batch statistics of the whole batch, one set of buffers."""

from __future__ import annotations

import inspect
import itertools
import time
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from noisyrun.engine.network import Network
from noisyrun.engine.world import World
from noisyrun.report.console import Console


class Agreement:
    """Whether to stop, when some process was asked to: all find so in the same step.

    They ask each other about once a second, and not in every step, which would cost more than it is worth.

    Parameters
    ----------
    every
        Steps from one question to the next, at most.
    """

    def __init__(self, world: World, every: int) -> None:
        self.world = world
        self.every = every
        self._until, self._steps, self._since = 1, 0, time.monotonic()

    def __call__(self, requested: bool) -> bool:
        """Called before each step by every process, with whether this one was asked."""
        if self.world.size == 1:
            return requested
        self._steps += 1
        if self._steps < self._until:
            return False
        now = time.monotonic()
        told = self.world.gather(torch.tensor([[float(requested), (now - self._since) / self._steps]]))
        step = max(float(told[:, 1].mean()), 1e-6)
        self._until = max(1, min(self.every, int(1 / step)))
        self._steps, self._since = 0, now
        return bool(told[:, 0].any())


def spread(network: Network, world: World, device: torch.device, console: Console) -> None:
    """Let the network know of the processes, and its batch normalisation see the rows of all of them.

    There is no such normalisation for the CPU: the user is told what that means.
    """
    network.world = world
    if world.size == 1 or not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    console.warn(
        f"batch normalisation: on the CPU each of the {world.size} processes takes the statistics of its own rows, "
        "so that results depend on how many there are; --backbone small-cnn --backbone.norm group has none of a batch"
    )


def wrapped(network: Network, world: World) -> nn.Module:
    """The network as its steps call it: its gradients are means over the processes. What trains must be chosen before.

    What a stage has no use for, such as the branch of a part, gets no gradient in any process.
    """
    if world.size == 1:
        return network
    options: dict[str, Any] = {"gradient_as_bucket_view": True, "find_unused_parameters": True}
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # its name before
    return DistributedDataParallel(network, **options | {buffers: False})


def share_buffers(network: Network, world: World) -> None:
    """Give every process the first one's buffers, before the network predicts anything.

    While it trains nobody reads running statistics: sharing them in every step would be for nothing.
    """
    if world.size == 1:
        return
    buffers = dict(network.named_buffers())
    for name, value in world.broadcast(buffers).items():
        buffers[name].copy_(value)


def share_warnings(console: Console, world: World) -> None:
    """Let the first process, the one that talks to the user, warn of what the others would warn of."""
    if world.size == 1:
        return
    for line in itertools.chain(*world.collect(console.warnings)):
        if world.first:
            console.warn(line)
