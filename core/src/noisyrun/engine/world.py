"""The processes of a run: this one alone, or those that ``torchrun`` started."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from noisyrun.api.errors import UserError
from noisyrun.engine import checkpoint
from noisyrun.torchrun import GONE, ToldElsewhere

#: How long one process waits for another. What one process does alone (fitting a method, say) may take this long.
_PATIENCE = timedelta(hours=6)
#: Where processes that fail leave their reasons, and the number of the first of them, which tells the user.
_REASON, _TELLER = "reason", "teller"
#: Seconds from one look for the other processes to the next.
_POLL = 0.02
#: What collective operations say when a process they wait for is gone.
_GONE = ("gloo", "Connection closed", "Connection reset", "Broken pipe", "NCCL", "TCPStore")

#: What the processes have in common even when some are gone; there is one at a time, as with the process group.
_store: dist.Store | None = None
_round = 1


@dataclass(frozen=True)
class World:
    """Where this process stands among those of the run. Every method but the properties is called by all of them.

    With one process every method gives back what it was given, and no process group is made.

    Attributes
    ----------
    rank, size
        Number of this process, and how many there are.
    local_rank, local_size
        The same among the processes of this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def of_environment(cls) -> World:
        """The world that ``torchrun`` describes in the environment; one process where it describes none.

        Raises
        ------
        UserError
            When the variables do not make sense.
        """
        if "WORLD_SIZE" not in os.environ:
            return cls()
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        try:
            world = cls(*(int(os.environ[name]) for name in names))
        except (KeyError, ValueError):
            world = cls(-1, 0)
        if not 0 <= world.local_rank < world.local_size <= world.size or not 0 <= world.rank < world.size:
            raise UserError(
                "WORLD_SIZE is set, but not with RANK, LOCAL_RANK and LOCAL_WORLD_SIZE as torchrun sets them: "
                "start with torchrun --nproc-per-node N -m noisyrun …, or unset WORLD_SIZE"
            )
        return world

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """The process group, for the time of a block; none where there is one process, or where one stands already.

        Raises
        ------
        ToldElsewhere
            In place of whatever ended the block, when another process has failed before this one: one reason is told
            once, and what follows from it in the other processes not at all.
        """
        if self.size == 1 or dist.is_initialized():
            yield
            return
        # With a GPU in use both: counts and texts stay on the CPU, gradients on their GPU.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        global _store, _round
        common, _, _ = next(iter(dist.rendezvous("env://", self.rank, self.size, timeout=_PATIENCE)))
        _round = self._agreed_round(common)
        store = dist.PrefixStore(f"noisyrun/{_round}", common)
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.size, timeout=_PATIENCE)
        _store = store
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            told = self.explained(error)
            if told is error:
                raise
            raise told from None
        finally:
            _store = None
            dist.destroy_process_group()

    def _agreed_round(self, store: dist.Store) -> int:
        """How often processes have met at this store, in which those of earlier rounds left what misleads.

        ``torchrun`` keeps its store from one restart to the next, and only tells the processes of the machine where one
        failed that this is one. Each of the others asks under a word of its own, and the first answers: an old question
        is answered as well, but nobody hears that.
        """
        if not self.first:
            word = secrets.token_hex(8)
            store.set(f"noisyrun/asks/{self.rank}", word)
            number = int(store.get(f"noisyrun/answer/{word}"))
            store.set(f"noisyrun/{number}/heard/{self.rank}", "")
            return number
        number, missing = store.add("noisyrun/rounds", 1), set(range(1, self.size))
        while missing:
            for rank in missing:
                if store.check([f"noisyrun/asks/{rank}"]):
                    store.set(f"noisyrun/answer/{store.get(f'noisyrun/asks/{rank}').decode()}", str(number))
            missing = {rank for rank in missing if not store.check([f"noisyrun/{number}/heard/{rank}"])}
            time.sleep(_POLL if missing else 0)
        return number

    def restarted(self) -> bool:
        """Whether ``torchrun`` has started these processes in place of others that failed."""
        return self.any(_round > 1 or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0)

    def explained(self, error: BaseException) -> BaseException:
        """The error itself where this process is to tell the user of it; else one that says what was told elsewhere.

        What follows from another process's end is no reason: it is only told where none is known.
        """
        if _store is None or isinstance(error, ToldElsewhere):
            return error
        gone = of_another(error)
        reason = GONE if gone else str(error)
        own = UserError(reason) if gone else error
        try:
            _store.set(f"{_REASON}/{self.rank}", reason or type(error).__name__)
            teller = _store.compare_set(_TELLER, "", str(self.rank)).decode()
            if teller == str(self.rank):
                return own
            reason = _store.get(f"{_REASON}/{teller}").decode()
        except RuntimeError:  # the store went down with the machine it was on
            return own
        stop = 128 + getattr(own, "signal", signal.SIGINT)
        code = 2 if isinstance(own, UserError) else stop if isinstance(own, KeyboardInterrupt) else 1
        return ToldElsewhere(reason, code)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, tells and tracks."""
        return self.rank == 0

    @property
    def first_here(self) -> bool:
        """Whether this is the process that writes what every machine needs a copy of."""
        return self.local_rank == 0

    def share(self, n: int) -> range:
        """The part of n rows, classes or pairs that is this process's: neighbours, in the order of ranks."""
        return range(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def wait(self) -> None:
        """Wait until all are here."""
        if self.size > 1:
            self.total(torch.zeros(1))

    def gather(self, part: Tensor) -> Tensor:
        """Every process's rows, in the order of ranks, to all; on the CPU.

        Parameters
        ----------
        part
            [R, …]; R may differ from process to process, dtype and width may not.
        """
        part = part.detach().cpu().contiguous()
        if self.size == 1:
            return part
        rows = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(rows, torch.tensor([len(part)]))
        counts = [int(count) for count in rows]
        # Padded, since all parts must be of one length.
        sent = torch.zeros((max(counts), *part.shape[1:]), dtype=part.dtype)
        sent[: len(part)] = part
        got = [torch.empty_like(sent) for _ in range(self.size)]
        dist.all_gather([_bytes(one) for one in got], _bytes(sent))
        return torch.cat([one[:count] for one, count in zip(got, counts)])

    def in_step(self, blocks: Iterator[tuple[int, tuple[Tensor, ...]]]) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
        """Blocks that each process makes of its own rows, to all, as they are made: no process runs ahead.

        Parameters
        ----------
        blocks
            This process's: the row at which each begins, and tensors [R, …] of its rows, the same kinds in all. One
            process may have fewer blocks than another, or none, so long as the last has one where any has.

        Yields
        ------
        tuple
            The same for every process's blocks, in the order of ranks, step by step; on the CPU where there are
            several processes.
        """
        if self.size == 1:
            yield from blocks
            return
        empty: tuple[Tensor, ...] | None = None
        while True:
            start, made = next(blocks, (0, ()))
            places = self.gather(torch.tensor([[start, len(made[0]) if made else 0]])).tolist()
            if not any(rows for _, rows in places):
                return
            if empty is None:
                # What a block looks like, for those who never make one.
                empty = tuple(self.broadcast([one[:0] for one in made], source=self.size - 1))
            gathered = [self.gather(one).split([rows for _, rows in places]) for one in made or empty]
            for rank, (start, rows) in enumerate(places):
                if rows:
                    yield start, tuple(one[rank] for one in gathered)

    def collect(self, tree: Any) -> list[Any]:
        """Every process's tree, in the order of ranks, to all; as `broadcast` sends one."""
        return [self.broadcast(tree, source=rank) for rank in range(self.size)]

    def broadcast(self, tree: Any, source: int = 0) -> Any:
        """What one process has, to all: mappings, lists, JSON values and tensors, which arrive on the CPU.

        What the others pass is not looked at.

        Parameters
        ----------
        source
            Its rank; the first by default.
        """
        if self.size == 1:
            return tree
        tensors: dict[str, Tensor] = {}
        ours = self.rank == source
        content = checkpoint.pack(tree, "", tensors) if ours else None
        shapes = {name: [str(one.dtype).removeprefix("torch."), *one.shape] for name, one in tensors.items()}
        content, shapes = json.loads(self._broadcast_text(json.dumps([content, shapes]), source))
        for name, (dtype, *shape) in shapes.items():
            if not ours:
                tensors[name] = torch.empty(shape, dtype=getattr(torch, dtype))
            dist.broadcast(_bytes(tensors[name]), source)
        return checkpoint.unpack(content, tensors)

    def _broadcast_text(self, text: str, source: int) -> str:
        sent = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        length = torch.tensor([len(sent)])
        dist.broadcast(length, source)
        got = sent if self.rank == source else torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(got, source)
        return got.numpy().tobytes().decode()

    def total(self, values: Tensor) -> Tensor:
        """Sum over all processes, on the values' own device."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        return flag if self.size == 1 else bool(self.total(torch.tensor(int(flag))))

    def rows(self, values: Tensor) -> Tensor:
        """Every process's rows, in the order of ranks, to all, on the values' device; gradients flow back.

        Parameters
        ----------
        values
            [R, …]; R is the same in every process.

        Returns
        -------
        Tensor
            [size·R, …]. The gradient of each row is the sum of what all processes make of it.
        """
        if self.size == 1:
            return values
        gathered: Tensor = _Rows.apply(values, self)  # type: ignore[no-untyped-call]
        return gathered


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, world: World) -> Tensor:
        ctx.world = world
        own = values.detach().contiguous()
        parts = [torch.empty_like(own) for _ in range(world.size)]
        dist.all_gather([_bytes(part) for part in parts], _bytes(own))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        # Half precision is no type to sum in, nor one that every backend sums.
        whole = ctx.world.total(gradient.float().contiguous())
        return whole.chunk(ctx.world.size)[ctx.world.rank].to(gradient.dtype), None


def of_another(error: BaseException) -> bool:
    """Whether this is what a collective operation says when another process is gone."""
    if isinstance(error, dist.DistError):
        return True
    return type(error) is RuntimeError and any(sign in str(error) for sign in _GONE)


#: A run of one process.
ALONE = World()


def _bytes(values: Tensor) -> Tensor:
    """The same memory as uint8, since not every dtype can be sent."""
    return values.view(-1).view(torch.uint8)
